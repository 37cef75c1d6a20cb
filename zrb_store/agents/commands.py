"""`approve`: answer what the agents of a session wait for."""

from __future__ import annotations

from collections.abc import Iterable

import click

from zrb_store.agents import approve as operations
from zrb_store.agents.settings import Limits, budget_of
from zrb_store.cli import arguments, completion
from zrb_store.cli.command import command
from zrb_store.db.engine import Database
from zrb_store.inspect import session_names
from zrb_store.masking import one_line
from zrb_store.records import JsonValue
from zrb_store.render.printing import echo
from zrb_store.store import open_store


@completion.from_store
def calls(database: Database, ctx: click.Context, typed: str) -> Iterable[str]:
    """Complete a call that waits for an approval."""
    session = session_names.resolve(database, ctx.params["session"])
    return filter(None, map(operations.call_of, operations.questions(database, session)))


@command(
    "approve",
    "{} triage-7",
    "{} triage-7 call-3 --deny --reason 'The customer has cancelled.'",
    "{} triage-8 --budget tokens=1000000",
    details="Prints the call that it approves, with its arguments. With several calls that wait, CALL chooses one; "
    "without it, nothing is approved, and they are listed (exit 2). The session continues when it is started again, or "
    "with `resume --ready`.",
)
@arguments.changed_session_argument
@click.argument("call", required=False, shell_complete=calls)
@click.option("--deny", is_flag=True, help="Deny the call. The agent continues without it.")
@click.option("--reason", metavar="TEXT", help="Why, for the agent.")
@click.option(
    "--budget",
    metavar="tokens=N,usd=N",
    type=lambda text: budget_of(text or "=", "--budget"),
    help="Let the agents of the session use this many tokens, dollars or both in all.",
)
def approve(session: str, call: str | None, deny: bool, reason: str | None, budget: Limits | None) -> None:
    if budget is not None and (call or deny or reason):
        raise click.UsageError("--budget answers no call: give it alone")
    if reason and not deny:
        raise click.UsageError("--reason is for --deny")
    answer = {"kind": "denied", "reason": reason or ""} if deny else {"kind": "approved"}
    with open_store() as store:
        found = session_names.resolve(store.database, session, exact=True)
        value: dict[str, JsonValue] = {**answer} if budget is None else budget.to_json()
        for each in operations.answer(store.database, found, call, value, budget=budget is not None):
            asked = operations.call_of(each)
            said = f"{asked} {answer['kind']}: {each.say}" if budget is None else f"the budget is {budget.text()}"
            echo(one_line(f"{each.task}: {said}"))
