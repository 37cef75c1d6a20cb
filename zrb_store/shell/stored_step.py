"""The quick answer of `step`: a script that resumes asks for each of its completed steps, before it gets to work.

What is not answered here, `step.py` answers, with every check and message. This file imports neither that nor click,
which would take longer than the answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from zrb_store import settings
from zrb_store.db.location import store_url
from zrb_store.db.schema import open_database
from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.masking import mask_command
from zrb_store.names import split_id
from zrb_store.queries.stored_step import completed, use

if TYPE_CHECKING:
    from zrb_store.records import JsonValue

PIECE = 65536
_OPTIONS = {"--produces", "--timeout", "--retries", "--retry-after"}
_VERBOSE = {"-v", "--verbose"}


def answer(words: Sequence[str], tell: Callable[[str], object]) -> bool:
    """Print the stored output of a step that is done, if its command line is a plain one; else return False."""
    end = words.index("--") if "--" in words else 0
    own = words[:end]
    names = [word for before, word in pairwise(["", *own]) if not word.startswith("-") and before not in _OPTIONS]
    known = {"--once", *_VERBOSE, "--stdin", *_OPTIONS}
    if len(names) != 1 or any(word.startswith("-") and word.partition("=")[0] not in known for word in own):
        return False
    files = [word for before, word in pairwise(["", *own]) if before == "--produces"]
    files += [word.removeprefix("--produces=") for word in own if word.startswith("--produces=")]
    output = _output(names[0], words[end + 1 :], files)
    if output is not None:
        write(output)
        finish(names[0], 0 if "--stdin" in own else None, None if _VERBOSE.isdisjoint(own) else tell)
    return output is not None


def finish(name: str, stdin: int | None, tell: Callable[[str], object] | None) -> None:
    """Do what remains for a step that does not run: read its stdin, so that whoever writes to it ends well."""
    if tell is not None:
        tell(f"step {name} has completed before: its output is printed, and it does not run")
    with contextlib.suppress(OSError):  # it is open for writing only
        while stdin is not None and os.read(stdin, PIECE):
            pass


def _output(name: str, argv: Sequence[str], files: Sequence[str]) -> bytes | None:
    """Return the stored output of a step that is done with an equal command; None if that is not sure."""
    attempt, _, fence = os.environ.get("ZRB_STORE_ATTEMPT", "").rpartition("@")
    with contextlib.suppress(Exception):  # the longer way reports it
        session, task, number = split_id(attempt)
        url = store_url()
        if not url.drivername.startswith("sqlite"):  # a second connection would take longer than this saves
            return None
        durability = settings.choice("ZRB_STORE_DURABILITY")
        with closing(open_database(url, read_only=False, durability=durability)) as database:
            found = completed(database, session, task, number, int(fence), name)
            if found is None:
                return None
            *texts, attempt_id, step_id = found
            (positional, named), result = map(json.loads, texts)
            is_same = positional == list(argv) or positional == mask_command(argv)  # the second one takes longer
            is_done = is_same and isinstance(result, str) and changed(files, named.get("produces")) is None
            if is_done and use(database, attempt_id, step_id):
                return str(result).encode("utf-8", "surrogatepass")
    return None


def fact(path: str) -> list[JsonValue]:
    """Return size and digest of a file, or raise InvalidArgument: it is no regular file, or cannot be read."""
    import hashlib

    try:
        if not Path(path).is_file():  # opening a pipe would wait for its writer
            raise InvalidArgument(f"{path} is no regular file" if Path(path).exists() else f"{path} is missing")
        with Path(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return [os.fstat(file.fileno()).st_size, f"sha256:{digest}"]
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror}") from None


def changed(files: Iterable[str], produced: JsonValue) -> str | None:
    """Return why files are not as a step has left them, according to what `fact` said then; None if they are."""
    facts = produced if isinstance(produced, dict) else {}
    for path in map(os.path.abspath, files):
        try:
            if path not in facts:
                return f"it is not known what it left in {path}"
            if fact(path) != facts[path]:
                return f"{path} has changed"
        except InvalidArgument as error:
            return str(error)
    return None


def write(data: bytes) -> None:
    """Write to stdout. A reader that has gone has seen enough."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end of the process
        if not isinstance(error, BrokenPipeError):
            raise ZrbStoreError(f"the output cannot be written: {error.strerror}") from None
