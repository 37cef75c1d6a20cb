"""`push`: a value from a shell script to a queue."""

from __future__ import annotations

from typing import Any

import click

from zrb_store import codec
from zrb_store.cli import completion
from zrb_store.cli.command import command, parse_queue
from zrb_store.cli.json_argument import parse_json
from zrb_store.cli.standard_input import binary_stdin
from zrb_store.inspect import session_names
from zrb_store.operations.push import push as push_value
from zrb_store.store import open_store


@command(
    "push",
    "{} inbox files '\"a.csv\"'",
    "date -I | {} inbox days - --text",
    details="VALUE is JSON, or text with --text; - reads it from stdin. Session and queue are created if they do "
    "not exist. Inside a CmdTask the value belongs to the running attempt, and @this names its session.",
    context_settings={"ignore_unknown_options": True},  # a negative number is a value, not an option
)
@click.argument("session", shell_complete=completion.sessions_to_change)
@click.argument("queue", type=parse_queue, shell_complete=completion.queues)
@click.argument("value")
@click.option("--text", is_flag=True, help="Store VALUE as text; from stdin, without its final newline.")
def push(session: str, queue: str, value: str, text: bool) -> None:
    item = _item(value, text)
    with open_store() as store:
        name = session_names.session_name(session)
        encoded = codec.encode(item, limit=store.max_value)
        push_value(store.database, name, queue, encoded, store.parent_attempt)


def _item(value: str, text: bool) -> Any:
    content = _read_stdin(without_newline=text) if value == "-" else value
    return content if text else parse_json(content, "VALUE", "--text stores it as it is")


def _read_stdin(*, without_newline: bool) -> str:
    content = binary_stdin().read()
    end = len(content) - (without_newline and content.endswith(b"\n"))
    try:
        return str(memoryview(content)[:end], "utf-8")  # without another copy
    except UnicodeDecodeError as error:
        raise click.UsageError(f"stdin is not UTF-8 ({error.reason} at byte {error.start})") from None
