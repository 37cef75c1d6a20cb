"""Which zrb sessions are stored, under which name, and as what."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING, Any

from zrb_store.plugin import compat
from zrb_store.plugin.notes import warn

if TYPE_CHECKING:
    from zrb_store.plugin.recorder import Recorder
    from zrb_store.store import Store

# Attributes that the plugin leaves on zrb's objects.
RECORDER = "_zrb_store_recorder"
NAME = "_zrb_store_name"
CHILD = "_zrb_store_child"
FROM = "_zrb_store_from"
NEVER = "_zrb_store_never"


class Finished(Exception):
    """The session has completed before.

    Attributes:
        result: The stored result of its main task.
    """

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


class _Process:
    """What is known once per process."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self.named = False

    def open(self) -> Store:
        """The store of the settings, opened at its first use."""
        from zrb_store.store import open_store

        if self.store is None:
            self.store = open_store()
            atexit.register(self.store.close)
        return self.store


process = _Process()


def recorder_of(zrb_session: Any) -> Recorder | None:
    """The recorder of a zrb session, None if it is not stored."""
    found: Recorder | None = getattr(zrb_session, RECORDER, None)
    return found


def wanted(task: Any, zrb_session: Any) -> bool:
    """Whether this session is to be stored (ZRB_STORE_PERSIST); decided without importing the store."""
    if getattr(task, NEVER, False) or hasattr(zrb_session, RECORDER) or zrb_session.is_terminated:
        return False
    if hasattr(zrb_session, NAME):
        return True
    persist = os.environ.get("ZRB_STORE_PERSIST") or "user"
    if persist == "user":
        return not compat.declared_by_zrb(task)
    from zrb_store import settings

    if settings.choice("ZRB_STORE_PERSIST", ("user", "all", "named")) == "named":
        return bool(os.environ.get("ZRB_STORE_SESSION")) and not compat.declared_by_zrb(task)
    # Requests to the web server would all belong to the task that runs it; and nobody resumes `version`.
    return not (compat.declared_by_zrb(task) and task.name in ("start-server", "version"))


def attach(task: Any, zrb_session: Any, outer: Any) -> Recorder | None:
    """Begin to store a zrb session: its run takes the lease, and `ctx.xcom` becomes durable.

    Args:
        task: The main task.
        zrb_session: zrb's session, its inputs filled.
        outer: The attempt that this session is started in, if there is one.

    Returns:
        None if the store cannot be reached and ZRB_STORE_ON_ERROR is `ignore`.

    Raises:
        Finished: The session has completed; there is nothing left to run.
        ZrbStoreError: The session cannot be run (busy, other inputs), or the store cannot be used.
    """
    from zrb_store import settings
    from zrb_store.errors import SchemaAhead, SchemaBehind, SessionCompleted, StoreMissing, StoreUnavailable

    ignoring = settings.choice("ZRB_STORE_ON_ERROR", ("stop", "ignore")) == "ignore"
    try:
        return _attach(task, zrb_session, outer)
    except SessionCompleted:
        raise
    except (StoreUnavailable, StoreMissing, SchemaAhead, SchemaBehind) as error:
        if not ignoring:
            raise
        warn(f"{error}; this run is kept in memory only (ZRB_STORE_ON_ERROR=ignore)")
        return None


def _attach(task: Any, zrb_session: Any, outer: Any) -> Recorder:
    from zrb_store.errors import SessionCompleted
    from zrb_store.names import check_session_name
    from zrb_store.plugin.graph import Graph
    from zrb_store.plugin.inputs import Secrets, kept_inputs
    from zrb_store.plugin.recorder import Recorder
    from zrb_store.project import current_project
    from zrb_store.purpose import Purpose

    store = process.open()
    parent = recorder_of(zrb_session.parent)
    shared_ctx = zrb_session.shared_ctx
    zrb_session.set_main_task(task)
    graph = Graph(zrb_session)
    secrets = Secrets(graph.tasks, shared_ctx.input, parent.secrets if parent else None)
    is_web = bool(getattr(shared_ctx, "is_web_mode", False))
    recorder = Recorder(zrb_session, task, graph, secrets)
    purpose = Purpose(
        task=graph.name(task),
        path=tuple(zrb_session.task_path),
        inputs=kept_inputs(task, shared_ctx.input, secrets),
        project=current_project(compat.CFG.INIT_FILE_NAME),
        parent=_parent_name(parent, None if is_web else outer, store),
        origin=_origin(zrb_session, parent, is_web),
        command=secrets.mask_command(sys.argv),
        zrb_version=compat.zrb_version(),
        again=hasattr(zrb_session, FROM),
    )
    name = check_session_name(_session_name(zrb_session, parent, is_web, store))
    try:
        recorder.start(store, name, purpose, getattr(zrb_session, FROM, None))
    except SessionCompleted:
        raise Finished(recorder.stored_result()) from None
    zrb_session._name = name
    setattr(zrb_session, RECORDER, recorder)
    shared_ctx._xcom = recorder.map
    return recorder


def _origin(zrb_session: Any, parent: Recorder | None, is_web: bool) -> str:
    if is_web:
        return "web"
    if parent is not None:
        return parent.origin
    return "library" if zrb_session.root_group is None else "cli"


def _parent_name(parent: Recorder | None, outer: Any, store: Store) -> str | None:
    if parent is not None:
        return parent.run.session
    if outer is not None:
        return f"{outer.session}/{outer.name}"
    return store.ambient.name if store.ambient else None


def _session_name(zrb_session: Any, parent: Recorder | None, is_web: bool, store: Store) -> str:
    forced: str | None = getattr(zrb_session, NAME, None)
    if forced is not None:
        process.named = True
        return forced
    if parent is not None:
        named: str | None = getattr(zrb_session, CHILD, None)
        return named or parent.next_child()
    given = os.environ.get("ZRB_STORE_SESSION")
    if given and not is_web and not process.named:
        process.named = True
        return given
    return _unused(str(zrb_session.name), store)


def _unused(name: str, store: Store) -> str:
    """zrb's random name, which may have come up before: a few million are not many over the years."""
    from zrb_store.queries import sessions

    number = 1
    candidate = name
    while sessions.by_name(store.database, candidate) is not None:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
