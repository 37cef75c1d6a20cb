"""One zrb session at work on one session of the store."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

from zrb_store import lease
from zrb_store.attempt import Attempt, describe
from zrb_store.errors import AttemptClosed, LeaseLost, StoreUnavailable, ZrbStoreError
from zrb_store.plan import decide, to_give_back
from zrb_store.plugin.graph import Graph
from zrb_store.plugin.inputs import Secrets
from zrb_store.plugin.mapping import AttemptView, XcomMap
from zrb_store.plugin.notes import users_frames, warn
from zrb_store.plugin.xcoms import ZrbXcom, ZrbXcoms, expect_push, forget_push, settle_objects
from zrb_store.purpose import Purpose
from zrb_store.queries import attempts, sessions
from zrb_store.records import AttemptRecord
from zrb_store.run import Run
from zrb_store.store import Store
from zrb_store.xcom import Owner, current_attempt

# How long the actions of an ended run may take to notice that they were cancelled.
_SETTLE = 1.0

_STOPPING = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)


class RunStopped(asyncio.CancelledError):
    """The store refused the run. Every zrb release lets a cancellation pass: no retry, no fallback, no successor."""


class Recorder:
    """Makes attempts of what zrb runs, and knows how the run ended.

    Attributes:
        fatal: Why the run must end at once, if it must.
        ended: Whether the run has ended: no task may begin any more.
    """

    def __init__(self, zrb_session: Any, main: Any, graph: Graph, secrets: Secrets) -> None:
        self.zrb_session = zrb_session
        self.main = main
        self.graph = graph
        self.secrets = secrets
        self.fatal: Exception | None = None
        self.ended = False
        self.origin = "library"
        self.url = ""
        self.run: Run
        self.xcoms: ZrbXcoms
        self.map: XcomMap
        self._children = 0
        self._standing: dict[str, AttemptRecord] = {}
        self._open: dict[str, Attempt] = {}
        self._working: set[asyncio.Task[Any]] = set()
        self._failed: set[str] = set()
        self._stopped: set[str] = set()
        self._exited: set[str] = set()
        self._unstorable: set[int] = set()
        self._warned: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    # -- the run

    def start(self, store: Store, name: str, purpose: Purpose, forced: str | None = None) -> None:
        """Take the lease and learn what is done already; `forced` is run again. Raises as `Run.start` and `decide`."""
        self.origin = purpose.origin
        self.url = store.database.url.render_as_string(hide_password=False)
        self.xcoms = ZrbXcoms(self, store.database, name, store.max_value)
        purpose = dataclasses.replace(purpose, give_back=lambda known: self._plan(known, forced))
        self.run = Run(self.xcoms, purpose, on_lost=self.stop)
        self.run.start()
        try:
            self._prepare()
        except BaseException:
            lease.release(self.run)
            raise

    def _prepare(self) -> None:
        self.map = XcomMap(self.xcoms, self.graph.is_volatile)
        known = list(self.xcoms)
        for queue in dict.fromkeys([task.name for task in self.graph.tasks] + known):
            self.map.queue(queue)
        self.map.seed(self.zrb_session.shared_ctx.xcom, known)
        self.run.note_tasks(dict.fromkeys(self.graph.names, "waiting"))

    def next_child(self) -> str:
        """A name for the next child session: PARENT.N."""
        if not self._children:
            self._children = sessions.last_child(self.run.database, self.run.session)
        self._children += 1
        return f"{self.run.session}.{self._children}"

    def _plan(self, known: list[AttemptRecord], forced: str | None) -> list[tuple[int, str]]:
        """Learn what completed in earlier runs, and say which of it is given back since it runs again."""
        steps = decide(self.graph.workflow(self.main), known, forced)
        self._standing = {record.task: record for record in known if record.stands}
        chosen = to_give_back(steps, known)
        for name in {record.task for record in known if record.id in dict(chosen)}:
            del self._standing[name]
        return chosen

    def stop(self, error: Exception) -> None:
        """End the run: the store can no longer be trusted. May be called from any thread."""
        if self.fatal is not None or self.ended:
            return
        self.fatal = error
        if threading.get_ident() == self._thread:
            self._halt()
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing runs any more
                self._loop.call_soon_threadsafe(self._halt)

    def _halt(self) -> None:
        self.zrb_session.terminate()
        current = asyncio.current_task()
        for task in self._working - {current}:
            task.cancel()

    @contextlib.contextmanager
    def stopping(self, cause: BaseException | None = None) -> Iterator[None]:
        """Around what asks the store for a task: a refusal of the run ends it here, on every zrb release."""
        try:
            yield
        except (LeaseLost, StoreUnavailable) as error:
            self.stop(error)
        if self.fatal is not None:
            raise RunStopped(str(self.fatal)) from cause

    def refuse_if_ended(self) -> None:
        """Raise unless tasks may still run."""
        if self.ended:
            raise RunStopped("the run has ended")

    async def settle(self) -> None:
        """Let what still runs end: zrb cancels it after the run, but does not wait."""
        working = self._working - {asyncio.current_task()}
        for task in working:
            task.cancel()
        if working:
            with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
                await asyncio.wait(working, timeout=_SETTLE)

    def end(self, error: BaseException | None, *, interrupted: bool) -> str:
        """End the run with its true outcome.

        Args:
            error: What zrb's engine raised.
            interrupted: Whether SIGINT, SIGTERM or a cancellation ended it.

        Returns:
            `completed`, `failed` or `interrupted`.
        """
        outcome = self._outcome(error, interrupted)
        self.ended = True
        lease.release(self.run)  # even if the store cannot be told: the process may live long
        if self.fatal is None:
            skipped = self.zrb_session._task_status
            try:
                self.run.note_tasks(
                    {
                        self.graph.name(task): "skipped" if task in skipped and skipped[task].is_skipped else "waiting"
                        for task in self.graph.tasks
                    }
                )
                self.run.end(outcome)
            except ZrbStoreError as refusal:
                self.fatal = refusal
        return "failed" if self.fatal else outcome

    def stop_waiting(self, within: float) -> None:
        """Wait no longer than so many seconds for the store, since the process has to end."""
        self.run.database.stop_waiting(within)

    def wait_again(self) -> None:
        """Wait for the store as long as usual."""
        self.run.database.wait_again()

    def last_words(self) -> None:
        """The process must die before the run can end itself."""
        self.ended = True
        with contextlib.suppress(ZrbStoreError):
            self.run.end("interrupted")

    def _outcome(self, error: BaseException | None, interrupted: bool) -> str:
        status = self.zrb_session.get_task_status(self.main)
        done = (status.is_completed or status.is_skipped) and not self._failed and not self._exited
        if error is not None and not isinstance(error, _STOPPING):
            return "failed"
        if done and not (interrupted and self._stopped):
            return "completed"
        return "interrupted" if interrupted and not self._exited else "failed"

    # -- attempts

    def restore(self, task: Any) -> AttemptRecord | None:
        """The completed attempt of an earlier run whose result this task has; None: it must run."""
        name = self.graph.name(task)
        standing = self._standing.get(name)
        if standing is None:
            return None
        role = self.graph.role(task)
        if role == "task" or standing.role == "manual":
            return standing
        del self._standing[name]
        if role != "check":
            self.run.give_back(standing, role if role == "fallback" else "readiness")
        return None

    def restored(self, task: Any, record: AttemptRecord) -> Any:
        """The stored result. zrb will push it: that push does nothing."""
        result = self.run.result(record)
        queue = self.map.get(task.name)
        if isinstance(queue, ZrbXcom):
            expect_push(queue, result, fresh=False)
        return result

    def is_open(self, task: Any) -> bool:
        """Whether an attempt of the task is under way."""
        return self.graph.name(task) in self._open

    def begin(self, task: Any) -> Attempt:
        """Begin an attempt."""
        forget_push()
        attempt = self.run.begin(self.graph.name(task), role=self.graph.role(task))
        self._open[attempt.task] = attempt
        for ended in (self._failed, self._stopped, self._exited):
            ended.discard(attempt.task)
        working = asyncio.current_task()
        if working is not None:
            self._working.add(working)
        return attempt

    def view(self, attempt: Attempt) -> AttemptView:
        """`ctx.xcom` for the attempt."""
        return AttemptView(self.map, attempt)

    def complete(self, attempt: Attempt, task: Any, result: Any) -> None:
        """Complete an attempt with its result, in one transaction. zrb's own push of it then does nothing more."""
        if self.graph.role(task) == "check":
            attempt.complete()
        else:
            queue = self.map[task.name]
            own = self.xcoms[task.name]
            item = own.encode(result)
            if attempt.id in self._unstorable:
                item = item._replace(restorable=False)
            if isinstance(queue, ZrbXcom) and queue.place != own.place:
                # The queue of this name is another session's (Callback.xcom_mapping): it gets the result too.
                queue.bound_to(attempt).append_quietly(result)
            seq = attempt.complete_encoded(item, task.name)
            if seq is not None:
                own.keep(seq, result)
            if isinstance(queue, ZrbXcom):
                expect_push(queue, result, fresh=True)
        self._close(attempt, stands=True)

    def fail(self, attempt: Attempt, task: Any, error: BaseException) -> None:
        """End an attempt by the exception that its action raised."""
        self._close(attempt, stands=False)
        if isinstance(error, SystemExit):
            self._exited.add(attempt.task)
        role = self.graph.role(task)
        stopped = isinstance(error, _STOPPING)
        if role != "check" and not (stopped and role == "server"):
            (self._stopped if stopped else self._failed).add(attempt.task)
        if self.fatal is not None or self.ended:
            return
        told = describe(error, users_frames(error))
        with contextlib.suppress(AttemptClosed):
            attempt.fail_with(told, "interrupted" if stopped else "failed")

    def _close(self, attempt: Attempt, *, stands: bool) -> None:
        settle_objects(attempt.id, stands=stands)
        self._open.pop(attempt.task, None)
        working = asyncio.current_task()
        if working is not None:
            self._working.discard(working)

    # -- what queues ask

    def xcom_of(self, ctx: Any) -> Any:
        """`ctx.xcom` of a task: bound to the task's attempt, also in its threads."""
        view: AttemptView | None = ctx.__dict__.get("_zrb_store_view")
        if view is None:
            return self.map
        current: Any = current_attempt.get()
        owner: Any = view._owner
        if (
            current is not None
            and current is not owner
            and (current.session, current.task) == (owner.session, owner.task)
        ):
            return AttemptView(self.map, current)  # a thread that an earlier attempt left behind
        if current is owner or self._open.get(owner.task) is owner or threading.get_ident() != self._thread:
            return view
        return self.map  # zrb's own work between attempts

    def warn_unstorable(self, owner: Owner | None, reason: Exception) -> None:
        """Say once that a value is kept as its type and repr only, and mark its task not restorable."""
        name = getattr(owner, "task", None)
        if owner is not None:
            self._unstorable.add(owner.id)
        # The refusal's advice in parentheses is for code that pushes to a store by itself.
        what = str(reason).partition(" (")[0]
        message = f"task {name}: {what}" if name else what
        if message not in self._warned:
            self._warned.add(message)
            warn(
                f"{message}; kept as its type and repr, and the task runs again on a resume that needs it "
                "(zrb_store.register_codec makes a type storable)"
            )

    def has_result(self) -> bool:
        """Whether the main task may have left a result."""
        status = self.zrb_session._task_status.get(self.main)
        return self.fatal is None and status is not None and bool(status.is_completed)

    def stored_result(self) -> Any:
        """The stored result of the main task of a completed session."""
        database = self.xcoms.database
        session = sessions.by_name(database, self.xcoms.session)
        record = attempts.standing(database, session.id, self.graph.name(self.main)) if session else None
        return None if record is None else self.run.result(record)
