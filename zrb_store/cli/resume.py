"""`resume`: only zrb has tasks to run, so the command finds out what is to be resumed and the plugin runs it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from zrb_store import names
from zrb_store.cli import output
from zrb_store.cli.command import command
from zrb_store.errors import ZrbStoreError
from zrb_store.records import SessionRecord
from zrb_store.store import Store, open_store


@dataclass
class Request:
    """What is to be resumed.

    Attributes:
        session: The session.
        forced: Task that runs again with everything downstream of it.
        inputs: Secret inputs given as `--NAME VALUE`; all others are taken from the store.
    """

    session: SessionRecord
    forced: str | None = None
    inputs: dict[str, str] = field(default_factory=dict)


# The plugin sets it; inside zrb the request is then carried out after click is done, with zrb's own exit codes.
plan_of: Callable[[Store, SessionRecord, str | None], Sequence[Any]] | None = None
request: Request | None = None


@command(
    "resume",
    "{} etl-2026-11-24",
    "{} @last-failed --plan",
    "{} etl-2026-11-24 --from transform --password=secret",
    details="Completed tasks are not run again. The inputs are those that the session was started with; secret ones "
    "are not stored: give them as --NAME VALUE, or they are asked for.",
)
@click.argument("session")
@click.argument("inputs", nargs=-1, type=click.UNPROCESSED, metavar="[--SECRET VALUE]...")
@click.option("--plan", is_flag=True, help="Print which tasks would run or be skipped, and why; run nothing.")
@click.option("--from", "forced", metavar="TASK", help="Run TASK again, and everything downstream of it.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="Of --plan.")
def resume(session: str, inputs: tuple[str, ...], plan: bool, forced: str | None, form: str) -> None:
    global request
    if plan_of is None:
        raise ZrbStoreError(f"only zrb can run tasks: use `zrb xcom resume {session}` in the folder of its project")
    options = _options(inputs)
    with open_store(read_only=True) as store:
        record = names.resolve(store, session)
        if not plan:
            request = Request(record, forced, options)
            return
        steps = plan_of(store, record, forced)
    if form == "json":
        output.echo(json.dumps([dataclasses.asdict(step) for step in steps], ensure_ascii=False))
        return
    width = max(len(step.task) for step in steps)
    for step in steps:
        output.echo(f"{step.action:4}  {step.task:{width}}  {step.reason}")


# A secret input's own option is not known here.
resume.context_settings = {"ignore_unknown_options": True}


def _options(words: tuple[str, ...]) -> dict[str, str]:
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name or not (equals or rest):
            raise click.UsageError(f"{word!r} is not of the form --NAME VALUE")
        options[name] = value if equals else rest.pop(0)
    return options


COMMANDS = {"resume": resume}
