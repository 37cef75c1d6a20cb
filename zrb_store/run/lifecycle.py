"""The start and the end of a run: it takes the lease of its session, and ends with a status."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

from zrb_store.attempt import status_after
from zrb_store.codec import json_text
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import (
    LeaseLost,
    SchemaAhead,
    SessionBusy,
    SessionCompleted,
    SessionWaiting,
    StoreMissing,
    StoreUnavailable,
    Waiting,
    ZrbStoreError,
    waiting_in,
)
from zrb_store.masking import ErrorText, error_text
from zrb_store.queries import attempts, runs, sessions, steps
from zrb_store.queries.clock import draw, now_micros
from zrb_store.queries.commands import left_commands, refuse_immortal
from zrb_store.queries.give_back import give_back, give_back_steps, give_back_unfinished
from zrb_store.queries.lease import how_it_died, refusal_while_suspected, refuse_live
from zrb_store.queries.steps import refuse_repeating
from zrb_store.records import AttemptRecord, RunRecord, SessionRecord
from zrb_store.run.spec import RunSpec
from zrb_store.runtime import lease, notify
from zrb_store.runtime.commands import end_commands
from zrb_store.xcom import Xcoms

if TYPE_CHECKING:
    from zrb_store.inspect.advice import Start
    from zrb_store.inspect.resume import Reruns
    from zrb_store.observe import Observed


_log = logging.getLogger("zrb_store")


def refuse_waiting(executor: Executor, session: SessionRecord) -> None:
    """Raise `SessionWaiting` if no wait of a session is over."""
    if session.status == "waiting":
        from zrb_store.inspect import advice
        from zrb_store.queries import waits

        waiting = waits.parked(executor, [session.id])
        if not waits.may_continue(waiting):
            raise SessionWaiting(advice.waiting(session.name, waiting))


class WaitingExit(SessionWaiting, Waiting, SystemExit):
    """The session of a `with session.run()` waits. It ends the program unless it is caught."""

    code = SessionWaiting.exit_code


def _exit_of(waiting: BaseException) -> WaitingExit:
    _log.warning("%s", waiting)
    return WaitingExit(*waiting.args)


ChooseReruns: TypeAlias = "Callable[[Executor, list[AttemptRecord]], Reruns | None]"
"""Chooses, by all attempts of a session, what is given back because it runs again; None for nothing."""


class RunLifecycle:
    """The start and the end of a run, without what it runs.

    As a context manager, also for `async with`, it starts unless it was started, and ends the session as `completed`
    unless a task failed. It belongs to the process that starts it: when a forked child leaves the block, nothing
    happens.
    """

    def __init__(
        self,
        xcoms: Xcoms,
        spec: RunSpec,
        on_lost: Callable[[ZrbStoreError], None] | None = None,
        choose_reruns: ChooseReruns | None = None,
    ) -> None:
        """Prepare a run.

        `on_lost` is called, in another thread, when the renewal of its lease is refused. `choose_reruns` is called in
        the transaction that takes the lease, so that nothing changes between its choice and the start: what it chooses
        is given back, and runs again.
        """
        self.database = xcoms.database
        self.session = xcoms.session
        self.lost = False
        self._ended = False
        self._pid = os.getpid()
        self.id = 0
        self.number = 0
        self.session_id = 0
        self._xcoms = xcoms
        self._spec = spec
        self.added_inputs: dict[str, str] = {}  # defaults of inputs declared since the session started, by name
        self._on_lost = on_lost
        self.choose_reruns = choose_reruns
        self._is_root = spec.parent is None
        self._dead_run: tuple[RunRecord, str] | None = None
        self._has_left = False  # whether commands of earlier runs live
        self.span: Observed | None = None
        self._led_here: str | None = None  # the span of the run before
        self._numbers: dict[str, int] = {}  # of the last attempt of each task that this process has begun

    def start(self) -> Self:
        """Take the lease, end the commands that earlier runs have left, and give back what unfinished attempts did.

        Raises:
            SessionBusy: Another process runs the session, or has left a command that cannot be ended.
            SessionCompleted: There is nothing left to run.
            SessionWaiting: No wait of the session is over.
            InputsDiffer: The session is of another project, another task or other inputs.
            LeaseLost: Another process is removing the session.
            InvalidArgument: A step that was declared `once` would run again.
        """
        self._pid = os.getpid()
        if self.database.observer is not None:
            self.span = self.database.observer.begin("run", self._spec.task or "", {"session": self.session})
        try:
            json_text.load()
        except OSError as error:  # this process may open no more files
            raise self.database.dialect.own_error(error) or error from error
        try:
            started = self.database.transact(
                self._start,
                "start",
                is_made=lambda transaction, started: (
                    not isinstance(started, SessionBusy) and runs.status_of(transaction, started[1]) is not None
                ),
            )
            if isinstance(started, SessionBusy):
                raise started
            self.session_id, self.id, self.number = started
            if self.span is not None:
                self.span.note({"fence": self.number}, [self._led_here])
        except ZrbStoreError as error:
            self.notify_unavailable(error)
            raise
        lease.start_renewing(self)
        if self._has_left:
            self._end_commands()
        if self._tells():
            notifier = notify.notifier()
            if self._dead_run is not None:
                notifier.notify_death(self.database, self.session, *self._dead_run)
            notifier.notify_stale(self.database)
        return self

    def _start(self, transaction: Transaction) -> tuple[int, int, int] | SessionBusy:
        session = sessions.find(transaction, self.session, lock=True)
        if session is None:
            sessions.create(transaction, self.session)
            session = sessions.find(transaction, self.session, lock=True)
        if session is None:
            raise LeaseLost(sessions.being_removed(self.session))
        self.added_inputs = self._spec.refuse_other(session)
        moment = now_micros(transaction)
        last = refuse_live(transaction, session, moment, lambda run_id: lease.is_renewed(self.database, run_id))
        if last is not None and last.ended_at is None:
            if refusal := refusal_while_suspected(transaction, session, last, moment):
                return refusal
            self._dead_run = last, how_it_died(transaction, last, moment)
        if session.is_finished and not self._spec.again:
            raise SessionCompleted(f"session {session.name} has completed: `zrb-store show {session.name}` shows it")
        if not (self._spec.again and self.choose_reruns):
            refuse_waiting(transaction, session)
        self._spec.refuse_default_secrets(session)
        self._is_root = session.parent is None and self._spec.parent is None
        left = left_commands(transaction, session, self.database.url) if last is not None else []
        refuse_immortal(session, left)
        self._has_left = bool(left)
        if not left:
            self._give_back(transaction, session, is_first=last is None)
        by_hand = [("set", f"{name}: {old} -> {new}") for name, (old, new) in self._spec.set_inputs.items()]
        if self._spec.takes_over and session.project != self._spec.project:
            by_hand.append(("project", f"{session.project} -> {self._spec.project}"))
        for action, detail in by_hand:
            from zrb_store.queries.by_hand import record_change

            record_change(transaction, action, session.name, detail)
        self._led_here = session.traceparent
        run_columns, session_columns = self._spec.run_columns(), self._spec.session_columns(session)
        session_columns["traceparent"] = None if self.span is None else self.span.traceparent
        return session.id, *runs.start(transaction, session, lease.duration_in_micros(), run_columns, session_columns)

    def _end_commands(self) -> None:
        """End the commands that earlier runs have left, and only then give back what their attempts did."""
        session = sessions.get(self.database, self.session)

        def work(transaction: Transaction) -> bool:
            if not self._holds_session(transaction):
                return False
            self._give_back(transaction, session, is_first=False)
            return True

        def lose(transaction: Transaction) -> None:
            runs.end_attempts(transaction, session.id, "lost", draw(transaction), "lost")

        try:
            end_commands(self.database, session)
            if not self.database.transact(work, "give_back"):
                raise self._lost_error()
        except BaseException as error:
            with contextlib.suppress(ZrbStoreError):  # the error itself says more
                self.database.transact(lose)
                self.end(status_after(error), error)
            raise

    def _holds_session(self, transaction: Transaction) -> bool:
        """Lock the session. Return False if another run has taken it over."""
        session = sessions.find(transaction, self.session, lock=True)
        return session is not None and session.fence == self.number

    def _give_back(self, transaction: Transaction, session: SessionRecord, *, is_first: bool) -> None:
        """Give back what unfinished attempts did, and what runs again."""
        if not is_first:  # else nothing has begun
            give_back_unfinished(transaction, session.id)
        choose = self.choose_reruns
        reruns = choose and choose(transaction, attempts.of_session(transaction, session.id))
        if reruns is not None and reruns.starting_over:
            self._start_over(transaction, session, reruns)
        elif reruns is not None:
            give_back(transaction, reruns.attempts)

    def _start_over(self, transaction: Transaction, session: SessionRecord, reruns: Reruns) -> None:
        """Give back what runs again, where tasks also lose their steps and ask their questions anew."""
        from zrb_store.queries import waits

        asked = [waits.ask_anew(transaction, session, task) for task in reruns.starting_over]
        for task, reason in reruns.starting_over.items():
            if reruns.repeat_once:
                steps.let_repeat(transaction, session.id, task)
            else:
                refuse_repeating(transaction, self.session, session.id, task)
            give_back_steps(transaction, session.id, task, reason)
        give_back(transaction, reruns.attempts)
        waits.drop(transaction, self.session, itertools.chain.from_iterable(asked))

    def end(
        self,
        status: str,
        error: BaseException | ErrorText | None = None,
        *,
        unless_stopped: bool = False,
    ) -> None:
        """End the run and release the lease.

        Args:
            status: `completed`, `failed`, `interrupted` or `waiting`; the session's status from now on. A run that
                failed or waits ends as `interrupted` if `stop` asked for that.
            error: What ended it. It is stored with the run, unless an attempt ended by it. Readers also show that of
                a completed run.
            unless_stopped: The same holds for a completed run: it may have left early.

        Raises:
            ZrbStoreError: Another process began the run.
        """
        if self.is_inherited:
            raise ZrbStoreError(
                f"this run of session {self.session} was begun by process {self._pid}, and only that one can end it, "
                "not its forked child"
            )
        lease.stop_renewing(self)
        self._ended = True
        told = status != "completed" and self._tells()
        text = error_text(error) if isinstance(error, BaseException) else error
        # They say only that the run was to end, not why.
        says_little = isinstance(error, SystemExit) or status == "interrupted"

        work = functools.partial(
            runs.end,
            session_id=self.session_id,
            run_id=self.id,
            status=status,
            error=text,
            says_little=says_little,
            told=told,
            unless_stopped=unless_stopped,
        )

        def is_made(transaction: Transaction, _: bool) -> bool:
            return runs.status_of(transaction, self.id) in ((status,), ("interrupted",))

        try:
            if not self.database.transact(work, "end", is_made=is_made):
                raise self._lost_error()
        except StoreUnavailable as unavailable:
            self.notify_unavailable(unavailable)
            raise
        finally:
            if self.span is not None:
                self.span.end(status, text and text._replace(traceback=""))  # that is told of an attempt
        if told:
            notify.notifier().notify_end(self.database, self.session, self.id)
        # A process that was told to end has no time for retention; the next run sees to it.
        if os.environ.get("ZRB_STORE_RETENTION") and status != "interrupted" and not self.database.is_stopping:
            from zrb_store.operations.prune import apply_retention  # only now: most runs end without it

            apply_retention(self.database)

    def notify_unavailable(self, error: ZrbStoreError) -> None:
        """Start the command of `ZRB_STORE_NOTIFY` if the error says that the store cannot be used."""
        if not isinstance(error, StoreUnavailable | SchemaAhead | StoreMissing) or not self._tells():
            return
        url, task, remedy = self.database.url, self._spec.task, self.how_started.again().command
        notify.notifier().notify_unavailable(error, url, session=self.session, task=task, remedy=remedy)

    @property
    def how_started(self) -> Start:
        """How the session was started, which says what continues it."""
        return self._spec.how_started(self.session)

    def _tells(self) -> bool:
        """Whether somebody is told if this run fails. The failure of a child session is its parent's matter."""
        return self._is_root and notify.is_wanted()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child of the process that began the run."""
        return self._pid != os.getpid()

    def final_status(self) -> str:
        """Return `completed`, or `failed` if a task ended without completing and no later attempt of it did.

        If such tasks only wait, it is `waiting`.

        A run that was started `again` is judged by its own attempts. Every run is judged by its own deliveries: it has
        failed if one of them has failed.
        """
        from zrb_store.queries.deliveries import has_failed

        every = attempts.of_session(self.database, self.session_id)
        last = {attempt.task: attempt for attempt in every if attempt.run_id == self.id or not self._spec.again}
        left = {each.status for each in last.values() if not (each.in_effect or each.kind == "check")}
        if left - {"waiting"} or has_failed(self.database, self.id):
            return "failed"
        return "waiting" if left else "completed"

    def refuse_if_over(self) -> None:
        """Raise an error unless the run has started, has not ended, and was not taken over."""
        if self.lost:
            self.database.refuse_replaced()
            raise self._lost_error()
        if self._ended or not self.number:
            state = "has ended" if self._ended else "was not started"
            raise ZrbStoreError(f"this run of session {self.session} {state}: use `with session.run() as run:`")

    def lose(self, error: ZrbStoreError) -> None:
        """Mark the run as lost; the thread that renews leases calls this."""
        self.lost = True
        if self._on_lost is not None:
            self._on_lost(error)

    def _lost_error(self) -> LeaseLost:
        """Mark the run as lost, and return the error to raise."""
        self.lost = True
        return LeaseLost(
            f"session {self.session} was taken over by another process: run {self.number} can no longer write"
        )

    def __enter__(self) -> Self:
        try:
            run = self if self.number else self.start()
        except SessionWaiting as waiting:
            raise _exit_of(waiting) from None
        if run.span is not None:
            run.span.enter()
        return run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.span is not None:
            self.span.leave()
        if self._ended or self.is_inherited:
            return
        waiting = waiting_in(error)
        try:
            if waiting is not None:
                self.end(self.final_status())
                raise _exit_of(waiting) from None
            if error is None or (isinstance(error, SystemExit) and not error.code):
                self.end(self.final_status(), unless_stopped=True)
            else:
                with contextlib.suppress(ZrbStoreError):  # the exception itself says more
                    self.end(status_after(error), error)
        finally:
            lease.stop_renewing(self)  # even if the store cannot be told: the process may live long

    async def __aenter__(self) -> Self:
        from zrb_store.run.in_thread import in_thread

        run = await in_thread(self.__enter__, lambda run: run.end("interrupted"))
        if run.span is not None:
            run.span.enter()  # the thread has entered it in a context of its own
        return run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from zrb_store.run.in_thread import in_thread

        if self.span is not None:
            self.span.leave()
        await in_thread(lambda: self.__exit__(kind, error, trace))
