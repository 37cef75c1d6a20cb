"""The quick answer of `step`: a script that resumes asks for each of its completed steps, before it gets to work.

What is not answered here, `step.py` answers, with every check and message. This file imports neither that nor click,
which would take longer than the answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from zrb_store import settings
from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.masking import mask_command
from zrb_store.names import split_id

_FLAGS = {"--once", "--stdin", "-v", "--verbose"}
_OPTIONS = {"--produces", "--timeout", "--retries"}
_PIECE = 65536


def answer(words: Sequence[str], tell: Callable[[str], object]) -> bool:
    """Print the stored output of a step that is done, if its command line is a plain one; else return False."""
    if "--" not in words:
        return False
    end = words.index("--")
    names, flags = [], set()
    before = iter(words[:end])
    for word in before:
        if word in _OPTIONS:
            next(before, None)
        elif word in _FLAGS:
            flags.add(word)
        elif not word.startswith("-"):
            names.append(word)
        elif word.partition("=")[0] not in _OPTIONS:
            return False
    output = _output(names[0], words[end + 1 :]) if len(names) == 1 else None
    if output is None:
        return False
    write(output)
    if "--stdin" in flags:
        read_to_end()
    if flags & {"-v", "--verbose"}:
        tell(again(names[0]))
    return True


def again(name: str) -> str:
    """Say that a step does not run."""
    return f"step {name} has completed before: its output is printed, and it does not run"


def _output(name: str, argv: Sequence[str]) -> bytes | None:
    """Return the stored output of a step that is done with an equal command; None if that is not sure."""
    from zrb_store.db.location import store_url  # late: a wrong command line needs none of them
    from zrb_store.db.schema import open_database
    from zrb_store.queries.stored_step import completed

    attempt, _, fence = os.environ.get("ZRB_STORE_ATTEMPT", "").rpartition("@")
    with contextlib.suppress(ZrbStoreError, ValueError):  # the longer way reports it
        session, task, number = split_id(attempt)
        url = store_url()
        if not url.drivername.startswith("sqlite"):  # a second connection would take longer than this saves
            return None
        durability = settings.choice("ZRB_STORE_DURABILITY")
        with closing(open_database(url, read_only=True, durability=durability)) as database:
            found = completed(database, session, task, number, int(fence), name)
        if found is None or found.arguments is None:
            return None
        positional, named = json.loads(found.arguments)
        result = json.loads(found.result or "null")
        is_same = positional == list(argv) or positional == mask_command(argv)  # the second one takes longer
        if is_same and isinstance(result, str) and changed(named.get("produces")) is None:
            return result.encode("utf-8", "surrogatepass")
    return None


def facts(paths: Iterable[str]) -> dict[str, list[int | str]]:
    """Return size and digest of each file, by its absolute path.

    Raises:
        InvalidArgument: One of them is no regular file, or cannot be read.
    """
    found: dict[str, list[int | str]] = {}
    for path in map(os.path.abspath, paths):
        import hashlib  # late: most steps produce no files

        try:
            if not Path(path).is_file():  # opening a pipe would wait for its writer
                raise InvalidArgument(f"{path} is no regular file" if Path(path).exists() else f"{path} is missing")
            with Path(path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                found[path] = [os.fstat(file.fileno()).st_size, f"sha256:{digest}"]
        except OSError as error:
            raise InvalidArgument(f"{path}: {error.strerror}") from None
    return found


def changed(produced: Mapping[str, Sequence[int | str]] | None) -> str | None:
    """Return why files that a step has produced are not as it left them; None if they are."""
    for path, fact in (produced or {}).items():
        try:
            if facts([path])[path] != fact:
                return f"{path} has changed"
        except InvalidArgument as error:
            return str(error)
    return None


def write(data: bytes) -> None:
    """Write to stdout. A reader that has gone has seen enough."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end of the process


def read_to_end() -> None:
    """Read stdin to its end, so that whoever writes to it ends well."""
    with contextlib.suppress(OSError):
        while os.read(0, _PIECE):
            pass
