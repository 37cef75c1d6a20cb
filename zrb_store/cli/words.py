"""How times, lengths, sizes and values are written for people, each on one line and free of control characters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from zrb_store.cli.output import on_terminal, text_of
from zrb_store.printing import one_line, printable
from zrb_store.records import to_datetime

NOTHING = "-"
_PREVIEW = 2000  # characters of a value that are looked at when it is going to be cut anyway


class Clock:
    """Times in the reader's own zone on a terminal; in UTC, with a Z, where others will read them.

    Attributes:
        day: The day that needs no mention.
    """

    def __init__(self, about: str | None = None) -> None:
        self._local = on_terminal()
        self.day = self._moment(about).date() if about else None

    def _moment(self, iso: str) -> datetime:
        moment = datetime.fromisoformat(iso)
        return moment.astimezone() if self._local else moment

    def full(self, iso: str | None) -> str:
        """Date and time to the second."""
        return NOTHING if iso is None else self._moment(iso).strftime("%Y-%m-%d %H:%M:%S") + self._zone

    def short(self, iso: str) -> str:
        """As `full`; on a terminal without the year if it is this one."""
        moment = self._moment(iso)
        if not self._local or moment.year != datetime.now().year:
            return self.full(iso)
        return moment.strftime("%m-%d %H:%M:%S")

    def brief(self, iso: str | None) -> str:
        """The time; the date too if it is another day's."""
        if iso is None:
            return NOTHING
        moment = self._moment(iso)
        return moment.strftime("%H:%M:%S" if moment.date() == self.day else "%m-%d %H:%M:%S") + self._zone

    def exact(self, iso: str | None) -> str:
        """Date and time to the microsecond."""
        return NOTHING if iso is None else self._moment(iso).strftime("%Y-%m-%d %H:%M:%S.%f") + self._zone

    @property
    def _zone(self) -> str:
        return "" if self._local else "Z"


def micros_between(start: str | None, end: str | None) -> int | None:
    """Microseconds between two ISO times, if both are known."""
    if start is None or end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)) // timedelta(microseconds=1)


def iso_of(moment: int) -> str:
    """Microseconds since 1970 as ISO text."""
    return to_datetime(moment).isoformat()


def took(micros: int | None) -> str:
    """A length of time in its two largest units: `21 ms`, `12.3 s`, `4 min 5 s`, `2 h 3 min`, `5 d 2 h`."""
    if micros is None:
        return NOTHING
    seconds = micros / 1_000_000
    if seconds < 1:
        return f"{micros // 1000} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for unit, name, part, part_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name}" + (f" {rest} {part_name}" if rest else "")
    return f"{whole} s"


def size(count: int) -> str:
    """Bytes in the largest unit that gives at least one."""
    number = float(count)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def runner(run: dict[str, Any]) -> str:
    """Which process a run (as `show` and `log` tell it) is of."""
    return one_line(f"{run['origin']}, pid {run['pid']} on {run['host']}")


def brief_error(error: dict[str, Any]) -> str:
    """Type and message of an error (as `show` and `log` tell it)."""
    return ": ".join(part for part in (error["type"], error["message"]) if part)


def preview(tree: Any, *, full: bool = False) -> str:
    """A value (as `codec.to_json` gives it) on one line.

    What is written as one text is shown as that text; a str in quotes, so that it differs from a number.
    """
    text = text_of(tree)
    if type(tree) is str:
        text = json.dumps(tree if full else tree[:_PREVIEW], ensure_ascii=False)
    elif text is None:
        text = _stood_for(tree) or json.dumps(_untagged(tree), ensure_ascii=False)
    return printable(text if full else text[:_PREVIEW])


def beginning(items: Iterable[Any]) -> list[Any]:
    """As many items as a preview of them all shows."""
    room = _PREVIEW
    found = []
    for item in items:
        found.append(item)
        room -= len(json.dumps(item))
        if room < 0:
            break
    return found


def _stood_for(tree: Any) -> str | None:
    """What is known of a value that cannot come back."""
    if type(tree) is not dict or "$" not in tree:
        return None
    if tree["$"] == "opaque":
        return str(tree.get("repr"))
    return f"undecodable: {tree.get('raw')}" if tree["$"] == "undecodable" else None


def _untagged(tree: Any) -> Any:
    """What is inside of a tagged value, where the type beside it says as much as the tag."""
    if type(tree) is dict and tree.get("$") in ("tuple", "set", "frozenset", "bytes", "bytearray", "dataclass"):
        return tree.get("v", tree)
    return tree
