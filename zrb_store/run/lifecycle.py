"""The start and the end of a run: it takes the lease of its session, and ends with a status.

`RunSpec` says what the run is for; a session refuses a run for another purpose.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
import os
import platform
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from zrb_store import codec, settings
from zrb_store.attempt import status_after
from zrb_store.codec import json_text
from zrb_store.codec.arguments import names_of, names_of_unstorable, without_names
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import (
    InputsDiffer,
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
from zrb_store.masking import error_text, mask_command, mask_text
from zrb_store.process import current_folder, folder_of, identity, is_same_file
from zrb_store.queries import attempts, runs, sessions, steps
from zrb_store.queries.clock import now_micros
from zrb_store.queries.give_back import give_back, give_back_steps, give_back_unfinished
from zrb_store.queries.lease import how_it_died, refuse_live, suspected
from zrb_store.queries.steps import refuse_repeating
from zrb_store.records import COMMAND, AttemptRecord, RunRecord, SessionRecord
from zrb_store.runtime import lease
from zrb_store.xcom import Xcoms

if TYPE_CHECKING:
    from zrb_store.inspect.resume import Reruns


_log = logging.getLogger("zrb_store")


@dataclass(frozen=True)
class RunSpec:
    """What a run is for, and how it was started.

    None means that something does not matter. What is not described here, `Session.run` describes.
    """

    task: str | None = None
    path: Sequence[str] = ()
    inputs: Mapping[str, Any] | None = None  # of secret ones, those that were given, without their values
    # Names. They are not compared, but a run must be given those that an earlier run was given.
    secret_inputs: Collection[str] = ()
    # Names of those that are not compared either: a resume was given them, or their defaults, since the task declares
    # them in another way now, or to change them.
    changed_inputs: Collection[str] = ()
    # Those that a resume changes, each with its text before and from now on.
    set_inputs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    # Returns the text of the default that an input has; None if it has another value. It is asked about inputs that an
    # earlier run did not have: those with their defaults are not compared.
    default_of: Callable[[str], str | None] | None = None
    project: str | None = None
    parent: str | None = None
    origin: str = "library"
    command: Sequence[str] = ()  # its secrets are masked before it is stored
    zrb_version: str | None = None
    again: bool = False
    takes_over: bool = False  # whether a session of another project belongs to this one from this run on

    def run_columns(self) -> dict[str, str | int | None]:
        """Return what is stored with the run: how it was started, and in which process."""
        return {
            **asdict(identity()),
            "origin": self.origin,
            "command": json.dumps(mask_command(self.command)),
            "folder": current_folder(),
            "python_version": platform.python_version(),
            "zrb_version": self.zrb_version,
        }

    def session_columns(self, session: SessionRecord) -> dict[str, str | None]:
        """Return what is stored with the session: what it is for, by this run or an earlier one."""
        return {
            "project": self.project or session.project,
            "task": self.task or session.task,
            "path": json.dumps(list(self.path) or session.path),
            "inputs": session.inputs if self.inputs is None else codec.encode_named(self.inputs),
            "parent": self.parent,
        }

    def refuse_other(self, session: SessionRecord) -> dict[str, str]:
        """Raise `InputsDiffer` if a session is for another project, another task or other inputs.

        Return the texts of the defaults of inputs that the task has declared since, by name.
        """
        theirs, ours = session.project, self.project
        if theirs and ours and theirs != ours and not self.takes_over:
            raise InputsDiffer(_other_project(session, theirs, ours))
        theirs, ours = session.task, self.task
        if theirs and ours and theirs != ours and not _is_same_script(theirs, ours):
            between = f"{_named(theirs)}, not to {_named(ours) if _is_script(theirs) or _is_script(ours) else ours}"
            remedy = "use another session name"
            if _is_script(ours):
                remedy += f", or session.run(task={theirs!r}) to continue this one"
            raise InputsDiffer(f"session {session.name} belongs to {between}: {remedy}")
        path = list(self.path)
        if session.task and path and path != session.path and COMMAND in (path[0], *session.path[:1]):
            theirs, ours = (shlex.join(words[words[:1] == [COMMAND] :]) for words in (session.path, path))
            runs = f"runs `{theirs}`" if theirs else "belongs to a Python script"
            raise InputsDiffer(f"session {session.name} {runs}, not `{ours}`: use another session name")
        added: dict[str, str] = {}
        if self.inputs is not None and session.inputs is not None:
            before, now = session.inputs, codec.encode_named(self.inputs)
            if before == now and '"$"' not in now:  # all of them can be compared
                return added
            from zrb_store.codec.compare import describe_changes  # late: most runs have the same inputs

            other = {*self.secret_inputs, *self.changed_inputs}
            if self.default_of is not None:
                new = [name for name in self.inputs if name not in {*other, *names_of(before)}]
                added = {name: text for name in new if (text := self.default_of(name)) is not None}
            other.update(added)
            before, now = without_names(before, other), without_names(now, other)
            if difference := describe_changes(before, now):
                message = (
                    f"session {session.name} was started with other inputs: {difference}; use another session name"
                )
                if session.path and not session.argv and session.parent is None:
                    change = f"`zrb xcom resume {session.name} --set NAME=VALUE`"
                    message += f", or {change} to run again what has read them"
                raise InputsDiffer(mask_text(message))
            if unknown := names_of_unstorable(before) | names_of_unstorable(now):
                raise InputsDiffer(
                    f"session {session.name} may have been started with other inputs: {', '.join(sorted(unknown))} "
                    "cannot be stored, and so cannot be compared; use another session name, or "
                    "zrb_store.register_codec for its class"
                )
        return added

    def refuse_default_secrets(self, session: SessionRecord) -> None:
        """Raise `InputsDiffer` if a secret input that was given to an earlier run is not given to this one."""
        if self.inputs is None or session.inputs is None or not self.secret_inputs:
            return
        before = names_of(session.inputs)
        missing = [name for name in before if name in self.secret_inputs and name not in self.inputs]
        if missing:
            options = " ".join(f"--{name} VALUE" for name in missing)
            raise InputsDiffer(
                f"session {session.name} was started with a value for {', '.join(missing)}, which is secret and not "
                f"stored: give {options} again"
            )


def _other_project(session: SessionRecord, theirs: str, ours: str) -> str:
    """Say that a session belongs to another project, and how to continue it."""
    where = f"session {session.name} belongs to project {theirs}, not to {ours}: "
    if not Path(theirs).is_absolute():
        where += f"set ZRB_STORE_PROJECT={theirs}"
    elif Path(theirs).is_dir():
        where += f"`cd {shlex.quote(theirs)}`, and try again there"
    else:
        where += "that folder is gone; use another session name"
    program = "zrb-store" if session.argv else "zrb xcom"
    return f"{where}, or `{program} resume {session.name} --here` takes it over" if session.path else where


def _is_same_script(theirs: str, ours: str) -> bool:
    return _is_script(theirs) and _is_script(ours) and is_same_file(theirs, ours)


def _is_script(task: str) -> bool:
    return Path(task).is_absolute()


def _named(task: str) -> str:
    return f"{'script' if _is_script(task) else 'task'} {task}"


def refuse_waiting(executor: Executor, session: SessionRecord) -> None:
    """Raise `SessionWaiting` if no wait of a session is over."""
    if session.status == "waiting":
        from zrb_store.queries import waits  # late: few sessions wait

        waiting = waits.parked(executor, [session.id])
        if not waits.may_continue(waiting):
            raise SessionWaiting(waits.describe(session.name, waiting))


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

    As a context manager, it starts unless it was started, and ends the session as `completed` unless a task failed. It
    belongs to the process that starts it: when a forked child leaves the block, nothing happens.
    """

    def __init__(self, xcoms: Xcoms, spec: RunSpec, on_lost: Callable[[ZrbStoreError], None] | None = None) -> None:
        """Prepare a run. `on_lost` is called, in another thread, when the renewal of its lease is refused."""
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
        self._is_root = spec.parent is None
        self._dead_run: tuple[RunRecord, str] | None = None
        self._numbers: dict[str, int] = {}  # of the last attempt of each task that this process has begun

    def start(self, choose_reruns: ChooseReruns | None = None) -> Self:
        """Take the lease, and give back what unfinished attempts of earlier runs did.

        Args:
            choose_reruns: Called in the transaction that takes the lease, so that nothing changes between its choice
                and the start. What it chooses is given back, and runs again.

        Raises:
            SessionBusy: Another process runs the session.
            SessionCompleted: There is nothing left to run.
            SessionWaiting: No wait of the session is over.
            InputsDiffer: The session is of another project, another task or other inputs.
            LeaseLost: Another process is removing the session.
            InvalidArgument: A step that was declared `once` would run again.
        """
        self._pid = os.getpid()
        try:
            json_text.load()
        except OSError as error:  # this process may open no more files
            raise self.database.dialect.explain(error) or error from error
        try:
            started = self.database.transact(
                functools.partial(self._start, choose_reruns=choose_reruns),
                "start",
                is_made=lambda transaction, started: (
                    not isinstance(started, SessionBusy) and runs.status_of(transaction, started[1]) is not None
                ),
            )
            if isinstance(started, SessionBusy):
                raise started
            self.session_id, self.id, self.number = started
        except ZrbStoreError as error:
            self.tell_unavailable(error)
            raise
        lease.start_renewing(self)
        if self._tells():
            from zrb_store.runtime.notify import tell_death, tell_stale  # late: few processes tell anybody

            if self._dead_run is not None:
                tell_death(self.database, self.session, *self._dead_run)
            tell_stale(self.database)
        return self

    def _start(
        self, transaction: Transaction, choose_reruns: ChooseReruns | None = None
    ) -> tuple[int, int, int] | SessionBusy:
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
            if refusal := suspected(transaction, session, last, moment):
                return refusal
            self._dead_run = last, how_it_died(transaction, last, moment)
        if session.is_finished and not self._spec.again:
            raise SessionCompleted(f"session {session.name} has completed: `zrb-store show {session.name}` shows it")
        if not (self._spec.again and choose_reruns):
            refuse_waiting(transaction, session)
        self._spec.refuse_default_secrets(session)
        self._is_root = session.parent is None and self._spec.parent is None
        if last is not None:  # else nothing has begun
            give_back_unfinished(transaction, session.id)
        reruns = choose_reruns and choose_reruns(transaction, attempts.of_session(transaction, session.id))
        if reruns is not None and reruns.starting_over:
            self._start_over(transaction, session, reruns)
        elif reruns is not None:
            give_back(transaction, reruns.attempts)
        by_hand = [("set", f"{name}: {old} -> {new}") for name, (old, new) in self._spec.set_inputs.items()]
        if self._spec.takes_over and session.project != self._spec.project:
            by_hand.append(("project", f"{session.project} -> {self._spec.project}"))
        for action, detail in by_hand:
            from zrb_store.queries.by_hand import record_change  # late: few sessions are changed

            record_change(transaction, action, session.name, detail)
        columns = self._spec.run_columns(), self._spec.session_columns(session)
        return session.id, *runs.start(transaction, session, lease.duration_in_micros(), *columns)

    def _start_over(self, transaction: Transaction, session: SessionRecord, reruns: Reruns) -> None:
        """Give back what runs again, where tasks also lose their steps and ask their questions anew."""
        from zrb_store.queries import waits  # late: few sessions start over

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
        error: BaseException | None = None,
        *,
        unless_stopped: bool = False,
    ) -> None:
        """End the run and release the lease.

        Args:
            status: `completed`, `failed`, `interrupted` or `waiting`; the session's status from now on. A run that
                failed or waits ends as `interrupted` if `stop` asked for that.
            error: What ended it. It is stored with the run, unless an attempt ended by it.
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
        text = None if error is None else error_text(error)
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
                raise self._mark_lost()
        except StoreUnavailable as unavailable:
            self.tell_unavailable(unavailable)
            raise
        if told:
            from zrb_store.runtime.notify import tell_end  # only now: most runs end without it

            tell_end(self.database, self.session, self.id)
        # A process that was told to end has no time for retention; the next run sees to it.
        if os.environ.get("ZRB_STORE_RETENTION") and status != "interrupted" and not self.database.is_stopping:
            from zrb_store.operations.prune import apply_retention  # only now: most runs end without it

            apply_retention(self.database)

    def tell_unavailable(self, error: ZrbStoreError) -> None:
        """Start the command of `ZRB_STORE_NOTIFY` if the error says that the store cannot be used."""
        if not isinstance(error, StoreUnavailable | SchemaAhead | StoreMissing) or not self._tells():
            return
        from zrb_store.inspect.alert import resume_by_zrb, resume_of_command
        from zrb_store.runtime.notify import tell_unavailable

        spec = self._spec
        remedy = resume_by_zrb(self.session, folder_of(spec.project, current_folder()), None) if spec.path else None
        if spec.path[:1] == [COMMAND]:
            remedy = resume_of_command(self.session)
        tell_unavailable(error, self.database.url, session=self.session, task=spec.task, remedy=remedy)

    def _tells(self) -> bool:
        """Whether somebody is told if this run fails. The failure of a child session is its parent's matter."""
        return self._is_root and settings.notify_command() is not None

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
        from zrb_store.queries.deliveries import has_failed  # late: zrb itself knows the outcome

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
            raise self._mark_lost()
        if self._ended or not self.number:
            state = "has ended" if self._ended else "was not started"
            raise ZrbStoreError(f"this run of session {self.session} {state}: use `with session.run() as run:`")

    def lose(self, error: ZrbStoreError) -> None:
        """Mark the run as lost; the thread that renews leases calls this."""
        self.lost = True
        if self._on_lost is not None:
            self._on_lost(error)

    def _mark_lost(self) -> LeaseLost:
        """Mark the run as lost, and return the error to raise."""
        self.lost = True
        return LeaseLost(
            f"session {self.session} was taken over by another process: run {self.number} can no longer write"
        )

    def __enter__(self) -> Self:
        try:
            return self if self.number else self.start()
        except SessionWaiting as waiting:
            raise _exit_of(waiting) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
