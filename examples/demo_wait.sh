#!/usr/bin/env bash
# A task asks for approval and its process ends. A shell says yes, and the task continues without doing anything twice.
# Usage: examples/demo_wait.sh [FOLDER]     (FOLDER is emptied first; `make demo-wait` uses .demo-wait)
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.demo-wait}
rm -rf "$folder"
mkdir -p "$folder"
cp examples/refund/zrb_init.py "$folder"
cd "$folder"

export ZRB_INIT_MODULES=zrb_store.plugin
export ZRB_STORE_URL=xcom.db

say() { printf '\n# %s\n' "$1"; }
run() { printf '$ %s\n' "$1"; eval "$1"; }
unexpected() { printf '\nUnexpected: %s\n' "$1" >&2; exit 1; }

say "A task computes a refund and needs a yes (examples/refund/zrb_init.py)."
run "export ZRB_INIT_MODULES=$ZRB_INIT_MODULES ZRB_STORE_URL=$ZRB_STORE_URL"
run "tail -n 6 zrb_init.py"

say "It asks, and its process ends with exit code 75."
code=0
run "ZRB_STORE_SESSION=refund-7 zrb refund" || code=$?
[ "$code" = 75 ] || unexpected "exit code $code"
run "zrb xcom list"

say "There is nothing to do yet: no run is made."
run "zrb xcom resume --ready"

say "Somebody answers, from any shell."
run "zrb xcom push refund-7 approve '\"yes\"'"

say "cron starts this every minute. The task continues: it computes nothing again, and pays once."
run "zrb xcom resume --ready"
run "zrb xcom show refund-7"

[ "$(cat computed)" = "computed" ] || unexpected "the refund was computed twice"
[ "$(cat paid)" = "120 yes" ] || unexpected "it was not paid once"
say "It paid once: $(cat paid)."
