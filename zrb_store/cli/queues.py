"""`push` and `pop`: queues for shell scripts."""

from __future__ import annotations

import json
import math
import shlex
from typing import Any, NoReturn

import click

from zrb_store import codec, settings
from zrb_store.cli import output
from zrb_store.cli.command import command, format_option, program, stdin
from zrb_store.codec.strict_json import HUGE_INT_DIGITS
from zrb_store.errors import ValueTooLarge, ZrbStoreError
from zrb_store.names import value_id
from zrb_store.operations import shell
from zrb_store.reading import names
from zrb_store.store import open_store

_SHOWN = 40  # characters of a number that cannot be held


@command(
    "push",
    "{} inbox files '\"a.csv\"'",
    "date -I | {} inbox days - --text",
    details="VALUE is JSON, or text with --text; - reads it from stdin. Session and queue are made where they are not "
    "there. Inside a CmdTask the value belongs to the running attempt, and @this names its session.",
)
@click.argument("session")
@click.argument("queue")
@click.argument("value")
@click.option("--text", is_flag=True, help="Take VALUE as text, without the newline at the end of stdin.")
def push(session: str, queue: str, value: str, text: bool) -> None:
    content = _stdin() if value == "-" else value
    item = content.removesuffix("\n") if text and value == "-" else content if text else parse_json(content, "VALUE")
    with open_store() as store:
        shell.push(store, names.session_name(session), queue, item)


# A negative number is a value, not an option.
push.context_settings = {"ignore_unknown_options": True}


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise click.BadParameter(f"{text!r} is not a number of seconds")
    return seconds


@command(
    "pop",
    "{} inbox files",
    "file=$({} inbox files --wait 60)",
    details="Text is printed as it is, anything else as JSON. On an empty queue it exits 3. Inside a CmdTask the value "
    "belongs to the running attempt: it is given back if that one fails. @this names the attempt's session.",
)
@click.argument("session")
@click.argument("queue")
@click.option("--wait", metavar="SECONDS", type=_seconds, help="Wait for a value so long.")
@format_option("value", choices=("value", "json"))
def pop(session: str, queue: str, wait: float | None, form: str) -> None:
    with open_store() as store:
        name = names.session_name(session)
        seq, data = shell.pop(store, name, queue, wait or 0.0)
    tree = codec.to_json(data)
    try:
        if form == "json":
            output.echo_json(tree)
        else:
            output.echo_bare(output.bare(tree))
        output.flush()
    except (ZrbStoreError, click.exceptions.Exit):
        taken = f"{value_id(name, queue, seq)} was taken, but its reader did not get it"
        raise ZrbStoreError(f"{taken}: `{program()} get {name} {shlex.quote(queue)} --seq {seq}` prints it") from None


def parse_json(text: str, what: str) -> Any:
    """The value of a JSON text that a person typed.

    Raises:
        UsageError: It is not JSON, or has a number that no float can hold.
        ValueTooLarge: It has an int that is longer than the limit.
    """
    most = settings.max_value()

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def finite(digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            shown = digits if len(digits) <= _SHOWN else digits[:_SHOWN] + "..."
            raise click.UsageError(f"{what} has the number {shown}, but floats end at 1.8e308; write it as a text")
        return number

    def whole(digits: str) -> int:
        if len(digits) * 0.83 > most:  # stored in base 16; to find out by making it may take hours
            raise ValueTooLarge(
                f"{what} has a number of {len(digits):,} digits; the limit is {most:,} bytes, see ZRB_STORE_MAX_VALUE"
            )
        return _whole_number(digits)

    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite, parse_int=whole)
    except ValueTooLarge:
        raise
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise click.UsageError(f"{what} is not JSON ({reason}); text goes in double quotes: '\"text\"'") from None


def _whole_number(digits: str) -> int:
    """An int of any length. Python's own `int` refuses long ones, and needs minutes for a million digits."""
    if len(digits) < HUGE_INT_DIGITS:
        return int(digits)
    if digits[0] == "-":
        return -_whole_number(digits[1:])
    half = len(digits) // 2
    shift: int = 10**half
    return _whole_number(digits[:-half]) * shift + _whole_number(digits[-half:])


def _stdin() -> str:
    try:
        return stdin().read().decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"stdin is not UTF-8 ({error.reason} at byte {error.start})") from None


COMMANDS = {"push": push, "pop": pop}
