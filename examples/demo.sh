#!/usr/bin/env bash
# A real workflow fails, is inspected from another process, is fixed, and resumes.
# Usage: examples/demo.sh [FOLDER]     (FOLDER is emptied first; `make demo` uses .demo)
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.demo}
rm -rf "$folder"
mkdir -p "$folder"
cp examples/audit/zrb_init.py "$folder"
cd "$folder"

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
