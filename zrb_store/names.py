"""What sessions, tasks, queues and values may be called, and how they are spelled together."""

from __future__ import annotations

import re
from collections.abc import Iterable

from zrb_store.errors import InvalidName

_SESSION_NAME = re.compile(r"[A-Za-z0-9._:+][A-Za-z0-9._:+-]{0,199}")
_LONGEST = 2_000  # an index of PostgreSQL takes no more than 2,704 bytes


def is_session_name(text: object) -> bool:
    """Whether a session may have this name."""
    return isinstance(text, str) and _SESSION_NAME.fullmatch(text) is not None


def check_session_name(name: str) -> str:
    """Return `name` if a session may have it.

    Raises:
        InvalidName: It has other characters than letters, digits and `. _ : + -`, starts with `-`,
            is empty or longer than 200.
    """
    if not is_session_name(name):
        raise InvalidName(
            f"{name!r} cannot name a session: use 1 to 200 letters, digits and . _ : + -, not starting with -"
        )
    return name


def check_name(name: str, what: str) -> str:
    """Return `name` if a queue or a task, as `what` says, may have it: any text that every database can hold and find.

    Raises:
        InvalidName: It is no text, holds NUL or half a surrogate pair, or has more than 2,000 bytes.
    """
    if not isinstance(name, str) or storable(name) != name:
        raise InvalidName(f"{name!r} cannot name a {what}: use a text without NUL and lone surrogates")
    if len(name) > _LONGEST // 4 and len(name.encode()) > _LONGEST:
        raise InvalidName(f"{name[:40]!r}... cannot name a {what}: it has more than {_LONGEST:,} bytes")
    return name


def storable(text: str) -> str:
    """The text as every database takes it: PostgreSQL has no NUL, UTF-8 no lone surrogates."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def fitting(text: str) -> str:
    """A name that a task or a queue may have: the text itself, or what of it can be one."""
    try:
        return check_name(text, "task")
    except InvalidName:
        return storable(text).encode()[: _LONGEST - 20].decode(errors="ignore")  # room for ~2


def value_id(session: str, queue: str, seq: int) -> str:
    """`SESSION/QUEUE#SEQ`."""
    return f"{session}/{queue}#{seq}"


def split_id(text: str) -> tuple[str, str, int]:
    """Split `SESSION/QUEUE#SEQ` (or `SESSION/TASK#NUMBER`) at the first `/` and the last `#`.

    Raises:
        InvalidName: The text is not of that form.
    """
    session, slash, rest = text.partition("/")
    name, hash_, number = rest.rpartition("#")
    if not slash or not hash_ or not re.fullmatch(r"-?\d{1,18}", number):
        raise InvalidName(f"{text!r} is not of the form SESSION/QUEUE#SEQ")
    return session, name, int(number)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` with the known word that is most like `word`, or nothing."""
    import difflib  # only when something is wrong

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
