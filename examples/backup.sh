set -euo pipefail

zrb-store step dump --produces shop.sql -- python3 -c '
import sqlite3
open("shop.sql", "w").writelines(f"{line}\n" for line in sqlite3.connect("shop.db").iterdump())
open("dumped", "a").write("dumped\n")'

zrb-store step pack --produces shop.sql.gz -- sh -c 'touch packing; test -d backups || sleep 60; gzip --keep --force shop.sql'

zrb-store step copy --once -- cp shop.sql.gz backups/

lines=$(zrb-store step count -- wc -l shop.sql)
echo "saved $lines"
