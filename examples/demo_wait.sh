#!/usr/bin/env bash
# A script asks for approval and ends. A shell says yes, and the script continues without doing anything twice.
# Usage: examples/demo_wait.sh [FOLDER]     (FOLDER is emptied first; `make demo-wait` uses .demo-wait)
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.demo-wait}
rm -rf "$folder"
mkdir -p "$folder"
cp examples/refund.sh "$folder"
cd "$folder"

export ZRB_STORE_URL=runs.db

say() { printf '\n# %s\n' "$1"; }
run() { printf '$ %s\n' "$1"; eval "$1"; }
unexpected() { printf '\nUnexpected: %s\n' "$1" >&2; exit 1; }

say "A script computes a refund and needs a yes (examples/refund.sh)."
run "cat refund.sh"

say "It asks, and its process ends with exit code 75."
code=0
run "zrb-store run refund-7 --task refund -- bash refund.sh" || code=$?
[ "$code" = 75 ] || unexpected "exit code $code"
run "zrb-store list"

say "There is nothing to do yet: no run is made."
run "zrb-store resume --ready"

say "Somebody answers, from any shell."
run "zrb-store push refund-7 approve '\"yes\"'"

say "cron starts this every minute. The script continues: it computes nothing again, and pays once."
run "zrb-store resume --ready"
run "zrb-store show refund-7"

[ "$(cat computed)" = "computed" ] || unexpected "the refund was computed twice"
[ "$(cat paid)" = "120 yes" ] || unexpected "it was not paid once"
say "It paid once: $(cat paid)."
