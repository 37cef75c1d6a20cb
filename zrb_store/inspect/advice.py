"""What to type next: the commands that help with a session, in their order and with their words.

`show`, the card of a page, alerts, refusals and the last line of a run print what is decided here, so that they advise
the same. Where there is room for one command, it is that of `first`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from zrb_store import codec
from zrb_store.db.transaction import Executor
from zrb_store.masking import MASK, one_line
from zrb_store.process import folder_of, identity, program_of, project_of
from zrb_store.queries.commands import LeftCommand
from zrb_store.queries.holders import Holder
from zrb_store.queries.runs import last_started
from zrb_store.queries.sessions import projects_of_task
from zrb_store.queries.show import Holding, StepCounts
from zrb_store.queries.waits import Wait, awaited
from zrb_store.records import COMMAND, HALTED, RunRecord, SessionRecord

PROGRAM = "zrb-store"
"""What code that does not know its user's program writes before a command; `as_typed` replaces it."""

_MOST_NAMED = 20  # attempts


class Advice(NamedTuple):
    """A command that helps, or something to know before it is typed."""

    label: str  # as `show` calls it
    command: str | None
    after: str = ""  # what is said after the command, or in its place
    kind: Literal["act", "look", "know"] = "act"  # whether it mends something, says why something failed, or neither

    @property
    def text(self) -> str:
        return f"{self.command or ''}{self.after}"

    def sentence(self) -> str:
        """Return what continues a session, as a part of a message."""
        if self.command is None:
            return self.after
        return f"`{self.command}`{self.after}{',' * bool(self.after)} continues it"


class Start(NamedTuple):
    """How a session was started: what continues it depends on that."""

    session: str
    path: Sequence[str] = ()  # as in its record; empty if a program started it
    parent: str | None = None
    folder: str | None = None  # of its project or, if a program started it, of its last run; None if it is gone
    takes_over: bool = False  # whether the folder of its project is gone, so that it must belong to another one
    command: Sequence[str] = ()  # of its last run
    uses_zrb: bool = False
    secrets: Sequence[str] = ()  # of `secrets_of`

    @classmethod
    def of(cls, executor: Executor, session: SessionRecord, runs: Sequence[RunRecord]) -> Start:
        """Read how a session was started, given all its runs."""
        last = last_started(runs)
        folder = None if last is None else last.folder
        of_zrb = bool(session.path) and not session.argv
        if of_zrb:
            folder = folder_of(session.project, folder)
        is_gone = last is not None and last.host == identity().host and folder and not Path(folder).is_dir()
        if is_gone:
            folder = _project_now(executor, session) if of_zrb else None
        return cls(
            session.name,
            session.path,
            session.parent,
            folder,
            bool(is_gone and of_zrb),
            () if last is None or (is_gone and not of_zrb) else last.command,
            last is not None and last.zrb_version is not None,
            secrets_of(session.path, session.inputs),
        )

    @property
    def is_of_event(self) -> bool:
        """Whether the session handled an event of another one."""
        return self.parent is not None and "/" not in self.parent

    def again(self, program: str = PROGRAM, here: str | None = None) -> Advice:
        """Return what continues the session, typed in the folder `here`, or in any one if that is None."""
        if self.is_of_event:
            return Advice("Resume", None, "push the event again to repeat it: events are handled once")
        asks = f", which asks for {one_line(', '.join(self.secrets))}" if self.secrets else ""
        words = f"resume {self.session}{' --here' * self.takes_over}"
        if self.path[:1] == [COMMAND] and self.secrets:
            return Advice("Resume", None, "start it by name, as before: it needs a secret that is not stored")
        if self.path[:1] == [COMMAND]:  # its folder is stored
            return Advice("Resume", f"{program} {words}", asks)
        if self.path:
            is_here = here is not None and self.folder in (here, project_of(Path(here)))
            command = f"{'zrb xcom' if program == PROGRAM else program} {words}"
            return Advice("Resume", command if is_here else _in_folder(self.folder, command), asks)
        if program_of(self.command, self.folder) is None:
            name = f" with ZRB_STORE_SESSION={self.session}" * self.uses_zrb
            return Advice("Resume", None, f"start its program again{name}")
        started = list(self.command)
        if started[0].endswith(".py"):
            started.insert(0, "python3")  # what it was started with is not stored
        # A program that uses zrb as a library gets the session's name from its environment, any other one knows it.
        command = f"ZRB_STORE_SESSION={self.session} " * self.uses_zrb + shlex.join(started)
        return Advice("Resume", command if here == self.folder else _in_folder(self.folder, command), asks)

    def last_line(self, status: str, why: str | None = None, program: str = PROGRAM) -> str:
        """Return the last line of a run that has not completed: how it ended, and what continues it from there."""
        ended = "was interrupted" if status == "interrupted" else status
        reason = f": {why}" if why else ""
        return f"session {self.session} {ended}{reason}; {self.again(program, self.folder).sentence()}"


def secrets_of(path: Sequence[str], inputs: str | None) -> list[str]:
    """Return the names of the secret inputs that a resume needs, since they are not stored; of a command, what has one.

    Args:
        path: As in the session's record.
        inputs: Encoded, as they are stored.
    """
    found = codec.to_json(inputs) if inputs else {}
    named = found if type(found) is dict else {}
    if path[:1] == [COMMAND]:
        whole = {"its command": path, **{name: [str(value)] for name, value in named.items()}}
        return [what for what, words in whole.items() if any(MASK in word for word in words)]
    return [name for name, value in named.items() if value == {"masked": MASK}]


def _project_now(executor: Executor, session: SessionRecord) -> str | None:
    """Return the existing folder where the main task of a session ran last."""
    known = projects_of_task(executor, session.task)
    return next((folder for folder in known if Path(folder).is_absolute() and Path(folder).is_dir()), None)


def _in_folder(folder: str | None, command: str) -> str:
    return command if folder is None else f"cd {shlex.quote(folder)} && {command}"


@dataclass(frozen=True)
class Facts:
    """What advice on a session depends on."""

    start: Start
    status: str  # that readers see
    waits: Sequence[Wait] = ()
    dead: str | None = None  # a queue of it that has dead values
    is_logged: bool = False  # whether `log` has something to say of it
    has_failed_step: bool = False  # whether a step has failed and never completed
    left: Sequence[LeftCommand] = ()  # commands that have outlived its runs
    # What unfinished attempts did that stands until a resume, by attempt.
    pending: Mapping[str, Holding] = field(default_factory=dict)
    counts: Sequence[StepCounts] = ()  # of its tasks that have not completed
    holders: Sequence[Holder] = ()  # what holds values of it


def advice(facts: Facts, program: str = PROGRAM, here: str | None = None) -> list[Advice]:
    """Return what helps with a session, first what says why, then what continues it, then what else there is to know.

    The commands are of a program, and typed in the folder `here`, or in any one if that is None.
    """
    return [*_log(facts, program), *_left(facts, program), *_continue(facts, program, here), *_rest(facts, program)]


def first(every: Sequence[Advice]) -> Advice | None:
    """Return the one with the command that whoever has room for one shows: what mends something, else what says why."""
    return next((each for kind in ("act", "look") for each in every if each.kind == kind and each.command), None)


def _log(facts: Facts, program: str) -> Iterator[Advice]:
    log = look_at_log(facts.start.session, program)
    if facts.status == "running":
        yield Advice("Log", f"{log} --follow", kind="look")
    elif facts.status in HALTED or facts.has_failed_step:
        yield Advice("Log", log, kind="look")
    elif facts.is_logged:
        yield Advice("Log", log, kind="know")


def _left(facts: Facts, program: str) -> Iterator[Advice]:
    for each in facts.left:
        end = f"`{program} stop {facts.start.session}` or a resume ends it" if each.may_be_ended else "wait for its end"
        yield Advice("Alive", None, f"{each.text()} has outlived its run: {end}", "know")


def _continue(facts: Facts, program: str, here: str | None) -> Iterator[Advice]:
    is_new = facts.status == "open" and bool(facts.start.path)  # a fork
    if facts.status in HALTED or is_new or any(wait.is_over for wait in facts.waits):
        yield facts.start.again(program, here)
    for wait in facts.waits:
        yield Advice("Waits", None, wait.text(), "know")
        if (command := _answer(wait)) is not None:
            yield Advice("Answer", f"{program} {command}")


def _rest(facts: Facts, program: str) -> Iterator[Advice]:
    """Yield what a resume does, and what becomes of values that no resume gives back."""
    name, path = facts.start.session, facts.start.path
    if facts.status != "completed" and (acts := {own: each.acts for own, each in facts.pending.items()}):
        names = {done: _named([own for own, each in acts.items() if each == done]) for done in acts.values()}
        whose = " and that ".join(f"{own} {done}" for done, own in names.items())
        yield Advice("Pending", None, f"values that {whose} are given back by a resume", "know")
    kept = [each for each in facts.counts if each.kept]
    if kept and (facts.status in HALTED or facts.waits):
        steps = " and ".join(f"{each.kept:,} step{'s' * (each.kept > 1)} of {one_line(each.task)}" for each in kept)
        again = f", except with --from {one_line(kept[0].task)}" if path and len(kept) == 1 else ""
        yield Advice("Steps", None, f"a resume keeps the results of {steps}{again}", "know")
    if facts.dead is not None:
        yield advice_on_dead_values(name, facts.dead, program)
    holding = list(dict.fromkeys((each.session, each.step_of) for each in facts.holders if each.step_of is not None))
    if holding:
        session, task = holding[0]
        more = f" (and {len(holding) - 1} more)" if len(holding) > 1 else ""
        text = f"values held by completed steps of {one_line(f'{session}/{task}')}{more} come back only if {session} "
        yield Advice("Held", None, f"{text}is resumed with --from {one_line(str(task))}, or removed", "know")


def _named(attempts: Sequence[str]) -> str:
    more = len(attempts) - _MOST_NAMED
    return one_line(", ".join(attempts[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else ""))


def advice_on_dead_values(session: str, queue: str, program: str = PROGRAM) -> Advice:
    """Return what makes the dead values of a queue live again."""
    command = f"{program} requeue {session} {shlex.quote(one_line(queue))} --all-dead"
    return Advice("Dead", command, "; or replace or drop single values")


def look_at_dead_values(session: str, queue: str, program: str = PROGRAM) -> str:
    """Return the command that shows why the values of a queue died."""
    return f"{program} show {session} {shlex.quote(one_line(queue))} --dead"


def single_dead_values(program: str = PROGRAM) -> str:
    """Say what else can be done about a dead value, where its queue is not named."""
    return f"{program} replace VALUE NEW, or {program} drop VALUE, for single dead values"


def requeue(values: Sequence[str], program: str = PROGRAM) -> str:
    """Return the command that makes these dead values live again."""
    return f"{program} requeue {shlex.join(values)}"


def look_at_log(session: str, program: str = PROGRAM) -> str:
    """Return the command that shows errors and output of a session."""
    return f"{program} log {session}"


def look_for_runs(task: str, program: str = PROGRAM) -> str:
    """Return the command that shows when a task ran, or did not."""
    return f"{program} list --task {shlex.quote(task)}"


def resume(session: str, *options: str, uses_zrb: bool = True) -> str:
    """Return the command that resumes a session with options, for errors that end what would have continued it."""
    return " ".join(["zrb xcom" if uses_zrb else PROGRAM, "resume", session, *options])


def fork(session: str, task: str, *options: str) -> str:
    """Return the command that makes a session in which a task runs again."""
    return " ".join([PROGRAM, "fork", session, "--from", shlex.quote(task), *options])


def in_other_project(session: SessionRecord, ours: str) -> str:
    """Say that a session belongs to another project than ours, and how to continue it."""
    theirs = str(session.project)
    where = f"session {session.name} belongs to project {theirs}, not to {ours}: "
    if not Path(theirs).is_absolute():
        where += f"set ZRB_STORE_PROJECT={theirs}"
    elif Path(theirs).is_dir():
        where += f"`cd {shlex.quote(theirs)}`, and try again there"
    else:
        where += "that folder is gone; use another session name"
    here = resume(session.name, "--here", uses_zrb=not session.argv)
    return f"{where}, or `{here}` takes it over" if session.path else where


def _answer(wait: Wait) -> str | None:
    """Return the words after the program's name that answer a wait, unless it is over, or a value does not end it."""
    return None if wait.is_over or wait.queue is None else wait.answer


def waiting(session: str, waits: Sequence[Wait], start: Start | None = None) -> str:
    """Say what a session waits for, and what gives it that or, if a wait is over, what continues the session."""
    answers = list(filter(None, map(_answer, waits)))
    if any(wait.is_over for wait in waits):
        hint = "start it again" if start is None else start.again(here=start.folder).sentence()
    else:
        hint = " or ".join(dict.fromkeys(f"`{PROGRAM} {each}`" for each in answers)) + " answers" * bool(answers)
    return one_line(f"session {session} waits {awaited(waits)}" + (f"; {hint}" if hint else ""))
