"""Begin to store a zrb session: choose its name, and take its lease."""

from __future__ import annotations

import atexit
import functools
import itertools
import sys
from typing import TYPE_CHECKING, Literal

from zrb_store import settings
from zrb_store.errors import SessionCompleted
from zrb_store.names import check_session_name
from zrb_store.observe import configure
from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnySession, AnyTask, Session
from zrb_store.plugin.inputs import Secrets, default_of, given_inputs, given_secrets, inputs_to_store
from zrb_store.plugin.messages import describe_completed, describe_resume, warn
from zrb_store.process import current_project
from zrb_store.render.stderr import print_warnings

if TYPE_CHECKING:
    from zrb_store.plugin.recorder import Recorder
    from zrb_store.plugin.resume import ResumeRequest
    from zrb_store.queries.attempts import Owner
    from zrb_store.store import Store


@functools.cache
def opened_store() -> Store:
    """Return the store that the settings name, opened at its first use in this process."""
    from zrb_store.store import open_store

    print_warnings(warn)
    configure()
    store = open_store()
    atexit.register(store.close)
    return store


def recorder_of(zrb_session: AnySession | None) -> Recorder | None:
    """Return the recorder of a zrb session, or None if the session is not stored."""
    found: Recorder | None = getattr(zrb_session, compat.RECORDER, None)
    return found


def where_kept(task: AnyTask, zrb_session: AnySession) -> Literal["store", "memory", "zrb"]:
    """Return where the values of a session that begins with this task are kept. The answer does not import the store.

    It is the store as `ZRB_STORE_PERSIST` says, or else our memory for a task that a user declared. `zrb` itself keeps
    those of its own tasks, and no session begins with a task of one that runs.
    """
    if getattr(task, compat.NEVER, False) or hasattr(zrb_session, compat.RECORDER) or zrb_session.is_terminated:
        return "zrb"
    if hasattr(zrb_session, compat.RESUMED):
        return "store"
    persist = settings.choice("ZRB_STORE_PERSIST")
    if not compat.declared_by_zrb(task):
        return "memory" if persist == "named" and settings.session_name() is None else "store"
    # All requests to the web server would belong to the task that runs it, and nobody resumes `version`.
    return "store" if persist == "all" and task.name not in ("start-server", "version") else "zrb"


_has_named = False  # whether ZRB_STORE_SESSION was used, or the session that is resumed: it names one of the process


def attach(task: AnyTask, zrb_session: Session, outer: Owner | None) -> Recorder:
    """Begin to store a zrb session: its run takes the lease, and `ctx.xcom` becomes durable.

    `outer` is the attempt that starts this session. If the session has completed before, the recorder has ended,
    and has the stored result of the main task.
    """
    global _has_named
    from importlib.metadata import version

    from zrb_store.plugin.graph import Graph
    from zrb_store.plugin.recorder import Recorder
    from zrb_store.run import RunSpec

    parent = recorder_of(zrb_session.parent)
    shared_ctx = zrb_session.shared_ctx
    origin = _origin(zrb_session, parent)
    resumed: ResumeRequest | None = getattr(zrb_session, compat.RESUMED, None)
    given = resumed.session.name if resumed else _given_name(zrb_session, origin)
    _has_named = _has_named or (parent is None and given is not None)
    store = opened_store()
    starter = store.parent_attempt if origin == "web" or outer is None else outer
    zrb_session.set_main_task(task)
    graph = resumed.graph if resumed else Graph(zrb_session)
    secrets = Secrets(graph.names, shared_ctx.input, parent.secrets if parent else None)
    given_now: set[str] = set() if parent else given_secrets(task, shared_ctx.input, sys.argv)
    given_now |= resumed.secrets if resumed else set()
    spec = RunSpec(
        task=graph.task_name(task),
        path=tuple(zrb_session.task_path),
        inputs=inputs_to_store(task, shared_ctx, given_inputs.get(), secrets, given_now),
        secret_inputs=secrets.names,
        default_of=functools.partial(default_of, task, shared_ctx, given_inputs.get()),
        project=current_project(compat.CFG.INIT_FILE_NAME),
        parent=parent.run.session if parent else starter.full_name if starter else None,
        origin=origin,
        command=secrets.mask_command(sys.argv),
        zrb_version=version("zrb"),
    )
    if resumed:
        spec = resumed.added_to(spec)
    name = check_session_name(given or (parent.next_child() if parent else _unused(zrb_session.name, store)))
    recorder = Recorder(zrb_session, task, graph, secrets, store, name, spec)
    try:
        recorder.start(resumed)
    except SessionCompleted:
        recorder.ended = True
        ended_at, has_result = recorder.read_result(), recorder.result is not None
        warn(describe_completed(name, ended_at, has_result=has_result, is_resume=resumed is not None))
        return recorder
    _tell_of_defaults(recorder)
    if (resumed or recorder.goes_on) and parent is None and not hasattr(zrb_session, compat.REPLAYED):
        _tell_of_resume(recorder, store)
    zrb_session._name = name
    setattr(zrb_session, compat.RECORDER, recorder)
    vars(shared_ctx)["_xcom"] = recorder.ctx_xcom
    return recorder


def _origin(zrb_session: Session, parent: Recorder | None) -> str:
    """Return how a session was started: from the `web`, the `cli`, or a program that uses zrb as a `library`."""
    if getattr(zrb_session.shared_ctx, "is_web_mode", False):
        return "web"
    if parent:
        return parent.origin
    return "library" if zrb_session.root_group is None else "cli"


def _given_name(zrb_session: Session, origin: str) -> str | None:
    """Return the name that a child was given, or that the settings give to one session of the process."""
    if recorder_of(zrb_session.parent) is not None:
        child: str | None = getattr(zrb_session, compat.CHILD, None)
        return child
    return None if origin == "web" or _has_named else settings.session_name()


def _tell_of_defaults(recorder: Recorder) -> None:
    """Say which inputs are new, and get their defaults."""
    if recorder.run.added_inputs:
        from zrb_store.plugin.inputs_resumed import describe_added

        for added, text in recorder.run.added_inputs.items():
            warn(describe_added(added, recorder.run.session, text))


def _tell_of_resume(recorder: Recorder, store: Store) -> None:
    """Say what the session runs, and which tasks have left the workflow."""
    from zrb_store.inspect.resume import without_task

    warn(describe_resume(recorder.run.session, recorder.decisions))
    for line in without_task(store.database, recorder.run.session_id, recorder.decisions):
        warn(line)


def _unused(name: str, store: Store) -> str:
    """Return zrb's random name with a number if it is taken: zrb has only a few million names."""
    from zrb_store.queries import sessions

    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if sessions.find(store.database, free) is None)
