"""The stored session of a running zrb session (`Recorder`): its run, its open attempts, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from zrb_store.attempt import Attempt, OpenAttempt, Step, attempt_around
from zrb_store.db.transaction import Executor
from zrb_store.errors import (
    AttemptClosed,
    LeaseLost,
    StepUncertain,
    StoreUnavailable,
    Waiting,
    ZrbStoreError,
    is_refusal,
    what_makes_storable,
)
from zrb_store.names import storable_name
from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyContext, AnyTask, Session
from zrb_store.plugin.ctx_xcom import CtxXcom, CtxXcomContent
from zrb_store.plugin.graph import Graph, code_of
from zrb_store.plugin.inputs import Secrets
from zrb_store.plugin.inputs_assigned import AssignedInputs
from zrb_store.plugin.inputs_read import ALL, read_by, spellings
from zrb_store.plugin.messages import text_of_error, uncertain_step_error, warn
from zrb_store.plugin.queue import ExpectedPush, ZrbXcom, ZrbXcoms, expected_push, forget_objects_of
from zrb_store.queries import attempts, sessions
from zrb_store.queries.attempts import Owner
from zrb_store.queries.queues import queue_ids
from zrb_store.queries.values import plain_names
from zrb_store.records import AttemptRecord
from zrb_store.run import Run, RunSpec
from zrb_store.runtime import lease
from zrb_store.store import Store
from zrb_store.xcom import current_attempt

if TYPE_CHECKING:
    from zrb_store.inspect.resume import Decision, Reruns
    from zrb_store.plugin.resume import ResumeRequest


_STOPPING = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)  # these stop an action rather than fail it


_WAIT = 1.0  # seconds that the actions of an ended run may take to notice that they were cancelled


class Stopped(asyncio.CancelledError):
    """The store refused the run, a step's end is unknown, or the task waits.

    Every zrb release lets a cancellation pass: no retry, no fallback, no successor.
    """


class Recorder:
    """The stored session of a running zrb session."""

    def __init__(
        self,
        zrb_session: Session,
        main: AnyTask,
        graph: Graph,
        secrets: Secrets,
        store: Store,
        name: str,
        spec: RunSpec,
    ) -> None:
        self.zrb_session = zrb_session
        self.main = main
        self.graph = graph
        self.secrets = secrets
        self.origin = spec.origin
        self.url = store.database.url.render_as_string(hide_password=False)
        self.warn_once: Callable[[str], None] = functools.cache(warn)
        self.fatal: Exception | None = None  # why the run must end at once
        self.uncertain: list[StepUncertain] = []  # why tasks were ended without a retry
        self.waits: list[Waiting] = []  # what tasks wait for that were ended so
        self.ended = False
        self.result: Any = None  # of the main task, if the session had completed before
        self.xcoms = ZrbXcoms(self, store.database, name, store.max_value)
        self._content = CtxXcomContent(self.xcoms, graph.is_volatile)
        self.ctx_xcom = CtxXcom(self._content)
        self.decisions: list[Decision] = []  # on each task, as the run started; none in a session's first run
        self.goes_on = False  # whether a task had run before
        self._standing: dict[str, AttemptRecord] = {}  # the completed attempts that stand for their tasks in this run
        self.run = Run(self.xcoms, spec, on_lost=self.stop)
        self._outside: list[AttemptRecord] = []  # completed attempts of which no task of this run gives the result
        self._open: dict[str, Attempt] = {}
        self._working: set[asyncio.Task[Any]] = set()  # those that run the actions of open attempts
        self._errors: dict[str, type[BaseException]] = {}  # by which the last attempt of a task ended
        self._children = 0
        self._outer: dict[str, Attempt] = {}  # of the open attempts by task: those whose actions started these
        self._failed: dict[str, Attempt] = {}  # by task, until its next attempt begins
        inputs = vars(zrb_session.shared_ctx).get("_input", compat.DotDict())
        self.inputs = AssignedInputs(inputs, secrets, store.max_value, self._warn_unstorable_input)
        # Merged with those of all tasks, which takes its time.
        self._inputs = spellings(main.inputs)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        _recorders.add(self)

    # -- the run

    def start(self, resumed: ResumeRequest | None) -> None:
        """Take the lease, and learn what has completed."""
        self.run.choose_reruns = functools.partial(self._choose_reruns, resumed)
        self.run.start()
        try:
            known = queue_ids(self.run.database, self.run.session)
            self.xcoms.ids.update(known)
            for task in self.graph.names:
                self._content.get(task.name)
            for queue in known:
                self._content.get(queue)
            plain = plain_names(self.run.database, self.run.session_id) if known else ()
            self._content.seed(self.zrb_session.shared_ctx.xcom, known, plain)
            self.run.note_tasks(dict.fromkeys(self.graph.names.values(), "not started"))
            self._content.finish_adoption()
            self._assign_again(self._outside)
        except BaseException:
            lease.stop_renewing(self.run)
            raise

    def _choose_reruns(
        self, resumed: ResumeRequest | None, executor: Executor, known: list[AttemptRecord]
    ) -> Reruns | None:
        """Note what has completed, and choose what is given back because it runs again, of every known attempt.

        `Run.start` calls this in the transaction that takes the lease. In a session's first run there is nothing to
        choose, and nobody asks what it runs.
        """
        self.goes_on = bool(known)
        if hasattr(self.zrb_session, compat.REPLAYED):
            self._outside = [each for each in known if each.in_effect]
        if hasattr(self.zrb_session, compat.REPLAYED) or (not known and resumed is None):
            return None
        from zrb_store.inspect.resume import changed_inputs, decide, refuse_unknown_steps, reruns

        workflow, forced = self.graph.workflow(self.main), resumed.options.forced if resumed else None
        session_id = known[0].session_id if known else 0
        changed = changed_inputs(executor, session_id, resumed.set_inputs if resumed else ())
        self.decisions = decide(workflow, known, forced, changed=changed)
        refuse_unknown_steps(executor, self.run.session, session_id, self.decisions)
        chosen = reruns(self.decisions, known, repeat_once=resumed is not None and resumed.options.repeat_once)
        given_back = dict(chosen.attempts)
        self._standing = {each.task: each for each in known if each.in_effect and each.id not in given_back}
        here = {*self.graph.names.values()}
        gone = [each for each in self._standing.values() if not here.intersection(self._around(each))]
        self._outside = [each for each in gone if each.kind != "check"]
        return chosen

    def next_child(self) -> str:
        """Return a name for the next child session: PARENT.N."""
        if not self._children:
            self._children = sessions.last_child_number(self.run.database, self.run.session)
        self._children += 1
        return f"{self.run.session}.{self._children}"

    def stop(self, error: Exception) -> None:
        """End the run, because the store refuses it or cannot be used. Any thread may call this."""
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
        self._cancel_actions()

    def _cancel_actions(self) -> set[asyncio.Task[Any]]:
        """Cancel every action but the current one, and return their asyncio tasks."""
        others = self._working - {asyncio.current_task()}
        for task in others:
            task.cancel()
        return others

    @contextlib.contextmanager
    def end_run_on_refusal(self, cause: BaseException | None = None) -> Iterator[None]:
        """End the run if the store refuses what the block asks for: `Stopped` does so on every zrb release."""
        try:
            yield
        except (LeaseLost, StoreUnavailable) as error:
            self.stop(error)
        if self.fatal is not None:
            raise Stopped(str(self.fatal)) from cause

    def refuse_if_ended(self) -> None:
        """Raise `Stopped` if the run has ended, or belongs to the process that this one was forked from."""
        if self.ended:
            raise Stopped("the run has ended")
        if self.run.is_inherited:
            raise Stopped("the run belongs to another process: end the child of a task with `os._exit`")

    async def wait_for_actions(self) -> None:
        """Wait a moment for the actions that still run: zrb cancels them after the run, but does not wait."""
        working = self._cancel_actions()
        if working:
            with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
                await asyncio.wait(working, timeout=_WAIT)

    def end(self, error: BaseException | None, *, interrupted: bool) -> str:
        """End the run with its true status, and return it: `completed`, `failed`, `interrupted` or `waiting`."""
        self.ended = True
        if self.run.is_inherited:  # a forked child ends nothing, and has nothing to say
            return "completed"
        status = self._true_status(error, interrupted)
        lease.stop_renewing(self.run)  # even if the store cannot be reached: the process may live long
        if self.fatal is None:
            try:
                ends = dict.fromkeys(self.graph.names.values(), "not started")
                statuses = self.zrb_session._task_status.items()
                ends |= {self.graph.task_name(task): "skipped" for task, status in statuses if status.is_skipped}
                self.run.note_tasks(ends)
                self.run.end(status, error)
            except ZrbStoreError as refusal:
                self.fatal = refusal
        elif isinstance(self.fatal, StoreUnavailable):
            self.run.notify_unavailable(self.fatal)
        return "failed" if self.fatal else status

    def _true_status(self, error: BaseException | None, interrupted: bool) -> str:
        main = self.zrb_session.get_task_status(self.main)
        stopped = [issubclass(kind, _STOPPING) for kind in self._errors.values()]
        if self.waits and not interrupted and (error is None or isinstance(error, _STOPPING)):
            return "waiting" if all(stopped) else "failed"
        if error is not None and not isinstance(error, _STOPPING):
            return "failed"
        is_cut_short = interrupted and (bool(stopped) or self._has_successors_left())
        if (main.is_completed or main.is_skipped) and all(stopped) and not is_cut_short:
            return "completed"
        exited = any(issubclass(kind, SystemExit) for kind in self._errors.values())
        return "interrupted" if interrupted and not exited else "failed"

    def _has_successors_left(self) -> bool:
        statuses = self.zrb_session._task_status.items()
        done = {task for task, status in statuses if status.is_completed or status.is_skipped}
        return any(successor not in done for task in done for successor in task.successors)

    def end_at_once(self) -> None:
        """End the run as interrupted, since the process dies before the run can end itself."""
        self.ended = True
        with contextlib.suppress(ZrbStoreError):
            self.run.end("interrupted")

    # -- attempts

    def find_completed(self, task: AnyTask) -> AttemptRecord | None:
        """Return the completed attempt whose result a task has; None if the task must run.

        An attempt that is in effect although its task is about to run (a check, a server, a fallback) is given back.
        """
        standing = self._standing.get(self.graph.task_name(task))
        if standing is None:
            return None
        kind = self.graph.kind(task)
        # One that is not restorable, and was not given back as the run started, is started by an action that needs it.
        is_lacking = standing.inside is not None and not standing.restorable
        if standing.kind == "manual" or (kind == "task" and not is_lacking):
            return standing
        del self._standing[standing.task]
        if kind == "task":
            self.run.give_back(standing, "not-restorable", keeps_steps=True)
        elif kind != "check":
            self.run.give_back(standing, kind if kind == "fallback" else "readiness")
        return None

    def restore(self, task: AnyTask, record: AttemptRecord) -> Any:
        """Return the stored result of a completed attempt. zrb will push it: that push does nothing."""
        result = self.run.result(record)
        if self.run.span is not None:
            self.run.span.count("tasks_from_store")
        self._assign_again(each for each in self._standing.values() if record.task in self._around(each))
        queue = self.ctx_xcom.get(task.name)
        if isinstance(queue, ZrbXcom):
            expected_push.set(ExpectedPush(queue.place, result, fresh=False))
        return result

    def _around(self, record: AttemptRecord) -> list[str]:
        """Return the task of a completed attempt, the one whose action started it, and so on."""
        found: list[str] = []
        task: str | None = record.task
        while task is not None and task not in found:
            found.append(task)
            task = self._standing[task].inside if task in self._standing else None
        return found

    def _assign_again(self, completed: Iterable[AttemptRecord]) -> None:
        """Assign to inputs what completed attempts have assigned, in the order in which they ended."""
        for each in sorted(completed, key=lambda each: each.ended_tick or 0):
            if each.inputs_assigned is not None and each.restorable:
                self.inputs.assign_again(each.inputs_assigned, ended=each.ended_tick)

    def open_attempt(self, task: AnyTask) -> Attempt | None:
        """Return the task's open attempt, or None."""
        return self._open.get(self.graph.task_name(task))

    def begin(self, task: AnyTask, ctx: compat.Context) -> Attempt:
        """Begin an attempt of a task, to which `ctx.xcom` of its context belongs."""
        expected_push.set(None)
        outer = attempt_around(current_attempt.get())
        inside = outer.task if outer is not None and self._open.get(outer.task) is outer else None
        if outer is not None and inside is not None:
            self._outer[self.graph.task_name(task)] = outer
        attempt = self.run.begin(self.graph.task_name(task), kind=self.graph.kind(task), inside=inside)
        attempt.inputs_read = functools.partial(read_by, ctx, self._inputs)
        attempt.inputs_assigned = self.inputs.to_store
        attempt.assign_inputs = functools.partial(self.inputs.assign_again, owner=attempt)
        if failed := self._failed.pop(attempt.task, None):
            self.inputs.undo(failed)
        attempt.code = code_of(task)  # now: the action may change what it is made of
        self._open[attempt.task] = attempt
        if working := asyncio.current_task():
            self._working.add(working)
        self._errors.pop(attempt.task, None)
        setattr(ctx, compat.VIEW, CtxXcom(self._content, attempt))
        return attempt

    def complete(self, attempt: Attempt, task: AnyTask, result: Any) -> None:
        """Complete an attempt with its result, in one transaction. zrb's own push of the result then does nothing."""
        self._content.store_changed(attempt)
        if self.graph.kind(task) == "check":
            attempt.complete()
        else:
            queue = self.ctx_xcom[task.name]
            own = self.xcoms[storable_name(task.name)]
            item = own.encode(result)
            if isinstance(queue, ZrbXcom) and queue.place != own.place:
                # The queue of this name is another session's (Callback.xcom_mapping): it gets the result too.
                queue.bound_to(attempt).append_quietly(result)
            attempt.complete(item, queue=own.name)
            if attempt.result_seq is not None:
                own.remember_object(attempt.result_seq, item, result)
            if isinstance(queue, ZrbXcom):
                expected_push.set(ExpectedPush(queue.place, result, fresh=True))
        self._close(attempt, completed=True)
        self._content.attempt_ended(attempt, completed=True)

    def fail(self, attempt: Attempt, task: AnyTask, error: BaseException) -> None:
        """End an attempt by its action's exception; raise `Stopped` if the task must not be retried."""
        self._close(attempt, completed=False)
        self._failed[attempt.task] = attempt
        kind = self.graph.kind(task)
        # zrb stops servers and checks itself when all else is done.
        by_zrb = kind == "check" or (kind == "server" and isinstance(error, _STOPPING))
        if not by_zrb or isinstance(error, SystemExit):
            self._errors[attempt.task] = type(error)
        if attempt.parked is not None:
            self._errors[attempt.task] = Stopped
            self.waits.append(attempt.parked)
            self._content.attempt_ended(attempt, completed=False)
            raise Stopped(str(attempt.parked)) from None
        if self.fatal is None and not self.ended:
            with contextlib.suppress(AttemptClosed):
                status = "interrupted" if isinstance(error, _STOPPING) else "failed"
                attempt.is_refused = is_refusal(error)
                attempt.fail(text_of_error(error, task, attempt), status)
            self._content.attempt_ended(attempt, completed=False)
        uncertain = uncertain_step_error(error)
        if uncertain is not None:
            self.uncertain.append(uncertain)
            if kind in ("server", "check"):
                self._halt()  # zrb does not tell those that wait for it that it was cancelled
            raise Stopped(str(uncertain)) from error

    def _close(self, attempt: Attempt, *, completed: bool) -> None:
        forget_objects_of(attempt, completed=completed)
        self._open.pop(attempt.task, None)
        self._outer.pop(attempt.task, None)
        if working := asyncio.current_task():
            self._working.discard(working)

    # -- what queues and contexts ask

    def xcom_of(self, ctx: AnyContext) -> CtxXcom:
        """Return `ctx.xcom` of a task whose context has a view, bound to the task's attempt, also in its threads."""
        view: CtxXcom = vars(ctx)[compat.VIEW]
        owner, current = view._owner, current_attempt.get()
        attempt = current.parent if isinstance(current, Step) else current
        if attempt is owner or not isinstance(owner, OpenAttempt):
            return view
        if isinstance(attempt, OpenAttempt) and (attempt.session, attempt.task) == (owner.session, owner.task):
            return CtxXcom(self._content, current)  # a thread that an earlier attempt, or a step of it, left behind
        if self._open.get(owner.task) is owner or threading.get_ident() != self._thread:
            return view
        return self.ctx_xcom  # zrb's own work between attempts

    def note_input(self, ctx: AnyContext | None, name: str) -> None:
        """Note that an input was read, by a task's context or without one: its value may be changed in place."""
        names = self.inputs.changeable(list(self.inputs.inputs) if name == ALL else [name])
        with contextlib.suppress(ZrbStoreError):  # nobody knows by which step
            if names and (owner := self._owner_of_change(ctx)):
                self.inputs.note_use(names, owner)

    def assign_input(self, ctx: AnyContext | None, name: str, value: Any) -> None:
        """Assign to an input, or delete it, by a task's context or without one."""
        owner = self._owner_of_change(ctx)
        if owner is not None and not owner._open:
            owner.refuse_if_closed()
        self.inputs.assign(name, value, owner)

    def step_failed(self, step: Owner) -> None:
        """Undo what a step has assigned to inputs that did not complete."""
        if isinstance(step, OpenAttempt):
            self.inputs.undo(step)

    def _owner_of_change(self, ctx: AnyContext | None) -> OpenAttempt | None:
        """Return the attempt or step of this session to which a change belongs, if there is one."""
        view: CtxXcom | None = None if ctx is None or compat.VIEW not in vars(ctx) else self.xcom_of(ctx)
        owner = (view and view._owner) or current_attempt.get()
        if not isinstance(owner, OpenAttempt) or owner.session != self.run.session:
            return None
        found = owner.owner_of_change()
        return found if isinstance(found, OpenAttempt) else None

    def _warn_unstorable_input(self, owner: OpenAttempt, reason: Exception | str) -> None:
        """As `warn_unstorable`, of what was assigned to inputs: the task whose action started this one needs it too."""
        outer = attempt_around(owner)
        while outer is not None:
            outer.restorable = False
            outer = self._outer.get(outer.task)
        self.warn_unstorable(owner, reason)

    def warn_unstorable(self, owner: Owner | None, reason: Exception | str) -> None:
        """Warn once that a value is kept as its type and repr only, and mark its attempt or step as not restorable.

        A reason that is a text says that the value is kept masked.
        """
        if isinstance(owner, OpenAttempt):
            owner.restorable = False
        # The advice in parentheses is for code that pushes to a store by itself.
        what = str(reason).partition(" (")[0]
        again = "the task runs again on a resume that needs it"
        if isinstance(owner, Step):
            what = f"step {owner.step} of task {owner.parent.task}: {what}"
            again = "the step runs again in the task's next attempt"
        elif name := getattr(owner, "task", None):
            what = f"task {name}: {what}"
        if isinstance(reason, str):
            self.warn_once(f"{what}, and {again}")
        else:
            how = what_makes_storable(reason)
            self.warn_once(f"{what}; kept as its type and repr, and {again} ({how} makes it storable)")

    def read_result(self) -> int | None:
        """Read the stored result of the main task of a completed session, and return when the session completed."""
        session = sessions.find(self.xcoms.database, self.xcoms.session)
        if session is None:
            return None
        record = attempts.in_effect(self.xcoms.database, session.id, self.graph.task_name(self.main))
        self.result = None if record is None else self.run.result(record)
        return session.ended_at


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _note_fork() -> None:
    """Let it count as not known what the open attempts read: nobody sees what a forked child reads."""
    for attempt in [each for recorder in _recorders for each in [*recorder._open.values()]]:
        attempt.inputs_read = lambda: None


os.register_at_fork(before=_note_fork)
