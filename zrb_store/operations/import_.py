"""`import`: create sessions from JSON Lines."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from typing import IO

from zrb_store.db.engine import Database
from zrb_store.errors import SessionNotFound, ZrbStoreError
from zrb_store.names import check_session_name
from zrb_store.operations.transfer import lines
from zrb_store.operations.transfer.writing import refuse_existing, write
from zrb_store.queries.clock import now_micros


def import_sessions(database: Database, file: IO[bytes], where: str, rename: Mapping[str, str] | None = None) -> int:
    """Write the sessions of an export, each in one transaction, after the whole file was checked.

    Args:
        database: Where to write them.
        file: The lines of `export`.
        where: What messages call the file.
        rename: New names of sessions by their old names.

    Returns:
        The number of sessions.

    Raises:
        ZrbStoreError: A line is damaged or missing, or there is a session of such a name already. Nothing was written.
        SessionNotFound: The file does not have a session that is to be renamed.
        InvalidArgument: No session can have one of the new names.
    """
    rename = dict(rename or {})
    for name in rename.values():
        check_session_name(name)
    with contextlib.ExitStack() as stack:
        if not file.seekable():
            copied = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(file, copied)
            copied.seek(0)
            file = copied
        read = functools.partial(lines.read, where=where, now=now_micros(database))
        names = [record["name"] for record in read(file) if record["kind"] == "session"]
        if missing := rename.keys() - set(names):
            raise SessionNotFound(f"{where} has no session {', '.join(sorted(missing))} to rename")
        for name, count in Counter(rename.get(name, name) for name in names).items():
            if count > 1:
                raise ZrbStoreError(f"{count} sessions would be named {name}: choose another name")
            refuse_existing(database, name, f"--rename {name}=NEW gives it another name")
        file.seek(0)
        return write(database, map(lines.renaming(rename), read(file)), "import")
