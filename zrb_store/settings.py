"""Settings from the environment (`ZRB_STORE_*`). The URL of the store is read in `db/urls.py`."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import NamedTuple

from zrb_store.errors import InvalidArgument

DEFAULT_MAX_VALUE = 16 * 1024 * 1024

DEFAULT_OUTPUT = 64 * 1024

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def durability() -> str:
    """Return `normal` or `full`, from `ZRB_STORE_DURABILITY`.

    Raises:
        InvalidArgument: The variable has another value.
    """
    return choice("ZRB_STORE_DURABILITY", ("normal", "full"))


def choice(variable: str, choices: tuple[str, ...]) -> str:
    """Return the value of a variable that accepts one of `choices`; the first is the default.

    Raises:
        InvalidArgument: The variable has another value.
    """
    text = os.environ.get(variable) or choices[0]
    if text not in choices:
        raise InvalidArgument(f"{variable} is {text!r}: set it to {' or '.join(choices)}")
    return text


def max_value() -> int:
    """Return how many bytes one encoded value may have, from `ZRB_STORE_MAX_VALUE`.

    Raises:
        InvalidArgument: The variable is not a positive whole number.
    """
    text = os.environ.get("ZRB_STORE_MAX_VALUE") or str(DEFAULT_MAX_VALUE)
    if not re.fullmatch(r"0*[1-9]\d{0,17}", text):
        raise InvalidArgument(f"ZRB_STORE_MAX_VALUE is {text!r}: set it to a number of bytes, e.g. {DEFAULT_MAX_VALUE}")
    return int(text)


def output() -> int:
    """Return how many bytes are kept of what an attempt prints, 0 for none, from `ZRB_STORE_OUTPUT`.

    Raises:
        InvalidArgument: The variable is not a whole number, or has more than nine digits.
    """
    text = os.environ.get("ZRB_STORE_OUTPUT") or str(DEFAULT_OUTPUT)
    if not re.fullmatch(r"\d{1,9}", text):
        raise InvalidArgument(f"ZRB_STORE_OUTPUT is {text!r}: set it to a number of bytes, e.g. {DEFAULT_OUTPUT}, or 0")
    return int(text)


def parse_duration(text: str) -> timedelta:
    """Parse a length of time such as `90s`, `15m`, `26h`, `30d` or `2w`.

    Raises:
        InvalidArgument: The text does not have that form.
    """
    match = re.fullmatch(r"(\d{1,7})([smhdw])", text.strip())
    if match is None:
        raise InvalidArgument(f"{text!r} is not a length of time: use e.g. 90s, 15m, 26h, 30d or 2w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


EVENT = "ZRB_STORE_EVENT"
"""The variable that marks the command of `ZRB_STORE_ON_FAILURE`, and what that starts: none of it starts it again."""


TOLD = tuple(
    f"ZRB_STORE_{name}"
    for name in ("EVENT", "SESSION", "TASK", "VALUE", "ERROR", "REMEDY", "MESSAGE", "URL", "SHOWN_URL")
)
"""The variables that this command gets; those that say nothing are not set."""


def on_failure() -> str | None:
    """Return the shell command that is started when a run fails, from `ZRB_STORE_ON_FAILURE`.

    Returns:
        None if there is none, or if such a command has started this process.
    """
    return None if os.environ.get(EVENT) else os.environ.get("ZRB_STORE_ON_FAILURE", "").strip() or None


def session_name() -> str | None:
    """Return the name that the first session of this process must have, from `ZRB_STORE_SESSION`; None for any name.

    The command of `ZRB_STORE_ON_FAILURE` gets the name of the session that failed in that variable: what it starts must
    not run that session.
    """
    return None if os.environ.get(EVENT) else os.environ.get("ZRB_STORE_SESSION") or None


class RetentionRule(NamedTuple):
    """Which sessions are pruned after a run. At least one of the two conditions is given.

    Attributes:
        older_than: Only sessions that ended longer ago than this.
        keep_last: How many sessions of each task are kept.
    """

    older_than: timedelta | None
    keep_last: int | None


def retention() -> RetentionRule | None:
    """Return which sessions are pruned after a run, from `ZRB_STORE_RETENTION`.

    Returns:
        The rule; None if nothing is pruned.

    Raises:
        InvalidArgument: The variable does not have the form `30d,keep=20`.
    """
    text = os.environ.get("ZRB_STORE_RETENTION")
    if not text:
        return None
    age: timedelta | None = None
    keep: int | None = None
    for part in text.split(","):
        match = re.fullmatch(r"\s*keep=(\d{1,9})\s*", part)
        try:
            if match:
                keep = int(match[1])
            else:
                age = parse_duration(part)
        except InvalidArgument:
            raise InvalidArgument(
                f"ZRB_STORE_RETENTION is {text!r}: set it to e.g. 30d, keep=20 or 30d,keep=20"
            ) from None
    return RetentionRule(age, keep)
