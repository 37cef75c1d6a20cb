"""Settings from the environment (`ZRB_STORE_*`), and the one table of them.

The table in the README, `db status` and the warning about an unknown variable are made of `SETTINGS`. What returns a
setting raises `InvalidArgument`, which says what to set, if the variable has another value.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import NamedTuple

from zrb_store.errors import InvalidArgument
from zrb_store.local_time import parse_duration

DEFAULT_MAX_VALUE = 16 * 1024 * 1024

DEFAULT_OUTPUT = 64 * 1024

_PREFIX = "ZRB_STORE_"


class Setting(NamedTuple):
    """A variable that users set."""

    name: str
    meaning: str  # in Markdown
    default: str | None  # as one would write it; None if it is unset by default
    shown_default: str


SETTINGS = (
    Setting(
        "ZRB_STORE_URL",
        'file path or SQLAlchemy URL (`postgresql://...` with `pip install "zrb-store[postgres]"`)',
        "~/.zrb/xcom.db",
        "~/.zrb/xcom.db",
    ),
    Setting("ZRB_STORE_SESSION", "name of the session that zrb starts or resumes", None, "a random name"),
    Setting(
        "ZRB_STORE_PERSIST",
        "which runs are stored · `user`: those of tasks that you declared, not of zrb's own utilities · `all` · "
        "`named`: only those with `ZRB_STORE_SESSION`",
        "user",
        "user",
    ),
    Setting(
        "ZRB_STORE_DURABILITY",
        "`normal` · `full`: sync each commit to disk, so that a power cut loses nothing",
        "normal",
        "normal",
    ),
    Setting(
        "ZRB_STORE_MAX_VALUE", "largest size of one stored value, in bytes", str(DEFAULT_MAX_VALUE), "16777216 (16 MiB)"
    ),
    Setting(
        "ZRB_STORE_RETENTION",
        "for example `30d,keep=20`: delete sessions that ended more than 30 days ago, but keep the last 20 of each "
        "task and its last 20 that completed; applied after a run, at most once a day",
        None,
        "nothing is deleted",
    ),
    Setting(
        "ZRB_STORE_AGENTS",
        "`on`: each model request and tool call of an LLM task is a [step](../how-to/agents.md) · `off` · `private`: "
        "steps without prompts and answers, so that nothing can be used again",
        "on",
        "on",
    ),
    Setting(
        "ZRB_STORE_ON_ERROR",
        "what to do if the store cannot be reached · `stop`: end the run before its first task · `ignore`: warn, and "
        "run in memory",
        "stop",
        "stop",
    ),
    Setting(
        "ZRB_STORE_OUTPUT",
        "how much is kept of what each attempt [prints and logs](zrb.md#what-tasks-print), in bytes, from its end "
        "· `0`: nothing",
        str(DEFAULT_OUTPUT),
        "65536 (64 KiB)",
    ),
    Setting(
        "ZRB_STORE_ON_FAILURE",
        "a shell command that is [started](../how-to/alerts.md) when a run fails or is interrupted, a value dies, or "
        "the store cannot be used",
        None,
        "none",
    ),
)

TOLD = tuple(
    f"ZRB_STORE_{name}"
    for name in ("EVENT", "SESSION", "TASK", "VALUE", "ERROR", "REMEDY", "MESSAGE", "URL", "SHOWN_URL")
)
"""The variables that the command of `ZRB_STORE_ON_FAILURE` gets; those that say nothing are not set."""
CHILD_VARIABLES = ("ZRB_STORE_ATTEMPT", "ZRB_STORE_TESTING", *TOLD)
"""Variables that zrb-store sets for the processes that it starts, or that tests set: users do not."""

_warned: set[str] = set()


def value_of(variable: str) -> str | None:
    """Return the value of a setting: the environment's, else its default; None if it has none. Empty is unset."""
    given = os.environ.get(variable)
    return given or next(setting.default for setting in SETTINGS if setting.name == variable)


def unknown_variables() -> list[str]:
    """Return a line for each variable `ZRB_STORE_...` that is no setting, with the name that was probably meant.

    Each is told once in a process. Its value is not told, since it may be a secret.
    """
    names = [setting.name for setting in SETTINGS]
    unknown = {name for name in os.environ if name.startswith(_PREFIX)} - {*names, *CHILD_VARIABLES} - _warned
    _warned.update(unknown)
    return [f"{name} is no setting of zrb-store, and is ignored{_nearest(name, names)}" for name in sorted(unknown)]


def _nearest(name: str, names: list[str]) -> str:
    import difflib  # late: hardly anybody misspells a setting

    ends = [known.removeprefix(_PREFIX) for known in names]
    close = difflib.get_close_matches(name.removeprefix(_PREFIX), ends, n=1, cutoff=0.5)
    return f": did you mean {_PREFIX}{close[0]}?" if close else ": `zrb-store db status` lists the settings"


CHOICES = {
    "ZRB_STORE_PERSIST": ("user", "all", "named"),
    "ZRB_STORE_AGENTS": ("on", "off", "private"),
    "ZRB_STORE_ON_ERROR": ("stop", "ignore"),
    "ZRB_STORE_DURABILITY": ("normal", "full"),
}
# Numbers of bytes: a pattern, and an example.
SIZES = {
    "ZRB_STORE_MAX_VALUE": (r"0*[1-9]\d{0,17}", f"{DEFAULT_MAX_VALUE}"),
    "ZRB_STORE_OUTPUT": (r"\d{1,9}", f"{DEFAULT_OUTPUT}, or 0"),
}


def unusable() -> list[str]:
    """Return a line for each setting whose value is refused when it is used, with what to set it to."""
    found = []
    for name in (setting.name for setting in SETTINGS):
        try:
            if name in CHOICES:
                choice(name)
            elif name in SIZES:
                size(name)
            elif name == "ZRB_STORE_RETENTION":
                retention()
        except InvalidArgument as error:
            found.append(str(error))
    return found


def choice(variable: str) -> str:
    """Return the word that a setting has, one of its choices."""
    text = str(value_of(variable))
    if text not in CHOICES[variable]:
        raise InvalidArgument(f"{variable} is {text!r}: set it to {' or '.join(CHOICES[variable])}")
    return text


def size(variable: str) -> int:
    """Return how many bytes a setting says: of one encoded value, or of what is kept of an attempt's output."""
    text = str(value_of(variable))
    pattern, example = SIZES[variable]
    if not re.fullmatch(pattern, text):
        raise InvalidArgument(f"{variable} is {text!r}: set it to a number of bytes, e.g. {example}")
    return int(text)


EVENT = "ZRB_STORE_EVENT"
"""The variable that marks the command of `ZRB_STORE_ON_FAILURE`, and what that starts: none of it starts it again."""


def on_failure() -> str | None:
    """Return the shell command that is started when a run fails; None if there is none, or it started this process."""
    return None if os.environ.get(EVENT) else os.environ.get("ZRB_STORE_ON_FAILURE", "").strip() or None


def session_name() -> str | None:
    """Return the name that the first session of this process must have, from `ZRB_STORE_SESSION`; None for any name.

    The command of `ZRB_STORE_ON_FAILURE` gets the name of the session that failed in that variable: what it starts must
    not run that session.
    """
    return None if os.environ.get(EVENT) else os.environ.get("ZRB_STORE_SESSION") or None


class RetentionRule(NamedTuple):
    """Which sessions are pruned after a run. At least one of the two conditions is given."""

    older_than: timedelta | None  # only sessions that ended longer ago
    keep_last: int | None  # how many sessions of each task are kept


def retention() -> RetentionRule | None:
    """Return which sessions are pruned after a run, from `ZRB_STORE_RETENTION`; None if nothing is pruned."""
    text = value_of("ZRB_STORE_RETENTION")
    if not text:
        return None
    age = keep = None
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
