"""The commands of attempts that did not end by themselves, as far as they still live on this machine (promise 21).

They are found by the process that leads a recorded command, and by `ZRB_STORE_ATTEMPT` in the environment of processes:
a command that was just started is not recorded yet, and others leave the group of the one that leads.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zrb_store.db.core import bindparam, is_one_of, sa, statement, t
from zrb_store.db.location import StoreUrl, is_same_store, store_url
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.errors import InvalidArgument, SessionBusy
from zrb_store.masking import mask_command, one_line
from zrb_store.names import split_id
from zrb_store.process import (
    carriers,
    command_line,
    group_of,
    is_group_alive,
    is_group_of_ours,
    may_signal,
    members_of,
    process_started,
)
from zrb_store.queries import attempts
from zrb_store.queries.attempts import write_own
from zrb_store.records import AttemptRecord, SessionRecord

_LONGEST_CALL = 60  # characters of a command line


@dataclass(frozen=True)
class LeftCommand:
    """A process of an attempt's command, or the whole group that it leads."""

    attempt: str  # TASK#N
    pid: int
    started: str | None  # None: the process that led the group has ended
    is_group: bool

    @property
    def may_be_ended(self) -> bool:
        """Whether this user may end it, and it is known to be what was recorded."""
        return self.started is not None and all(map(may_signal, members_of(self.pid) if self.is_group else [self.pid]))

    def text(self) -> str:
        """Describe it: `pid 123 (sleep 60) of load#1`."""
        call = one_line(shlex.join(mask_command(command_line(self.pid))))
        call = call if len(call) <= _LONGEST_CALL else f"{call[: _LONGEST_CALL - 1]}…"
        what = f"pid {self.pid}{f' ({call})' if call else ''}" if self.started else f"process group {self.pid}"
        return f"{what} of {one_line(self.attempt)}"


@statement
def _set_command() -> sa.sql.dml.ReturningUpdate[int]:
    return write_own(
        command_pid=bindparam("pid", type_=sa.Integer), command_started=bindparam("started", type_=sa.Text)
    )


def set_command(transaction: Transaction, attempt_id: int, pid: int, started: str | None) -> bool:
    """Record the process that leads the command of an attempt; return False if the attempt may no longer write."""
    return bool(transaction.execute(_set_command(), {"attempt_id": attempt_id, "pid": pid, "started": started}))


_OVER = ("interrupted", "lost", "waiting")  # the statuses of attempts that were cut off


@statement
def _recorded() -> sa.Select[*Row]:
    columns = (t.attempt.c.task, t.attempt.c.step_of, t.attempt.c.number, t.attempt.c.status)
    command = (t.attempt.c.command_pid, t.attempt.c.command_started)
    return (
        sa.select(*columns, t.run.c.boot_id, t.run.c.pid_namespace, *command)
        .select_from(t.attempt.join(t.run, t.run.c.id == t.attempt.c.run_id))
        .where(
            t.attempt.c.session_id == bindparam("session_id"),
            t.attempt.c.fence <= bindparam("fence", type_=sa.Integer),
            t.attempt.c.command_pid.is_not(None),
            is_one_of(t.attempt.c.status, "running", *_OVER),
        )
    )


def left_commands(
    executor: Executor, session: SessionRecord, url: StoreUrl, *, task: str | None = None, running: bool = True
) -> list[LeftCommand]:
    """Return what still lives of the commands of a session's attempts that were cut off, or only of those of a task.

    With `running`, no process runs the session: then attempts that have not ended were cut off, too. The attempts of
    runs that began after `session` was read do not count, and what belongs to the group of this process, or of one
    above it, is left out.
    """
    over = ("running", *_OVER) if running else _OVER
    found: list[LeftCommand] = []
    leaderless: dict[int, str] = {}
    params = {"session_id": session.id, "fence": session.fence}
    for name, step_of, number, status, *leader in executor.execute(_recorded(), params):
        pid, started = leader[2:]
        if status not in over or task not in (None, name, step_of) or not is_group_alive(*leader):
            continue
        if process_started(pid):
            found.append(LeftCommand(f"{name}#{number}", pid, started, is_group=True))
        else:
            leaderless[pid] = f"{name}#{number}"
    groups = {each.pid for each in found}
    for pid, record in _carriers(executor, session, url):
        group, started = group_of(pid), process_started(pid)
        if record.status not in over or task not in (None, record.task, record.step_of) or group in groups:
            continue
        if started is not None:
            leads = group == pid and not is_group_of_ours(pid)
            found.append(LeftCommand(record.name, pid, started, is_group=leads))
    pids = {each.pid for each in found}
    for group, name in leaderless.items():
        if pids.isdisjoint(members := members_of(group)) or not pids.issuperset(members):
            found.append(LeftCommand(name, group, None, is_group=True))
    return [each for each in found if not (each.is_group and is_group_of_ours(each.pid))]


def _carriers(executor: Executor, session: SessionRecord, url: StoreUrl) -> Iterator[tuple[int, AttemptRecord]]:
    """Yield the processes whose environment names an attempt of a session, each with that attempt."""
    for pid, environment in carriers("ZRB_STORE_ATTEMPT"):
        token, _, fence = environment["ZRB_STORE_ATTEMPT"].rpartition("@")
        try:
            name, task, number = split_id(token)
            is_ours = name == session.name and is_same_store(url, store_url(environment.get("ZRB_STORE_URL", "")))
        except InvalidArgument:
            continue
        record = attempts.by_name(executor, name, task, number) if is_ours else None
        # A check has one attempt, which each run begins again.
        if record is None or not fence.isdecimal() or int(fence) > session.fence:
            continue
        if record.fence == int(fence) or record.kind == "check":
            yield pid, record


def refuse_immortal(session: SessionRecord, left: Sequence[LeftCommand]) -> None:
    """Raise `SessionBusy` if one of these commands cannot be ended."""
    if (each := next((each for each in left if not each.may_be_ended), None)) is not None:
        end = f"kill -- -{each.pid}" if each.is_group else f"kill {each.pid}"
        raise SessionBusy(
            f"{each.text()} in session {session.name} has outlived the process that started it, and cannot be ended "
            f"from here: wait for it, or end it with `{end}`"
        )
