"""How anything is written as text: times, sizes, names, errors, values, and JSON."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

import click

from zrb_store.local_time import is_repeated, zone_name
from zrb_store.masking import one_line, printable
from zrb_store.records import UNSUCCESSFUL, AttemptRecord, Lazy, to_datetime
from zrb_store.render.document import shorten
from zrb_store.render.readable import TEXT_TAGS, readable
from zrb_store.render.stderr import as_typed

if TYPE_CHECKING:
    from zrb_store.inspect.failures import Failure
    from zrb_store.queries.by_hand import Change
    from zrb_store.queries.history import Replaced, Returned, Value
    from zrb_store.records import ErrorRecord, JsonTree, JsonValue, RunRecord


def program_name() -> str:
    """Return what the user of this command types before it: `zrb-store` or `zrb xcom`."""
    return click.get_current_context().find_root().command_path


_NOT_PLAIN = re.compile(r"[^\x20-\x7e\n]+")  # newlines stand only between items: in a string they are escapes


def pieces(tree: JsonTree, *, compact: bool, new_line: str = "\n") -> Iterator[str]:
    """Yield the JSON text of plain data, on one line or indented, in pieces, while its lazy lists are read."""
    try:
        text = dumps(tree, indent=None if compact else 2)
    except TypeError:  # something in it is lazy
        if not isinstance(tree, Iterable):
            raise
    else:
        yield text if compact else text.replace("\n", new_line)
        return
    items: Iterable[tuple[str | None, JsonTree]] = ((None, item) for item in tree)
    opening, closing = "[]"
    if isinstance(tree, Mapping):
        items, opening, closing = tree.items(), "{", "}"
    colon, inner, outer = (":", "", "") if compact else (": ", f"{new_line}  ", new_line)
    separator = opening
    for key, item in items:
        prefix = separator + inner + ("" if key is None else f"{dumps(key)}{colon}")
        for piece in pieces(item, compact=compact, new_line=inner):
            yield prefix + piece
            prefix = ""
        separator = ","
    yield opening + closing if separator == opening else outer + closing


def dumps(tree: JsonTree, *, indent: int | None = None) -> str:
    """Write plain data as JSON: if stdout is UTF-8 with escapes only for what cannot be printed, else in ASCII."""
    separators = (",", ":") if indent is None else None
    if codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8":
        return json.dumps(tree, indent=indent, separators=separators)
    text = json.dumps(tree, ensure_ascii=False, indent=indent, separators=separators)
    return _NOT_PLAIN.sub(lambda match: printable(match[0], escape=lambda char: json.dumps(char)[1:-1]), text)


NOTHING = "-"
MARKS = {"completed": "=", "running": ">", "failed": "x", "interrupted": "!", "lost": "?", "waiting": "z"}
"""How statuses are drawn with one character each."""
_ERROR_WIDTH = 300  # columns; `log` and the boxes of a page show all of an error
_PREVIEW_LENGTH = 2000  # characters of a value that are looked at if it is going to be cut anyway


class TimeFormat:
    """A format of times in microseconds: in the local time zone on a terminal, elsewhere in UTC with a Z.

    Local times name their zone if `TZ` is set, or if the clock shows them twice because it is put back. `show --at`
    accepts all that is printed (`parse_time`).
    """

    def __init__(self, day_of: int | None = None) -> None:
        """Create a format, whose `brief` leaves out the date on the day of a time, and the year in its year."""
        self._is_local = sys.stdout.isatty()  # a person reads it
        self._day = None if day_of is None else self._time(day_of).date()

    def _time(self, micros: int) -> datetime:
        time = to_datetime(micros)
        return time.astimezone() if self._is_local else time

    def full(self, micros: int | None) -> str:
        """Return date and time to the second."""
        return self._format("%Y-%m-%d %H:%M:%S", micros)

    def short(self, micros: int | None) -> str:
        """Return the same as `full`, on a terminal without the year if it is the current one."""
        if micros is None or not self._is_local or self._time(micros).year != datetime.now().year:
            return self.full(micros)
        return self._format("%m-%d %H:%M:%S", micros)

    def brief(self, micros: int | None) -> str:
        """Return the time, and the date too if it is another day than that of `day_of`."""
        if micros is None or self._day is None:
            return self.full(micros)
        time = self._time(micros)
        if time.date() == self._day:
            return self._format("%H:%M:%S", micros)
        return self._format("%m-%d %H:%M:%S", micros) if time.year == self._day.year else self.full(micros)

    def exact(self, micros: int | None) -> str:
        """Return date and time to the microsecond."""
        return self._format("%Y-%m-%d %H:%M:%S.%f", micros)

    def _format(self, form: str, micros: int | None) -> str:
        if micros is None:
            return NOTHING
        time = self._time(micros)
        zone = "Z"
        if self._is_local:
            zone = f" {zone_name(time)}" if "TZ" in os.environ or is_repeated(time) else ""
        return time.strftime(form) + zone


def format_duration(micros: int | None) -> str:
    """Format microseconds in their two largest units: `21 ms`, `12.3 s`, `4 min 5 s`, `2 h 3 min`, `5 d 2 h`."""
    if micros is None:
        return NOTHING
    seconds = micros / 1_000_000
    if seconds < 1:
        return f"{micros // 1000} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    units = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
    unit, name, part, part_name = next(each for each in units if whole >= each[0])
    rest = whole % unit // part
    return f"{whole // unit} {name}" + (f" {rest} {part_name}" if rest else "")


def size(count: int) -> str:
    """Format a number of bytes in the largest unit of which there is at least one."""
    number = float(count)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def counted(count: int, noun: str) -> str:
    """Format a number of things: `1 session`, `2 sessions`, `2 deliveries`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun.removesuffix('y')}ies" if noun.endswith("ry") else f"{count:,} {noun}s"


def percent(share: float) -> str:
    """Return a share in percent, which is 0 % or 100 % only if it is exactly that."""
    rounded = round(share * 100)
    return f"{min(max(rounded, 1), 99) if 0 < share < 1 else rounded} %"


def project_name(project: str | None) -> str:
    """Return the last part of a project's path."""
    return one_line(PurePath(project).name or project) if project else NOTHING


def run_process(run: RunRecord) -> str:
    """Name the process of a run."""
    return one_line(f"{run.origin}, pid {run.pid} on {run.host}")


def run_by(run: RunRecord) -> str:
    """Name the process of a run, and its user."""
    return run_process(run) + (f" as {one_line(run.user)}" if run.user else "")


def versions(run: RunRecord) -> str:
    """Say with which versions a run was made: `Python 3.12.1, zrb 2.36.0`."""
    named = {"Python": run.python_version, "zrb": run.zrb_version}
    return ", ".join(one_line(f"{name} {version}") for name, version in named.items() if version) or NOTHING


def process(change: Change) -> str:
    """Name who did something by hand, with which process: `amy, pid 7 on db-1`."""
    user = change.user or "somebody"
    return one_line(f"{user}, pid {change.pid} on {change.host}" if change.pid else user)  # a redacted one has no pid


def pusher(value: Value) -> str | None:
    """Name who pushed a value: an attempt, or the process of a shell; None if that is not recorded."""
    return _who(value.pushed_by, value.pushed_from)


def taker(value: Value) -> str | None:
    """Name who took a value, as `pusher` does."""
    return _who(value.taken_by, value.taken_from)


def _who(attempt: str | None, by_hand: Change | None) -> str | None:
    return one_line(attempt) if attempt else process(by_hand) if by_hand else None


def queue_limits(max_deliveries: int | None, paused_at: int | None, time: Callable[[int], str]) -> list[str]:
    """Say what a queue does not allow: `paused since 03:12:45`, `at most 5 deliveries`."""
    paused = "" if paused_at is None else f"paused since {time(paused_at)}"
    return list(filter(None, (paused, most_deliveries(max_deliveries))))


def most_deliveries(max_deliveries: int | None) -> str:
    """Say how often a queue delivers a value at most: `at most 5 deliveries`; empty without a limit."""
    return "" if max_deliveries is None else f"at most {counted(max_deliveries, 'delivery')}"


def fate(value: Value, times: TimeFormat | None) -> str:
    """Return what became of a value: `live`, `taken by load#2`, `retracted`, `dead after 5 deliveries`.

    If no attempt took it, or one that was deleted, it says when: `taken by amy, pid 7 on db-1, at 03:12:45`. It says no
    time if there is no format for it.
    """
    state = value.record.state
    if state == "dead":
        return f"dead after {counted(value.record.failed_deliveries, 'delivery')}"
    if state == "delayed" and times:
        return f"delayed until {times.brief(value.record.due_at)}"
    by, change = taker(value), value.taken_from
    if value.outcome not in ("taken", "dropped") or value.taken_by:
        return f"{state}{f' by {by}' if value.taken_by else ''}{orphaned(value)}"
    reason = f": {one_line(change.reason)}" if change and change.reason else ""
    at = f"{',' * bool(by)} at {times.brief(value.taken_at)}" if times else ""
    return f"{value.outcome}{f' by {by}' if by else ''}{at}{orphaned(value)}{reason}"


def replacement(replaced: Replaced, times: TimeFormat | None, verb: str = "") -> str:
    """Say who replaced a value, when, why, and what it was: `at 03:12:45 by amy, pid 7 on db-1: typo; was 'b.csv'`.

    It says no time if there is no format for it.
    """
    by = replaced.by
    at = f"at {times.brief(replaced.record.replaced_at)}" if times else ""
    who = f"by {process(by)}" if by else ""
    reason = f": {one_line(by.reason)}" if by and by.reason else ""
    return f"{' '.join(filter(None, (verb, at, who)))}{reason}; was {preview(replaced.content)}"


def given_back(returned: Returned) -> str:
    """Say who gave a value back, and why if no failed or lost attempt says that; or how somebody ended its death."""
    reason = returned.record.reason
    if returned.ended_death:
        return one_line(reason)  # requeued, and by whom
    by = returned.taken_by or "a deleted attempt"
    return one_line(f"given back by {by}{'' if reason in UNSUCCESSFUL else f': {reason}'}")


def orphaned(value: Value) -> str:
    """Return what follows the fate of a value whose pusher was undone; for other values nothing."""
    return ", orphaned" if value.record.orphaned else ""


def error_note(error: ErrorRecord, program: str) -> str:
    """Return type and message of an error on one line, cut to what a table or a headline has room for.

    Commands in it are those of a program.
    """
    return shorten(one_line(as_typed(error.text(), program)), _ERROR_WIDTH)


def cause_of(failure: Failure, program: str, seen_at: str) -> str:
    """Say on one line why something did not complete; if it was lost, when its process was last seen."""
    if failure.error:
        return error_note(failure.error, program)
    return f"its process was last seen at {seen_at}" if failure.status == "lost" else "no error was recorded"


def preview(tree: JsonValue | Lazy[JsonValue], *, full: bool = False) -> str:
    """Format a value, as `codec.to_json` returns it, on one line, as a person reads it: all, or what fits in a table.

    Of a queue, no more is read than that. A command's result is shown as its output, but a str is put in quotes, so
    that it differs from a number.
    """
    text = single_text(tree) if type(tree) is dict and tree.get("$") == "CmdResult" else None
    if text is None:
        text = readable(tree, None if full else _PREVIEW_LENGTH)
    return printable(text if full else text[:_PREVIEW_LENGTH])


def shell_text(tree: JsonValue) -> str:
    """Format a value, as `codec.to_json` returns it, for a shell: text or a command's output as it is, else JSON."""
    text = single_text(tree)
    return dumps(as_json(tree)) if text is None else text


def setting_text(tree: JsonValue) -> str:
    """Format a value, as `codec.to_json` returns it, for `NAME=VALUE`: text as it is, else as a person reads it.

    Of an input with a secret, which is stored as `{"masked": TEXT}`, this is the text.
    """
    text = single_text(tree["masked"] if type(tree) is dict and tree.keys() == {"masked"} else tree)
    return readable(tree) if text is None else text


def inputs_text(inputs: JsonValue) -> str:
    """Format inputs as readers see them, in one line."""
    given = inputs.items() if type(inputs) is dict else ()
    return ", ".join(one_line(f"{name}={setting_text(value)}") for name, value in given)


def what_was_read(attempt: AttemptRecord) -> str:
    """Say which inputs an attempt has read, and which it has assigned; empty if that is not known."""
    said = []
    if attempt.read is not None:
        said += [f"read {'all inputs' if attempt.read == ['*'] else one_line(', '.join(attempt.read)) or 'no input'}"]
    if attempt.assigned:
        said += [f"assigned {one_line(', '.join(attempt.assigned))}"]
    return ", ".join(said)


def as_json(tree: JsonValue) -> JsonValue:
    """Return a value, as `codec.to_json` returns it, in which all that came from JSON is what it was.

    A dict with the key `"$"` and a very long int are stored with a tag, which nobody meant who gave them as JSON.
    """
    if type(tree) is list:
        return [as_json(item) for item in tree]
    if type(tree) is not dict:
        return tree
    tag, content = tree.get("$"), tree.get("v")
    if tag == "dict" and type(content) is list:
        pairs = [pair for pair in content if type(pair) is list and len(pair) == 2]
        items = {key: as_json(item) for key, item in pairs if type(key) is str}
        if len(items) == len(content):
            return items
    if tag == "int" and type(content) is str:
        with contextlib.suppress(ValueError):  # damaged, or longer than Python writes
            return int(str(int(content, 16)))
    return {key: as_json(item) for key, item in tree.items()}


def single_text(tree: JsonValue) -> str | None:
    """Return the text of a value that is written as one: a str, a path, a date or a command's output; else None."""
    if type(tree) is str:
        return tree
    if type(tree) is not dict or type(tag := tree.get("$")) is not str:
        return None
    content = tree.get("v")
    if tag == "CmdResult" and type(content) is dict:
        return single_text(content.get("output"))
    if tag == "str" and type(content) is list:
        return "".join(map(str, content))
    return content if tag in TEXT_TAGS and type(content) is str and tree.keys() == {"$", "v"} else None


def error_line(error: ErrorRecord) -> str:
    """Return type and message of an error, with commands as they are typed here."""
    return as_typed(error.text(), program_name())


def error_details(error: ErrorRecord, program: str) -> str:
    """Return the traceback of an error or else its type and message, with commands of a program."""
    return as_typed(error.traceback or error.text(), program)
