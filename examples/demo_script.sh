#!/usr/bin/env bash
# A backup script is killed during its second step, and goes on there. It makes a real dump of a SQLite database.
# Usage: examples/demo_script.sh [FOLDER]     (FOLDER is emptied first; `make demo-script` uses .demo-script)
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.demo-script}
rm -rf "$folder"
mkdir -p "$folder"
cp examples/backup.sh "$folder"
cd "$folder"

export ZRB_STORE_URL=runs.db

say() { printf '\n# %s\n' "$1"; }
run() { printf '$ %s\n' "$1"; eval "$1"; }
unexpected() { printf '\nUnexpected: %s\n' "$1" >&2; exit 1; }

python3 - <<'PYTHON'
import sqlite3

with sqlite3.connect("shop.db") as shop:
    shop.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
    shop.executemany("INSERT INTO orders (item) VALUES (?)", [(f"item {n}",) for n in range(1000)])
PYTHON

say "A backup dumps a database, packs the dump, and copies it (examples/backup.sh)."
run "cat backup.sh"

say "It is killed while it packs."
run "zrb-store run backup-1 --task backup -- bash backup.sh &"
backup=$!
until [ -e packing ]; do sleep 0.1; done
run "kill -KILL $backup"
wait "$backup" || true

say "The dump is kept."
run "zrb-store resume backup-1 --plan"

say "Started again, it does not dump again, and completes."
mkdir backups
run "zrb-store run backup-1 --task backup -- bash backup.sh"

say "Started once more, it prints its result."
run "zrb-store run backup-1 --task backup -- bash backup.sh"
run "zrb-store show backup-1"

[ "$(cat dumped)" = "dumped" ] || unexpected "the database was dumped twice"
python3 - <<'PYTHON' || unexpected "the backup is not complete"
import gzip
import sqlite3

with sqlite3.connect(":memory:") as copy:
    copy.executescript(gzip.open("backups/shop.sql.gz", "rt").read())
    assert copy.execute("SELECT count(*) FROM orders").fetchone() == (1000,)
PYTHON
say "The backup has all 1000 orders."
