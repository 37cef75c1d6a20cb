#!/usr/bin/env bash
# A real workflow dies, is looked at from another process, is mended and resumes.
# Usage: examples/demo.sh [FOLDER]     (FOLDER is emptied first; `make demo` takes .demo)
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
# The last one, report, fails: its folder is not there."
run "export ZRB_INIT_MODULES=$ZRB_INIT_MODULES ZRB_STORE_URL=$ZRB_STORE_URL"
if run "ZRB_STORE_SESSION=audit-1 zrb audit report --folder reports"; then
    unexpected "the workflow did not fail"
fi

say "Another process sees its values: who pushed them, and who took them."
run "zrb xcom show audit-1"

say "Mend the cause, and resume. What has completed is not run again."
run "mkdir reports"
run "zrb xcom resume audit-1"

say "The report:"
run "head -n 12 reports/audit.md"

say "The whole story:"
run "zrb xcom show audit-1"

zrb xcom show audit-1 --format json >story.json
python - <<'PYTHON' || unexpected "the story is not as told above"
import json

story = json.load(open("story.json"))
attempts = {task["task"]: [attempt["status"] for attempt in task["attempts"]] for task in story["tasks"]}
assert story["status"] == "completed", story["status"]
assert attempts == {
    "find-packages": ["completed"],
    "summarize": ["completed"],
    "report": ["failed", "completed"],
}, attempts
PYTHON
