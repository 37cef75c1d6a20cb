"""Settings from the environment (`ZRB_STORE_*`), and the one table of them.

The table in the README, `db status` and the warning about an unknown variable are made of `SETTINGS`. The functions
that return a setting raise `InvalidArgument`, which says what to set, if the variable has another value.
"""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from typing import NamedTuple

from zrb_store.errors import InputsDiffer, InvalidArgument
from zrb_store.local_time import parse_duration
from zrb_store.wings import Setting, in_order, installed, load

DEFAULT_MAX_VALUE = 16 * 1024 * 1024

DEFAULT_OUTPUT_LIMIT = 64 * 1024

_PREFIX = "ZRB_STORE_"


_OF_THE_CORE = (
    Setting(
        "ZRB_STORE_URL",
        'file path or SQLAlchemy URL (`postgresql://...` with `pip install "zrb-store[postgres]"`)',
        "~/.zrb/xcom.db",
    ),
    Setting("ZRB_STORE_SESSION", "name of the session that zrb starts or resumes", None, "a random name"),
    Setting(
        "ZRB_STORE_PROJECT",
        "a name for the project, if its folder changes, for example with each deployment",
        None,
        "its folder",
        check=f"{__name__}:project",
    ),
    Setting(
        "ZRB_STORE_PERSIST",
        "the runs to store · `user`: those of tasks that you declared, not of zrb's own utilities · `all` · `named`: "
        "only those with `ZRB_STORE_SESSION`",
        "user",
        choices=("user", "all", "named"),
    ),
    Setting(
        "ZRB_STORE_DURABILITY",
        "`normal` · `full`: sync each commit to disk, against power cuts",
        "normal",
        choices=("normal", "full"),
    ),
    Setting(
        "ZRB_STORE_MAX_VALUE", "largest size of one stored value, in bytes", str(DEFAULT_MAX_VALUE), "16777216 (16 MiB)"
    ),
    Setting(
        "ZRB_STORE_RETENTION",
        "for example `30d,keep=20`: delete sessions that ended more than 30 days ago, but keep the last 20 of each "
        "task and its last 20 completed ones; applied after a run, at most once a day",
        None,
        "nothing is deleted",
        check=f"{__name__}:retention",
    ),
    Setting(
        "ZRB_STORE_UNAVAILABLE",
        "what to do if the store cannot be reached · `stop`: end the run before its first task · `memory`: warn, and "
        "run in memory",
        "stop",
        choices=("stop", "memory"),
    ),
    Setting(
        "ZRB_STORE_OUTPUT_LIMIT",
        "how many bytes to keep of the end of what each attempt [prints and logs](zrb.md#what-tasks-print) · `0`: "
        "nothing",
        str(DEFAULT_OUTPUT_LIMIT),
        "65536 (64 KiB)",
    ),
)

_ALL = in_order(
    {setting.name: setting for setting in _OF_THE_CORE},
    ((setting.name, setting) for wing in installed() for setting in wing.settings),
)
SETTINGS = tuple(_ALL.values())
"""Every setting."""


REPLAYS = "ZRB_STORE_REPLAYS"
"""The variable that tells the process of a replay, and those that it starts, which attempt of the record it is."""
SECRETS = "ZRB_STORE_SECRETS"
"""The variable that tells the command of a CmdTask which secrets it contains, as a JSON list: its steps mask them."""
EVENT = "ZRB_STORE_EVENT"
"""The variable that marks the command of `ZRB_STORE_NOTIFY`, and what that starts: none of it starts it again."""
RESUMES = "ZRB_STORE_RESUMES"
"""The variable that tells a program that `resume` has started which session it is to run, and from which task on."""
CHILD_VARIABLES = (
    *("ZRB_STORE_ATTEMPT", "ZRB_STORE_TESTING", REPLAYS, RESUMES, SECRETS, EVENT),
    *(name for wing in installed() for name in wing.variables),
)
"""Variables that zrb-store sets for the processes that it starts, or that tests set: users do not."""

_warned: set[str] = set()


def value_of(variable: str) -> str | None:
    """Return the value of a setting: the environment's, else its default; None if it has none. Empty is unset."""
    return os.environ.get(variable) or _ALL[variable].default


def unknown_variables() -> list[str]:
    """Return a line for each variable `ZRB_STORE_...` that is no setting, with the name that is like it.

    A process returns each line once. The value is not shown, because it may be a secret.
    """
    lines = []
    known = {*_ALL, *CHILD_VARIABLES}
    for name in sorted(os.environ):
        if name.startswith(_PREFIX) and name not in known and name not in _warned:
            _warned.add(name)
            lines.append(f"{name} is not a setting of zrb-store, and is ignored{_nearest(name)}")
    return lines


def _nearest(name: str) -> str:
    import difflib

    ends = [known.removeprefix(_PREFIX) for known in _ALL]
    close = difflib.get_close_matches(name.removeprefix(_PREFIX), ends, n=1, cutoff=0.5)
    return f": did you mean {_PREFIX}{close[0]}?" if close else ": `zrb-store db status` lists the settings"


# Numbers of bytes: a pattern, and an example.
SIZES = {
    "ZRB_STORE_MAX_VALUE": (r"0*[1-9]\d{0,17}", f"{DEFAULT_MAX_VALUE}"),
    "ZRB_STORE_OUTPUT_LIMIT": (r"\d{1,9}", f"{DEFAULT_OUTPUT_LIMIT}, or 0"),
}


def unusable() -> list[str]:
    """Return a line for each setting whose value is refused when it is used, with what to set it to."""
    found = []
    for setting in SETTINGS:
        try:
            if setting.choices:
                choice(setting.name)
            elif setting.name in SIZES:
                size(setting.name)
            elif setting.check is not None:
                load(setting.check)()
        except InvalidArgument as error:
            found.append(str(error))
    return found


def choice(variable: str, own: object = None, place: str = "") -> str:
    """Return the word that a setting has, one of its choices; or `own`, if a task has that at this place."""
    text, place = (value_of(variable), variable) if own is None else (own, place)
    choices = _ALL[variable].choices
    if text not in choices:
        raise InvalidArgument(f"{place} is {text!r}: set it to {' or '.join(choices)}")
    return str(text)


def project() -> str | None:
    """Return the name of the project, from `ZRB_STORE_PROJECT`; None if its folder names it."""
    text = value_of("ZRB_STORE_PROJECT")
    if text and not re.fullmatch(r"[\w.:+-]{1,200}", text):
        raise InvalidArgument(f"ZRB_STORE_PROJECT is {text!r}: set it to a name of letters, digits and . _ : + -")
    return text


def size(variable: str) -> int:
    """Return how many bytes a setting says: of one encoded value, or of what is kept of an attempt's output."""
    text = str(value_of(variable))
    pattern, example = SIZES[variable]
    if not re.fullmatch(pattern, text):
        raise InvalidArgument(f"{variable} is {text!r}: set it to a number of bytes, e.g. {example}")
    return int(text)


def notify_command() -> str | None:
    """Return the shell command that is started when a run fails; None if there is none, or it started this process."""
    return None if os.environ.get(EVENT) else os.environ.get("ZRB_STORE_NOTIFY", "").strip() or None


def session_name() -> str | None:
    """Return the name that the first session of this process must have, from `ZRB_STORE_SESSION`; None for any name.

    The command of `ZRB_STORE_NOTIFY` gets the name of the session that failed in that variable: what it starts must
    not run that session.
    """
    return None if os.environ.get(EVENT) else os.environ.get("ZRB_STORE_SESSION") or None


class Resumes(NamedTuple):
    """What `resume` has started this program for."""

    session: str
    from_task: str | None = None
    repeat_once: bool = False

    def encoded(self) -> str:
        """Return it as the variable says it."""
        return json.dumps(self)


def resumes(session: str) -> Resumes | None:
    """Return what a session of this process is resumed for; None if it is not. A process asks for it once.

    Raise `InputsDiffer` if another session is to be resumed, as by a program that names its session by the day.
    """
    text = os.environ.get(RESUMES)
    if not text:
        return None
    asked = Resumes(*json.loads(text))
    if asked.session != session:
        raise InputsDiffer(
            f"`zrb-store resume {asked.session}` has started a program that runs session {session} now: nothing was "
            "run; start the program by hand with what names the other session"
        )
    del os.environ[RESUMES]  # not for what this program starts
    return asked


def retention() -> tuple[timedelta | None, int | None] | None:
    """Return which sessions are pruned after a run, from `ZRB_STORE_RETENTION`; None if nothing is pruned.

    These are the age from which on they are, and how many of each task are kept. At least one of the two is given.
    """
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
    return age, keep
