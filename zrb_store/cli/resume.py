"""`resume`: only zrb has tasks to run, so the command finds out what is to be resumed and the plugin runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import click

from zrb_store.cli import output
from zrb_store.cli.command import command
from zrb_store.cli.output import Column
from zrb_store.errors import ZrbStoreError
from zrb_store.plan import Step
from zrb_store.reading import names
from zrb_store.records import SessionRecord
from zrb_store.store import Store, open_store


@dataclass
class Request:
    """What is to be resumed.

    Attributes:
        session: The session.
        forced: Task that runs again with everything downstream of it.
        inputs: Inputs that are not stored, being secret or made of a secret one, given as `--NAME VALUE`.
    """

    session: SessionRecord
    forced: str | None = None
    inputs: dict[str, str] = field(default_factory=dict)


# The plugin sets it; inside zrb the request is then carried out after click is done, with zrb's own exit codes.
plan_of: Callable[[Store, SessionRecord, str | None], list[Step]] | None = None
request: Request | None = None

_COLUMNS = (Column("task", fold=True), Column("action"), Column("reason", status=True))


@command(
    "resume",
    "{} etl-2026-11-24",
    "{} @last-failed --plan",
    "{} etl-2026-11-24 --plan --format json",
    "{} etl-2026-11-24 --from transform --password=secret",
    details="Completed tasks are not run again; their stored results are used. The inputs are those that the session "
    "was started with; secret ones are not stored: give them as --NAME VALUE, or they are asked for. An input that "
    "holds a secret one is its default again, or given likewise. SESSION may be the unique beginning of a name, @last "
    "or @last-failed. A session that is being run is refused, also by --plan.",
)
@click.argument("session")
@click.argument("inputs", nargs=-1, type=click.UNPROCESSED, metavar="[--SECRET VALUE]...")
@click.option("--plan", is_flag=True, help="Print which tasks would run or be skipped, and why; run nothing.")
@click.option(
    "--from",
    "forced",
    metavar="TASK",
    help="Give TASK and everything downstream of it back, and run them again; also in a completed session.",
)
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), help="Of --plan: table (plain text in a pipe) or json."
)
def resume(session: str, inputs: tuple[str, ...], plan: bool, forced: str | None, form: str | None) -> None:
    global request
    if plan_of is None:
        raise ZrbStoreError(f"only zrb can run tasks: use `zrb xcom resume {session}` in the folder of its project")
    options = _options(inputs)
    if form is not None and not plan:
        raise click.UsageError("--format is for --plan, which runs nothing")
    with open_store(read_only=True) as store:
        record = names.resolve(store, session)
        # Without --plan too: what is wrong is said before a secret input is asked for.
        steps = plan_of(store, record, forced)
    if not plan:
        request = Request(record, forced, options)
    elif form == "json":
        tasks = [dataclasses.asdict(step) for step in steps]
        output.echo_json({"session": record.name, "from": forced, "tasks": tasks})
    else:
        rows = [(step.task, step.action, step.reason) for step in steps]
        output.show([output.Table(_COLUMNS, rows)])


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
