"""The settings that any process reads from its environment (`ZRB_STORE_*`)."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from zrb_store.errors import InvalidName
from zrb_store.masking import is_secret_name, mask_word, remember

DEFAULT_PATH = "~/.zrb/xcom.db"
DEFAULT_MAX_VALUE = 16 * 1024 * 1024

_MALFORMED = "the store's URL is malformed: use a file path, sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME"
_STRAY_AT = "the store's URL has an unescaped @ in its user, password or database name: write it as %40"
# A URL without its beginning, or what libpq takes instead of one. As a file's name it would be shown with its password.
_NO_PATH = re.compile(
    r"(?![./~])(?:postgres\w*(\+\w+)?:|[\w.%+-]+:(?![\\/]).*@|.*\bpassword\s*=)", re.IGNORECASE | re.DOTALL
)
_USER_AND_PASSWORD = re.compile(r"[\w+]+://([^:/]*(:[^@]*)?@)?")  # as SQLAlchemy takes a URL apart
_PARAMETER = re.compile(r"[?&][\w.]+=[^&]*")

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def store_url(location: str | os.PathLike[str] | None = None) -> URL:
    """The URL of the store: the location if given, else `ZRB_STORE_URL`, else `~/.zrb/xcom.db`.

    The same store has the same URL, however it was named: a file's path is absolute and without links (a child process
    in another folder finds it, too), PostgreSQL's driver is psycopg.

    Raises:
        InvalidName: It is neither a path nor a URL that can be understood.
    """
    text = os.fspath(location) if location is not None else os.environ.get("ZRB_STORE_URL") or DEFAULT_PATH
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = ascii(mask_word(text))
        raise InvalidName(f"the store's URL {shown} has bytes that are not UTF-8: name another file") from None
    if text == ":memory:":
        text = "sqlite://"
    if "://" not in text:
        if _NO_PATH.match(text):
            raise InvalidName(_MALFORMED)
        return URL.create("sqlite", database=_absolute(text))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The text may hold a password, so it is not shown.
        raise InvalidName(_MALFORMED) from None
    if url.drivername.startswith("sqlite"):
        if url.database and url.database != ":memory:":
            url = url.set(drivername="sqlite", database=_absolute(url.database))
        return url
    # An @ in the password makes its end a part of the host: no such host is found, and every message would name it.
    if "@" in _PARAMETER.sub("", _USER_AND_PASSWORD.sub("", text, count=1)):
        raise InvalidName(_STRAY_AT)
    _remember_passwords(url)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return url


def _remember_passwords(url: URL) -> None:
    """Let messages and tracebacks be masked that quote them, in a URL or as libpq is given them."""
    # Not the bare password: it may well be a word such as `postgres`, and would be masked wherever that stands.
    if url.password:
        remember(f":{url.password}@", f"password={url.password}")
    for name, values in url.normalized_query.items():
        if is_secret_name(name):
            remember(*(f"{name}={value}" for value in values))


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().resolve())
    except (RuntimeError, OSError, ValueError) as error:  # no home folder, a loop of links, no working directory, NUL
        raise InvalidName(f"no file can be at {path!r} ({error}): set ZRB_STORE_URL to an absolute path") from None


def durability() -> str:
    """`normal` or `full`, from `ZRB_STORE_DURABILITY`.

    Raises:
        InvalidName: It is something else.
    """
    return choice("ZRB_STORE_DURABILITY", ("normal", "full"))


def choice(variable: str, choices: tuple[str, ...]) -> str:
    """The value of a variable that takes one of `choices`, the first being the default.

    Raises:
        InvalidName: It is something else.
    """
    text = os.environ.get(variable) or choices[0]
    if text not in choices:
        raise InvalidName(f"{variable} is {text!r}: set it to {' or '.join(choices)}")
    return text


def max_value() -> int:
    """Bytes that one encoded value may have, from `ZRB_STORE_MAX_VALUE`.

    Raises:
        InvalidName: It is not a positive whole number.
    """
    text = os.environ.get("ZRB_STORE_MAX_VALUE") or str(DEFAULT_MAX_VALUE)
    if not re.fullmatch(r"0*[1-9]\d{0,17}", text):
        raise InvalidName(f"ZRB_STORE_MAX_VALUE is {text!r}: set it to a number of bytes, e.g. {DEFAULT_MAX_VALUE}")
    return int(text)


def duration(text: str) -> timedelta:
    """A length of time such as `90s`, `15m`, `26h`, `30d` or `2w`.

    Raises:
        InvalidName: It is not of that form.
    """
    match = re.fullmatch(r"(\d{1,7})([smhdw])", text.strip())
    if match is None:
        raise InvalidName(f"{text!r} is not a length of time: use e.g. 90s, 15m, 26h, 30d or 2w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def retention() -> tuple[timedelta | None, int | None] | None:
    """How old what is pruned after a run must be and how many of each task are kept, from `ZRB_STORE_RETENTION`.

    Returns:
        The two, each None if not given; None if nothing is to be pruned.

    Raises:
        InvalidName: It is not of the form `30d,keep=20`.
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
                age = duration(part)
        except InvalidName:
            raise InvalidName(f"ZRB_STORE_RETENTION is {text!r}: set it to e.g. 30d, keep=20 or 30d,keep=20") from None
    return age, keep
