"""When a job was due and did not run, by the periods in the names of its sessions, such as `backup-2026-11-24`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import NamedTuple

from zrb_store.local_time import period_name

_PERIOD = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)(?:T(?P<hour>\d\d[+-]\d{4}))?\Z|(?P<week>\d{4}-W\d\d)\Z")
_CYCLE = {"hour": 24, "day": 7, "week": 1}  # periods after which those in which a job is due repeat
_MOST = 1000  # periods before now that are looked at


class Period(NamedTuple):
    """An hour, a day or a week, numbered in their order."""

    job: str  # what stands before it in the name of the session
    unit: str
    number: int

    def is_before(self, other: Period) -> bool:
        """Whether it is an earlier hour, day or week than the other one."""
        return self.unit == other.unit and self.number < other.number

    @property
    def start(self) -> datetime:
        """The local time at which it begins."""
        if self.unit == "hour":
            return datetime.fromtimestamp(self.number * 3600).astimezone()
        first = date.fromordinal(self.number * 7 + 1 if self.unit == "week" else self.number)
        return datetime.combine(first, datetime.min.time())

    @property
    def slot(self) -> int:
        """The hour of the day, or the day of the week."""
        return {"hour": self.start.hour, "day": self.start.weekday(), "week": 0}[self.unit]

    @property
    def session(self) -> str:
        """The name of the job's session for it."""
        return self.job + period_name(self.unit, self.start)


def period_of(session: str) -> Period | None:
    """Return the period at the end of a session's name, or None."""
    found = _PERIOD.search(session)
    if found is None:
        return None
    job = session[: found.start()]
    try:
        if found["week"]:
            return Period(job, "week", datetime.strptime(f"{found['week']}-1", "%G-W%V-%u").toordinal() // 7)
        if found["hour"]:
            hour = datetime.strptime(found[0], "%Y-%m-%dT%H%z")
            return Period(job, "hour", int(hour.timestamp()) // 3600)
        return Period(job, "day", date.fromisoformat(found["day"]).toordinal())
    except ValueError:  # the 30th of February
        return None


def missed(periods: Iterable[Period], moment: int) -> list[Period]:
    """Return the periods before the present one in which a job was due and did not run.

    It is due from its first period on. After a week (of an hourly job, a day) it is due only on those weekdays, or in
    those hours, on which it has ever run.
    """
    every = list(periods)
    if not every:
        return []
    job, unit, _ = every[-1]
    ran = {each.number for each in every if each.unit == unit}
    slots = {each.slot for each in every if each.unit == unit}
    first, now = min(ran), datetime.fromtimestamp(moment / 1_000_000).astimezone()
    number = int(now.timestamp()) // 3600 if unit == "hour" else now.toordinal()
    number = (now - timedelta(days=now.weekday())).toordinal() // 7 if unit == "week" else number
    absent = (Period(job, unit, each) for each in range(max(first, number - _MOST), number) if each not in ran)
    return [each for each in absent if each.slot in slots or each.number < first + _CYCLE[unit]]
