"""Times and lengths of time as they are printed and typed. Times are local, unless they name another zone."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import TypeAlias

from zrb_store.errors import InvalidArgument

Since: TypeAlias = timedelta | datetime
"""From when on something is asked for: within a length of time, or since a moment."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_TIME = re.compile(
    r"(?:(?:(?P<year>\d{4})-)?(?P<day>\d\d-\d\d)(?:[Tt]|\s+|$))?"
    r"(?:(?P<clock>\d\d:\d\d(?P<second>:\d\d(?:[.,](?P<fraction>\d{1,6}))?)?)"
    r"\s*(?P<zone>[+-]\d\d(?::?\d\d)?|[A-Za-z]+)?)?"
)


def zone_name(local: datetime) -> str:
    """Return what is printed behind a local time to name its zone: `CET`, or an offset such as `+0530`."""
    name = local.tzname() or ""
    return name if name.isascii() and name.isalpha() else local.strftime("%z")


def is_repeated(local: datetime) -> bool:
    """Whether the local clock shows this time twice, since it is put back."""
    return len(_instants(local.replace(tzinfo=None))) > 1


def parse_time(text: str, start: int, *, first: bool = False) -> int | None:
    """Return the moment that a text names, in microseconds since 1970.

    The text is `2026-11-24T03:12:45`, with a space for the `T`, without the year, the date, the time of day or the
    seconds; then the day or year is that of `start`. It is local, unless `Z`, an offset or the name of the zone
    follows. The moment is the end (or, with `first`, the beginning) of that second, minute or day, so that whatever is
    printed with this time has happened by then. None if the text is no time.
    """
    parts = _TIME.fullmatch(text.strip())
    if parts is None or not (parts["day"] or parts["clock"]):
        return None
    try:
        zone = _fixed_zone(parts["zone"])
        first_day = (_EPOCH + start * _MICROSECOND).astimezone(zone).date()
        year = parts["year"] or f"{first_day.year:04}"
        day = date.fromisoformat(f"{year}-{parts['day']}") if parts["day"] else first_day
        clock = datetime.combine(day, time.fromisoformat((parts["clock"] or "00:00").replace(",", ".")))
        if not first:
            clock += _length(parts) - _MICROSECOND
        if zone is not None:
            moment = clock.replace(tzinfo=zone)
        elif first and not parts["clock"]:
            moment = clock.astimezone()  # some zones put their clocks forward or back at midnight
        else:
            moment = _local(clock, parts["zone"], text)
        return (moment - _EPOCH) // _MICROSECOND
    except InvalidArgument:
        raise
    except (OverflowError, ValueError):  # the 30th of February
        return None


def parse_since(text: str) -> datetime:
    """Return the beginning of a past day, minute or second: a time as `parse_time` takes it, or `midnight`."""
    now = _now()
    day = f"{now.astimezone():%Y-%m-%d}" if text.strip().lower() == "midnight" else text
    moment = parse_time(day, (now - _EPOCH) // _MICROSECOND, first=True)
    if moment is None:
        raise InvalidArgument(
            f"{text!r} is neither a length of time, e.g. 90m, 1.5h or 2d, nor a time, e.g. 2026-11-24, "
            "'11-24 03:12', 03:12 or midnight"
        )
    since = _EPOCH + moment * _MICROSECOND
    if since > now:
        raise InvalidArgument(f"{text!r} is in the future")
    return since


def _now() -> datetime:
    return datetime.now(UTC)


def beginning(since: Since, moment: int) -> int:
    """Return when something begins, in microseconds since 1970: at a time, or this long before a moment."""
    return (since - _EPOCH) // _MICROSECOND if isinstance(since, datetime) else moment - since // _MICROSECOND


def _fixed_zone(name: str | None) -> tzinfo | None:
    """Return the zone that a `Z` or an offset names; None for the local one."""
    if name is None:
        return None
    if name.upper() in ("Z", "UTC", "GMT"):
        return UTC
    if name[0] not in "+-":
        return None
    offset = timedelta(hours=int(name[1:3]), minutes=int(name[-2:]) if len(name) > 3 else 0)
    return timezone(-offset if name[0] == "-" else offset)


def _length(parts: re.Match[str]) -> timedelta:
    """Return how long the second, the minute or the day is that was given last."""
    if parts["fraction"]:
        return timedelta(microseconds=10 ** (6 - len(parts["fraction"])))
    if parts["second"]:
        return timedelta(seconds=1)
    return timedelta(minutes=1) if parts["clock"] else timedelta(days=1)


def _local(clock: datetime, zone: str | None, text: str) -> datetime:
    """Return the instant at which the local clock showed a time."""
    instants = _instants(clock)
    names = [zone_name(each) for each in instants]
    if not instants:
        raise InvalidArgument(f"{text!r} does not exist: the clock here was put forward past it")
    if zone is not None:
        instants = [each for each, name in zip(instants, names, strict=True) if name.upper() == zone.upper()]
    if not instants:
        raise InvalidArgument(
            f"{text!r} does not have the zone of this place, which was {' or '.join(names)} then: "
            "give an offset such as +01:00, or Z for UTC"
        )
    if len(instants) > 1:
        raise InvalidArgument(f"{text!r} occurred twice, because the clock here was put back: add {' or '.join(names)}")
    return instants[0]


def _instants(clock: datetime) -> list[datetime]:
    """Return when the local clock showed a time: once, or twice if it was put back, or never if it was put forward."""
    found = dict.fromkeys(clock.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return [local for local in (each.astimezone() for each in found) if local.replace(tzinfo=None, fold=0) == clock]


PERIODS = {"day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H%z", "week": "%G-W%V"}
"""What jobs run once in, and how one is named. An hour has its offset: one is repeated when clocks are put back."""


def period_name(every: str, moment: datetime | None = None) -> str:
    """Name the day, hour or week of a local time, or of now."""
    return (moment or _now().astimezone()).strftime(PERIODS[every])


def parse_duration(text: str) -> timedelta:
    """Parse a length of time such as `90s`, `15m`, `1.5h`, `30d` or `2w`."""
    match = re.fullmatch(r"(\d{1,7}(?:\.\d{1,6})?)([smhdw])", text.strip())
    if match is None:
        raise InvalidArgument(f"{text!r} is not a length of time: use e.g. 90s, 15m, 1.5h, 30d or 2w")
    return timedelta(**{_UNITS[match[2]]: float(match[1])})


_WHOLE_UNITS = ((86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"))
LONGEST_DELAY = timedelta(days=3660)


def delay_in_micros(delay: timedelta | float) -> int:
    """Return a delay, a timedelta or a number of seconds, in microseconds. Refuse one of more than ten years."""
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= LONGEST_DELAY.total_seconds():
        given = f"{seconds:g} seconds" if isinstance(delay, timedelta) else repr(delay)
        raise InvalidArgument(f"{given} is not a delay: give a timedelta or seconds, from 0 to ten years")
    return round(seconds * 1_000_000)


def as_duration(micros: int) -> str:
    """Write a length of time exactly, as `parse_duration` takes it: `90s`, `10m`, `1.5s`."""
    unit, name = next((pair for pair in _WHOLE_UNITS if micros and micros % pair[0] == 0), (1_000_000, "s"))
    return f"{micros / unit:.6f}".rstrip("0").rstrip(".") + name


def rounded(micros: int) -> str:
    """Write a length of time, in microseconds, in the largest unit of which it has at least two."""
    seconds = micros / 1_000_000
    for name, unit in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
