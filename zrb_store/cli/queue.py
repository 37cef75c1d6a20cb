"""`queue`: what a queue allows."""

from __future__ import annotations

import click

from zrb_store.cli import completion
from zrb_store.cli.command import command, format_option, parse_queue
from zrb_store.inspect import session_names
from zrb_store.inspect.queues import settings_of
from zrb_store.operations.queue import set_max_deliveries
from zrb_store.render import printing
from zrb_store.render.document import Fields
from zrb_store.safe_text import one_line
from zrb_store.store import open_store

_UNLIMITED = "unlimited"


def _parse_limit(text: str) -> int | str:
    if text == _UNLIMITED:
        return text
    if not text.isascii() or not text.isdecimal() or not int(text[:18]):
        raise click.BadParameter(f"{text[:40]!r} is neither a number of deliveries nor `{_UNLIMITED}`")
    return int(text[:18])


@command(
    "queue",
    "{} inbox files",
    "{} inbox files --max-deliveries 5",
    details="A value is delivered when an attempt takes it. The delivery counts if the attempt fails or its process "
    "dies, not if somebody interrupts it. A value that is given back for the Nth time becomes dead: it is kept and "
    "shown, but nobody can take it until `requeue` makes it live again. With --max-deliveries, session and queue are "
    "created if they do not exist.",
)
@click.argument("session", shell_complete=completion.sessions)
@click.argument("queue", shell_complete=completion.queues)
@click.option(
    "--max-deliveries",
    "limit",
    metavar="N",
    type=_parse_limit,
    help="Deliver each value at most N times; `unlimited` for any number.",
)
@format_option(choices=("table", "json"))
def queue(session: str, queue: str, limit: int | str | None, output_format: str) -> None:
    if limit is not None:
        parse_queue(queue)
        with open_store() as store:
            name = session_names.session_name(session)
            set_max_deliveries(store.database, name, queue, None if limit == _UNLIMITED else int(limit))
    with open_store(read_only=True) as store:
        name = session_names.resolve(store.database, session, exact=limit is not None).name
        shown = settings_of(store.database, name, queue)
    if output_format == "json":
        printing.echo_json(shown._asdict())
        return
    allowed = shown.max_deliveries or _UNLIMITED
    printing.print_document([Fields([("Queue", one_line(f"{name}/{queue}")), ("Max deliveries", str(allowed))])])
