"""Rules for the names of sessions, tasks, steps and queues, and patterns that names match."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable

from zrb_store.errors import InvalidArgument
from zrb_store.masking import storable

_NUMBERED = re.compile(r".*~\d+", re.DOTALL)
_SESSION_NAME = re.compile(r"[A-Za-z0-9._:+][A-Za-z0-9._:+-]{0,199}")
# An index entry of PostgreSQL holds at most 2,704 bytes. One holds a task's name and a step's.
_MAX_BYTES = 2_000
TASK_ID_BYTES = 2_020  # the most bytes of the name of a task, or of the id TASK/NUMBER of a step
_STEP_NAME_BYTES = 500
STEP_BYTES = _STEP_NAME_BYTES + 20  # the most bytes of a step's name, with the ~2 of the second step of that name


def is_session_name(text: object) -> bool:
    """Whether a session may have this name."""
    return isinstance(text, str) and _SESSION_NAME.fullmatch(text) is not None


def check_session_name(name: str) -> str:
    """Return `name` if a session may have it."""
    if not is_session_name(name):
        raise InvalidArgument(
            f"{name!r} cannot name a session: use 1 to 200 letters, digits and . _ : + -, not starting with -"
        )
    return name


def check_name(name: str, what: str, most: int = _MAX_BYTES) -> str:
    """Return `name` if a queue or a task may have it: any text that every database can store and index."""
    if not isinstance(name, str) or storable(name) != name:
        raise InvalidArgument(f"{name!r} cannot name a {what}: use a text without NUL and lone surrogates")
    if len(name) > most // 4 and len(name.encode()) > most:
        raise InvalidArgument(f"{name[:40]!r}... cannot name a {what}: it has more than {most:,} bytes")
    return name


def check_step_name(name: str) -> str:
    """Return `name` if a step may have it."""
    if name == "":
        raise InvalidArgument("'' cannot name a step: a variable of the name may be empty")
    if "~" in check_name(name, "step", _STEP_NAME_BYTES) and _NUMBERED.fullmatch(name):
        raise InvalidArgument(f"{name!r} cannot name a step: the store appends ~2 to the second step of a name")
    return name


def numbered(name: str, number: int) -> str:
    """Return the name of the first, or `load~2` for the second, of several of one name."""
    return name if number == 1 else f"{name}~{number}"


def quoted(text: str, *, unless: str) -> str:
    """Return a text as a part of a name, in quotes unless it matches a pattern: it cannot be taken for other parts."""
    return text if re.fullmatch(unless, text) else json.dumps(text, ensure_ascii=False)


def storable_name(text: str) -> str:
    """Return the text itself if a task or a queue may have it as its name, else an escaped and shortened form."""
    try:
        return check_name(text, "task")
    except InvalidArgument:
        return storable(text).encode()[: _MAX_BYTES - 20].decode(errors="ignore")  # room for ~2


def name_within(home: str, session: str, task: str, number: int) -> str:
    """Return the name of an attempt in what is shown of a session: `load#1` if it is its own, else its full name."""
    return f"{task}#{number}" if session == home else full_name(session, task, number)


def full_name(session: str, name: str, number: int) -> str:
    """Return `SESSION/NAME#NUMBER`, the name of a value (QUEUE#SEQ) or of an attempt (TASK#NUMBER)."""
    return f"{session}/{name}#{number}"


def split_id(text: str) -> tuple[str, str, int]:
    """Split `SESSION/NAME#NUMBER` at the first `/` and the last `#`."""
    session, slash, rest = text.partition("/")
    name, hash_, number = rest.rpartition("#")
    if not slash or not hash_ or not re.fullmatch(r"-?\d{1,18}", number):
        raise InvalidArgument(f"{text!r} is not of the form SESSION/QUEUE#SEQ")
    return session, name, int(number)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` with the known word that resembles `word` most, or an empty text if none does."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


_TOKEN = re.compile(r"(?P<wild>[*?])|(?P<one_of>\[!?\]?[^\]]*\])|(?P<plain>.)", re.DOTALL)


class NamePattern:
    """A pattern as in a shell: `*` is any text, `?` one character, `[abc]` one of these, `[!abc]` none of them."""

    def __init__(self, text: str) -> None:
        self.text = text
        tokens = list(_TOKEN.finditer(text))
        # Whether `glob` and `like` match the same names. Otherwise they match more, and `matches` decides.
        self.is_exact = not any(token["one_of"] for token in tokens)
        self.glob = "".join(_glob(token) for token in tokens)  # for SQLite's GLOB, which knows case
        self.like = "".join(_like(token) for token in tokens)  # for LIKE with a backslash as escape
        wild = next((token.start() for token in tokens if not token["plain"]), len(text))
        self.prefix = text[:wild]  # what each name that it matches begins with; may be empty

    def matches(self, name: str) -> bool:
        """Whether a name matches, in the same case."""
        return fnmatch.fnmatchcase(name, self.text)


def _glob(token: re.Match[str]) -> str:
    if token["one_of"]:
        return "?"
    return "[[]" if token[0] == "[" else token[0]


def _like(token: re.Match[str]) -> str:
    if token["wild"] or token["one_of"]:
        return "%" if token["wild"] == "*" else "_"
    return f"\\{token[0]}" if token[0] in "\\%_" else token[0]
