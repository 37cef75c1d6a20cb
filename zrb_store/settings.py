"""Settings from the environment (`ZRB_STORE_*`), and the one table of them.

The table in the README, `db status` and the warning about an unknown variable are made of `SETTINGS`.

The project that the working directory belongs to, and the script that this process runs.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from zrb_store.errors import InvalidArgument
from zrb_store.masking import storable
from zrb_store.names import check_name

DEFAULT_MAX_VALUE = 16 * 1024 * 1024

DEFAULT_OUTPUT = 64 * 1024

_PREFIX = "ZRB_STORE_"
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Setting(NamedTuple):
    """A variable that users set.

    Attributes:
        name: The variable.
        meaning: What it means, in Markdown.
        default: What it is if nobody sets it, as one would write it; None if it is unset then.
        shown_default: How people are told of that.
    """

    name: str
    meaning: str
    default: str | None
    shown_default: str


SETTINGS = (
    Setting(
        "ZRB_STORE_URL",
        'file path or SQLAlchemy URL (`postgresql+psycopg://...` with `pip install "zrb-store[postgres]"`)',
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
        "`on`: each model request and tool call of an LLM task is a [step](docs/agents.md) · `off` · `private`: steps "
        "without prompts and answers, so that nothing can be used again",
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
        "how much is kept of what each attempt [prints and logs](docs/zrb.md#what-tasks-print), in bytes, from its end "
        "· `0`: nothing",
        str(DEFAULT_OUTPUT),
        "65536 (64 KiB)",
    ),
    Setting(
        "ZRB_STORE_ON_FAILURE",
        "a shell command that is [started](docs/alerts.md) when a run fails or is interrupted, a value dies, or the "
        "store cannot be used",
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


class CurrentSetting(NamedTuple):
    """A setting as it is in this process.

    Attributes:
        name: The variable.
        value: Its value; None if it is unset and has no default. It may contain a password.
        origin: Where the value comes from.
        shown_default: What people are told if the value is the default.
    """

    name: str
    value: str | None
    origin: Literal["environment", "default"]
    shown_default: str


def current_settings() -> list[CurrentSetting]:
    """Return every setting as it is in this process. An empty variable counts as unset."""
    found = []
    for setting in SETTINGS:
        given = os.environ.get(setting.name) or None
        origin: Literal["environment", "default"] = "default" if given is None else "environment"
        found.append(CurrentSetting(setting.name, given or setting.default, origin, setting.shown_default))
    return found


def value_of(variable: str) -> str | None:
    """Return the value of a setting: the environment's, else its default; None if it is unset and has none."""
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


def unusable() -> list[str]:
    """Return a line for each setting whose value is refused when it is used, with what to set it to."""
    found = []
    for check in (persist, durability, max_value, retention, agents, on_error, output):
        try:
            check()
        except InvalidArgument as error:
            found.append(str(error))
    return found


def persist() -> str:
    """Return `user`, `all` or `named`, from `ZRB_STORE_PERSIST`.

    Raises:
        InvalidArgument: The variable has another value.
    """
    return choice("ZRB_STORE_PERSIST", ("user", "all", "named"))


def agents() -> str:
    """Return `on`, `off` or `private`, from `ZRB_STORE_AGENTS`.

    Raises:
        InvalidArgument: The variable has another value.
    """
    return choice("ZRB_STORE_AGENTS", ("on", "off", "private"))


def on_error() -> str:
    """Return `stop` or `ignore`, from `ZRB_STORE_ON_ERROR`.

    Raises:
        InvalidArgument: The variable has another value.
    """
    return choice("ZRB_STORE_ON_ERROR", ("stop", "ignore"))


def durability() -> str:
    """Return `normal` or `full`, from `ZRB_STORE_DURABILITY`.

    Raises:
        InvalidArgument: The variable has another value.
    """
    return choice("ZRB_STORE_DURABILITY", ("normal", "full"))


def choice(variable: str, choices: tuple[str, ...]) -> str:
    """Return the value of a setting that accepts one of `choices`.

    Raises:
        InvalidArgument: The variable has another value.
    """
    text = str(value_of(variable))
    if text not in choices:
        raise InvalidArgument(f"{variable} is {text!r}: set it to {' or '.join(choices)}")
    return text


def max_value() -> int:
    """Return how many bytes one encoded value may have, from `ZRB_STORE_MAX_VALUE`.

    Raises:
        InvalidArgument: The variable is not a positive whole number.
    """
    text = str(value_of("ZRB_STORE_MAX_VALUE"))
    if not re.fullmatch(r"0*[1-9]\d{0,17}", text):
        raise InvalidArgument(f"ZRB_STORE_MAX_VALUE is {text!r}: set it to a number of bytes, e.g. {DEFAULT_MAX_VALUE}")
    return int(text)


def output() -> int:
    """Return how many bytes are kept of what an attempt prints, 0 for none, from `ZRB_STORE_OUTPUT`.

    Raises:
        InvalidArgument: The variable is not a whole number, or has more than nine digits.
    """
    text = str(value_of("ZRB_STORE_OUTPUT"))
    if not re.fullmatch(r"\d{1,9}", text):
        raise InvalidArgument(f"ZRB_STORE_OUTPUT is {text!r}: set it to a number of bytes, e.g. {DEFAULT_OUTPUT}, or 0")
    return int(text)


def parse_duration(text: str) -> timedelta:
    """Parse a length of time such as `90s`, `15m`, `1.5h`, `30d` or `2w`.

    Raises:
        InvalidArgument: The text does not have that form.
    """
    match = re.fullmatch(r"(\d{1,7}(?:\.\d{1,6})?)([smhdw])", text.strip())
    if match is None:
        raise InvalidArgument(f"{text!r} is not a length of time: use e.g. 90s, 15m, 1.5h, 30d or 2w")
    return timedelta(**{_UNITS[match[2]]: float(match[1])})


EVENT = "ZRB_STORE_EVENT"
"""The variable that marks the command of `ZRB_STORE_ON_FAILURE`, and what that starts: none of it starts it again."""


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
    text = value_of("ZRB_STORE_RETENTION")
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


@dataclass(frozen=True)
class Projects:
    """The projects that somebody asks for: those in some folders, or those whose folder has a name.

    Attributes:
        folders: The folders.
        name: The name, instead of folders.
    """

    folders: tuple[str, ...] = ()
    name: str | None = None


def current_project(init_file: str | None = None) -> str:
    """Return the folder of the current project.

    That is the nearest folder, from the working directory upwards, that contains `zrb_init.py`; if there is none, it is
    the working directory itself.

    Args:
        init_file: Name of the file that marks a project; by default zrb's own setting `ZRB_INIT_FILE_NAME`.

    Raises:
        InvalidArgument: The working directory no longer exists.
    """
    try:
        here = Path.cwd()
    except OSError:
        raise InvalidArgument("the working directory was deleted: change to the folder of the project") from None
    return project_of(here, init_file)


def project_of(here: Path, init_file: str | None = None) -> str:
    """Return the folder of the project that an absolute path belongs to; the arguments are as in `current_project`."""
    name = init_file or os.environ.get("ZRB_INIT_FILE_NAME") or "zrb_init.py"
    return storable(str(next((folder for folder in (here, *here.parents) if (folder / name).is_file()), here)))


def current_folder() -> str | None:
    """Return the working directory; None if it was deleted."""
    try:
        return storable(str(Path.cwd()))
    except OSError:
        return None


def program_of(command: Sequence[str], folder: str | None) -> str | None:
    """Return the path of the program that a process runs: a script, a module, or an installed program.

    Args:
        command: Its command line, as Python has it in `sys.argv`.
        folder: Its working directory.

    Returns:
        The path; None if the code is in no file, as in a REPL and under `python -c`.
    """
    program = command[0] if command else ""
    return os.path.normpath(Path(folder or "", program)) if program and not program.startswith("-") else None


def current_script() -> str | None:
    """Return the absolute path of the script that this process runs, or None.

    There is no script under `python -c` and `python -m`, in a REPL or a notebook, and for code from a pipe. A program
    that is installed beside the interpreter (pytest, celery, zrb) does not count, since it may run anybody's code.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None or not isinstance(file, str) or not Path(file).is_absolute():
        return None
    is_installed = sys.executable and is_same_file(Path(file).parent, Path(sys.executable).parent)
    if is_installed or file.startswith(("/dev/fd/", "/dev/stdin", "/proc/")):
        return None
    try:
        return check_name(storable(os.path.normpath(file)), "script")
    except InvalidArgument:  # the path is too long
        return None


def is_same_file(one: str | Path, two: str | Path) -> bool:
    """Whether two paths lead to the same place once links are followed; the place need not exist."""
    return os.path.realpath(one) == os.path.realpath(two)


def projects_named(text: str | None) -> Projects | None:
    """Return the projects that an option names.

    Args:
        text: The name of its folder; or a path to it or into it, which has a slash or is `.`, `..` or `~`; or an empty
            text for the current project; or None for every project.
    """
    if text is None:
        return None
    if not text:
        return Projects((current_project(),))
    if "/" not in text and text not in (".", "..", "~"):
        return Projects(name=text)
    path = Path(os.path.normpath(Path.cwd() / os.path.expanduser(text)))  # noqa: PTH111 - it never fails
    # A project may have been stored by a path that leads over a link.
    return Projects(tuple(dict.fromkeys((project_of(path), project_of(path.resolve())))))
