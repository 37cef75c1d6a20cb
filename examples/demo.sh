#!/usr/bin/env bash
# A workflow fails, is inspected from another process, fixed and resumed. Then a long task is killed and resumed.
# Usage: examples/demo.sh [FOLDER]     (FOLDER is emptied first; `make demo` uses .demo)
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.demo}
rm -rf "$folder"
mkdir -p "$folder"/audit "$folder"/pages
cp examples/audit/zrb_init.py "$folder"/audit
cp examples/pages/zrb_init.py "$folder"/pages
cd "$folder"/audit

export ZRB_INIT_MODULES=zrb_store.plugin
export ZRB_STORE_URL=xcom.db

say() { printf '\n# %s\n' "$1"; }
run() { printf '$ %s\n' "$1"; eval "$1"; }
unexpected() { printf '\nUnexpected: %s\n' "$1" >&2; exit 1; }

say "A workflow of three tasks audits this Python environment (examples/audit/zrb_init.py).
# The last task, report, fails because its folder does not exist."
run "export ZRB_INIT_MODULES=$ZRB_INIT_MODULES ZRB_STORE_URL=$ZRB_STORE_URL"
if run "ZRB_STORE_SESSION=audit-1 zrb audit report --folder reports"; then
    unexpected "the workflow did not fail"
fi

say "Another process sees its values, who pushed them, and who took them."
run "zrb xcom show audit-1"

say "Fix the cause and resume. Completed tasks do not run again."
run "mkdir reports"
run "zrb xcom resume audit-1"

say "The report:"
run "head -n 12 reports/audit.md"

say "The whole history:"
run "zrb xcom show audit-1"

zrb xcom show audit-1 --format json >history.json
python - <<'PYTHON' || unexpected "the history is not as shown above"
import json

history = json.load(open("history.json"))
attempts = {task["task"]: [attempt["status"] for attempt in task["attempts"]] for task in history["tasks"]}
assert history["status"] == "completed", history["status"]
assert attempts == {
    "find-packages": ["completed"],
    "summarize": ["completed"],
    "report": ["failed", "completed"],
}, attempts
PYTHON

cd ../pages
say "One task fetches six pages, each in a step (examples/pages/zrb_init.py).
# The server hangs at page 4, and we lose patience: kill -9."
run "ZRB_STORE_SESSION=pages-1 zrb fetch-pages >first.log 2>&1 &"
fetching=$!
trap 'kill -9 "$fetching" 2>/dev/null || true' EXIT
for ((waited = 0; waited < 600; waited++)); do
    if grep -q "page 4" first.log || ! kill -0 "$fetching" 2>/dev/null; then break; fi
    sleep 0.1
done
run "kill -9 $fetching" || unexpected "the task ended by itself"
{ wait "$fetching" || true; } 2>/dev/null # it says that it was killed, which we know
trap - EXIT
run "cat first.log"

say "Three steps have completed. The server works again. The task continues, and asks for no page again that it has."
run "zrb xcom resume pages-1 --plan"
run "touch server-is-up"
run "zrb xcom resume pages-1 | tee second.log"

say "Which attempt fetched which page:"
run "zrb xcom show pages-1"

asked() { sed -n 's/^ *asking the server for page //p' "$1" | tr '\n' ' '; }
[ "$(asked first.log)" = "1 2 3 4 " ] || unexpected "the first attempt asked for other pages"
[ "$(asked second.log)" = "4 5 6 " ] || unexpected "the second attempt asked for other pages"

say "A report has the whole first workflow in one file, for example for a ticket."
cd ../audit
export ZRB_STORE_URL=xcom.db
run "zrb xcom report audit-1 -o audit-1.html"
[ -s audit-1.html ] || unexpected "there is no report"
printf '\nThe report is %s: open it in a browser.\n' "$PWD/audit-1.html"
