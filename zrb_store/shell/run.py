"""`run`: a command as the one task of a session, which a later start, or `resume`, continues.

The path of such a session is `--` and the command: whatever reads the session finds it there, in a fork, too.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from zrb_store import codec
from zrb_store.attempt import Attempt, record_command
from zrb_store.attempt.retries import NO_RETRIES, Retries
from zrb_store.codec import Encoded
from zrb_store.codec.arguments import without_secrets
from zrb_store.db.clock import clock
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor
from zrb_store.errors import InputsDiffer, InvalidArgument, SessionCompleted, SessionWaiting, ZrbStoreError
from zrb_store.inspect.resume import Reruns, decide, reruns
from zrb_store.inspect.workflow import Node, Workflow
from zrb_store.masking import (
    MASK,
    ErrorText,
    is_secret_name,
    mask_command,
    one_line,
    remember,
    remember_command,
    storable,
)
from zrb_store.names import check_name
from zrb_store.process import current_folder, current_project, folder_of, project_of
from zrb_store.queries import attempts, runs, steps
from zrb_store.queries.steps import StepRecord
from zrb_store.queries.waits import parked
from zrb_store.records import COMMAND, UNSUCCESSFUL, AttemptRecord, SessionRecord
from zrb_store.run import Run, RunSpec
from zrb_store.shell.child import EndingSignals
from zrb_store.shell.command import CommandRunner, Outcome, check_command, environment_of, text_or_bytes
from zrb_store.store import Store
from zrb_store.xcom import Xcoms

KEPT = 64 * 1024
"""Bytes of the end of what a command writes to stdout, which are its result unless it gives another one."""


@dataclass(frozen=True)
class CommandRun:
    """What is to run: a command as a task of a session."""

    session: str
    argv: Sequence[str]
    task: str
    inputs: Mapping[str, str]  # variables of the command's environment, which are the same in every run
    forced: bool = False  # whether it runs again although it has completed, and without its completed steps
    repeat_once: bool = False  # whether that may repeat completed steps that were declared `once`
    takes_over: bool = False  # whether a session of another project belongs to this one from this run on
    folder: str | None = None  # where it runs, if not in the working directory
    retries: Retries = NO_RETRIES  # of a command that fails, within one run
    quiet: bool = False  # whether to print only what a run printed that has failed

    @property
    def workflow(self) -> Workflow:
        """The command as the one task of a workflow."""
        return Workflow([Node(self.task)], self.task)

    def run(self, store: Store, print_result: Callable[[str], object], tell: Callable[[str], object]) -> int:
        """Run the command and return its exit code; if it has completed before, print its encoded result instead."""
        if self.folder is not None:
            try:
                os.chdir(self.folder)
            except OSError as error:
                where = f"session {self.session} runs in {self.folder}: {error.strerror}"
                raise InvalidArgument(f"{where}; `resume {self.session} --here` runs it in this folder") from None
        session = store.session(self.session)
        queues = Xcoms(store.database, session.name, store.max_value)
        runner: CommandRunner | None = None

        def stop(_: ZrbStoreError) -> None:
            if runner is not None:
                runner.stop()

        prepared = Run(queues, self._spec(store), stop, self._choose)
        # `with` alone would say itself that a session waits, and end the program.
        with contextlib.suppress(SessionCompleted), prepared.start() as run:
            if not run.completed(self.task):  # unless a person has marked it
                with contextlib.ExitStack() as stack:
                    held = stack.enter_context(tempfile.TemporaryFile(buffering=0)) if self.quiet else None
                    output = stack.enter_context(RunOutput(tell, held))
                    streams = {"stdout": output.stdout, "stderr": output.stderr}
                    runner = stack.enter_context(CommandRunner(self.argv, **streams))
                    return self._attend(run, runner, output)
        if self.quiet:
            return 0
        completed = attempts.in_effect(store.database, session.record().id, self.task)
        if completed and (result := attempts.stored_result(store.database, completed)) is not None:
            print_result(result)
        return 0

    def _spec(self, store: Store) -> RunSpec:
        secrets = _remember_secrets(self.argv, self.inputs)
        inputs = [word for name, text in self.inputs.items() for word in ("--input", f"{name}={text}")]
        parent = store.parent_attempt
        return RunSpec(
            task=check_name(self.task, "task"),
            path=[COMMAND, *mask_command(self.argv)],
            inputs=without_secrets({**self.inputs, **dict.fromkeys(secrets, MASK)}),
            project=current_project(),
            parent=parent.full_name if parent else None,
            origin="cli",
            command=["zrb-store", "run", self.session, "--task", self.task, *inputs, "--", *self.argv],
            again=self.forced,
            takes_over=self.takes_over,
        )

    def _choose(self, _: Executor, records: list[AttemptRecord]) -> Reruns:
        check_command(self.argv)  # a session that has completed does not need its command any more
        decisions = decide(self.workflow, records, self.task if self.forced else None)
        return reruns(decisions, records, repeat_once=self.repeat_once)

    def _attend(self, run: Run, runner: CommandRunner, output: RunOutput) -> int:
        """Run the command until it completes or may not be tried again, and return its exit code."""
        with EndingSignals(runner.pass_on, runner.pass_on) as signals:
            for number in itertools.count(1):
                with run.attempt(self.task) as attempt:
                    outcome, end = self._execute(attempt, runner)
                    if attempt.end_if_parked():  # by `zrb-store wait`
                        return self._park(run, outcome, output)
                    if outcome.error is None:
                        attempt.complete(_result(attempt, end))
                        return self._complete(run, attempt, runner, output)
                    outcome = _fail(attempt, outcome)
                pause = None if outcome.stopped else self.retries.pause(number)
                if pause is None:
                    break
                output.note(f"session {self.session}: {outcome.error}; it is tried again in {pause:g} s")
                until = clock.monotonic() + pause
                while (left := until - clock.monotonic()) > 0 and signals.first is None and not run.lost:
                    clock.sleep(min(left, _LOOK))
                if signals.first is not None:
                    run.end("interrupted")
                    output.tell(run.how_started.last_line("interrupted"))
                    return 128 + signals.first
        status = "interrupted" if outcome.stopped else "failed"
        run.end(status)
        output.tell(run.how_started.last_line(status, outcome.error))
        return outcome.shell_exit_code

    def _execute(self, attempt: Attempt, runner: CommandRunner) -> tuple[Outcome, bytes]:
        """Run the command once. Return how it ended, and the end of its stdout."""
        end = bytearray()

        def keep(stream: str, data: bytes) -> None:
            if (output := attempt.output) is not None:
                output.add(stream, data)
            if stream == "stdout":
                end.extend(data)
                del end[:-KEPT]

        environment = {**environment_of(attempt), **self.inputs}
        outcome = runner.run(None, environment, functools.partial(record_command, attempt), keep=keep)
        return outcome, bytes(end)

    def _park(self, run: Run, outcome: Outcome, output: RunOutput) -> int:
        """End a run whose attempt waits, and return the exit code."""
        run.end("interrupted" if outcome.stopped else "waiting")
        if runs.status_of(run.database, run.id) != ("waiting",):
            output.tell(run.how_started.last_line("interrupted"))
            return outcome.shell_exit_code or SessionWaiting.exit_code
        from zrb_store.inspect.advice import waiting

        output.say(waiting(self.session, parked(run.database, [run.session_id]), run.how_started))
        return SessionWaiting.exit_code

    def _complete(self, run: Run, attempt: Attempt, runner: CommandRunner, output: RunOutput) -> int:
        """End a run that has completed, and return the exit code. A step that failed is named: the script hid that."""
        failed = [each for each in _begun_steps(attempt) if each.status in UNSUCCESSFUL]
        if not failed:
            run.end("completed")
        else:
            what = _what_failed(attempt, failed[-1])
            what += f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            run.end("completed", ErrorText(STEP_FAILED, what, f"{STEP_FAILED}: {what}"))
            from zrb_store.inspect.advice import look_at_log

            look = f"`{look_at_log(self.session)}` shows its output"
            output.tell(f"session {self.session} has completed, although a step failed: {what}; {look}")
        if (error := runner.output_error) is not None:
            output.tell(f"session {self.session} has completed, but its output cannot be written: {error}")
        return int(error is not None)


class RunOutput:
    """Where a run writes what its command prints, and our messages: with `held`, a file, nowhere until it has failed.

    Then all of it goes to stderr.
    """

    def __init__(self, tell: Callable[[str], object], held: IO[bytes] | None) -> None:
        self.say = tell  # is called with messages about no failure
        self.stdout = sys.stdout.fileno() if held is None else held.fileno()
        self.stderr = sys.stderr.fileno() if held is None else held.fileno()
        self._held = held
        self._notes: list[str] = []

    def note(self, message: str) -> None:
        """Tell of a failure that may not be the last word."""
        if self._held is None:
            self.say(message)
        else:
            self._notes.append(message)

    def tell(self, message: str) -> None:
        """Tell of a failure."""
        self.release()
        self.say(message)

    def release(self) -> None:
        """Print what is held."""
        held, self._held = self._held, None
        if held is not None:
            held.seek(0)
            with contextlib.suppress(OSError):  # stderr is closed
                shutil.copyfileobj(held, sys.stderr.buffer)
                sys.stderr.flush()
        for note in self._notes:
            self.say(note)

    def __enter__(self) -> RunOutput:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.release()


def _begun_steps(attempt: Attempt) -> list[StepRecord]:
    """Return each step of a script that has begun in its attempt, in order: of its tries, the newest."""
    begun = steps.of_attempt(attempt.database, attempt.id, with_values=False).values()
    return sorted((each for each in begun if not each.is_wait), key=lambda each: each.id)


def _fail(attempt: Attempt, outcome: Outcome) -> Outcome:
    """Record that a command has not succeeded, and return how it ended, with the last words of its last step."""
    last = next(reversed(_begun_steps(attempt)), None)
    if last is not None and last.status in UNSUCCESSFUL and not outcome.stopped:  # a trap may have spoken after it
        outcome = replace(outcome, last_words=_what_failed(attempt, last))
    text = outcome.error_text()
    if attempt.output is not None:  # it has been kept
        text = text._replace(traceback=f"{text.type}: {text.message}")
    attempt.fail(text, "interrupted" if outcome.stopped else "failed")
    return outcome


def _what_failed(attempt: Attempt, step: StepRecord) -> str:
    """Return the name of a step that failed, and why: `step dump: pg_dump exited with 1: connection refused`."""
    record = attempts.by_id(attempt.database, step.id)
    error = record.error if record is not None else None
    return f"step {step.step}: {error.message if error and error.message else step.status}"


def _remember_secrets(argv: Sequence[str], inputs: Mapping[str, str]) -> list[str]:
    """Mask the secrets of a command and its inputs from now on, and return the names of the secret inputs."""
    secrets = [name for name in inputs if is_secret_name(name)]
    remember_command(argv)
    remember(*(inputs[name] for name in secrets))
    return secrets


STEP_FAILED = "StepFailed"
"""The type of the error of a run that has completed although a step of its script failed."""
_LOOK = 0.2  # seconds between two looks at signals

_INTERPRETER = re.compile(r"(?:ba|da|z|k|mk|a|fi)?sh|python[\d.]*|perl|ruby|node|php|Rscript")


def task_name(argv: Sequence[str], inputs: Mapping[str, str]) -> str:
    """Return the name of the task if none is given: the script's path within the project, else the command's words.

    So two jobs never have one name, whether or not both are run by `bash`. Secrets of the command and the inputs are
    masked.
    """
    _remember_secrets(argv, inputs)
    program, *rest = argv
    script = program if "/" in program else None  # else it is searched for in the PATH
    if _INTERPRETER.fullmatch(Path(program).name):
        script = next((word for word in rest if not word.startswith("-")), None)
    here = current_folder()
    if script is not None and here is not None and Path(script).is_file():
        path = os.path.relpath(script, project_of(Path(here)))
        if not path.startswith(".."):
            return storable(path)
    return one_line(storable(shlex.join(mask_command(argv))))


def _result(attempt: Attempt, end: bytes) -> Encoded:
    """Return what `zrb-store result` gave to an attempt, or the end of its command's stdout."""
    given = attempts.given_result(attempt.database, attempt.id)
    if given is not None:
        return codec.encode(codec.decode(given), limit=attempt.xcom.max_value)
    if len(end) == KEPT:
        end = re.sub(rb"\A[\x80-\xbf]{1,3}", b"", end)  # the rest of a character
    return codec.encode(text_or_bytes(end), lenient=True, limit=attempt.xcom.max_value)


def stored_run(database: Database, session: SessionRecord, *, takes_over: bool) -> CommandRun:
    """Return the run that continues a session of `run`, in its folder unless it is taken over."""
    inputs = codec.decode(session.inputs or "{}")
    if any(MASK in word for word in (*session.argv, *inputs.values())):
        raise InputsDiffer(f"session {session.name} needs a secret that is not stored: start it by name, as before")
    last = next((run for run in reversed(runs.of_session(database, session.id)) if run.origin != "reclaim"), None)
    folder = folder_of(session.project, None) if last is None else last.folder
    folder = None if takes_over else folder
    return CommandRun(session.name, session.argv, str(session.task), inputs, takes_over=takes_over, folder=folder)
