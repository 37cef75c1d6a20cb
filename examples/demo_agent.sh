#!/usr/bin/env bash
# An agent is killed during a tool call and resumed. Then a person rewinds it to its third answer, with another model.
# Usage: examples/demo_agent.sh [FOLDER]     (FOLDER is emptied first; `make demo-agent` uses .demo-agent)
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.demo-agent}
rm -rf "$folder"
mkdir -p "$folder"
cp examples/agent/zrb_init.py "$folder"
cd "$folder"

export ZRB_INIT_MODULES=zrb_store.plugin
export ZRB_STORE_URL=agent.db
export COLUMNS=120

say() { printf '\n# %s\n' "$1"; }
run() { printf '$ %s\n' "$1"; eval "$1"; }
unexpected() { printf '\nUnexpected: %s\n' "$1" >&2; exit 1; }
is() { [ "$(cat "$1")" = "$2" ] || unexpected "$1 holds something else"; }

say "An agent pays refunds to Ada, Ben, Cleo and Dan (examples/agent/zrb_init.py; its model is a function).
# The bank hangs at Cleo, during the third call of a tool: kill -9. zrb prints the conversation on stderr, which goes to a file."
run "export ZRB_INIT_MODULES=$ZRB_INIT_MODULES ZRB_STORE_URL=$ZRB_STORE_URL"
run "ZRB_STORE_SESSION=refunds-1 zrb refund >first.log 2>chat.log &"
paying=$!
trap 'kill -9 "$paying" 2>/dev/null || true' EXIT
for ((waited = 0; waited < 900; waited++)); do
    if grep -q "waiting for the bank" first.log || ! kill -0 "$paying" 2>/dev/null; then break; fi
    sleep 0.1
done
run "kill -9 $paying" || unexpected "the agent ended by itself"
{ wait "$paying" || true; } 2>/dev/null # it says that it was killed, which we know
trap - EXIT
run "cat first.log"

say "The store has three answers and two refunds. The third refund was interrupted."
run "zrb xcom show refunds-1"

say "The bank works again. The agent continues with Cleo. It asks for no stored answer again, and repeats no refund."
run "touch bank-is-up"
run "zrb xcom resume refunds-1 2>chat.log"

say "Five answers of the model were paid, each once, and four refunds, each once:"
run "sort bill | uniq -c"
run "sort refunds | uniq -c"
run "zrb xcom show refunds-1"
is bill "$(for number in {1..5}; do echo "answer $number of the quick model"; done)"
is refunds "$(for name in Ada Ben Cleo Dan; do echo "$name gets 100"; done)"

say "What would a careful model have done from its third answer on? A fork keeps the two answers before, and the rest runs again."
zrb xcom show refunds-1 --format json >before.json
run "mv bill first-bill; mv refunds first-refunds"
run "zrb xcom fork refunds-1 --from refund --step model~3 --name careful-1"
run "MODEL=careful zrb xcom resume careful-1 2>chat.log"

say "The fork paid three answers and two refunds. The first session is untouched."
run "zrb xcom show careful-1"
zrb xcom show refunds-1 --format json >after.json
cmp before.json after.json || unexpected "the first session has changed"
is bill "$(for number in {3..5}; do echo "answer $number of the careful model"; done)"
is refunds "$(for name in Cleo Dan; do echo "$name gets 50"; done)"
