"""`step`: a command as a step of the attempt that this process runs in, which `ZRB_STORE_ATTEMPT` names."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from zrb_store import codec
from zrb_store.attempt import Attempt, Step
from zrb_store.attempt.exact_steps import Change, ExactStep, open_exact
from zrb_store.attempt.steps import Done
from zrb_store.codec.arguments import positional_and_named, stored_arguments
from zrb_store.consume.command import CommandRunner, Outcome, environment_of, record_command
from zrb_store.db.clock import clock
from zrb_store.errors import InputsDiffer, InvalidArgument, ValueTooLarge, ZrbStoreError
from zrb_store.masking import ErrorText, mask_command
from zrb_store.names import check_step_name
from zrb_store.process import is_group_alive
from zrb_store.queries import attempts, runs
from zrb_store.queries.steps import StepRecord
from zrb_store.records import JsonValue
from zrb_store.shell.run import exit_code, passing_signals_to, text_or_bytes
from zrb_store.shell.stored_step import changed, facts, read_to_end
from zrb_store.store import Store
from zrb_store.xcom import Xcoms

TIMED_OUT = 124
"""The exit code of a step whose command took too long, as of timeout(1)."""
REFUSED = 125
"""The exit code of a step that we refuse, so that it is not taken for that of the command."""
_LOOK = 0.2  # seconds between two looks at the parent process
_LOOK_AT_STORE = 2.0  # seconds between two looks whether the step may still write
_PATIENCE = 5.0  # seconds in which the guard of a step that was killed ends its command
_LONGEST_PAUSE = 60.0  # seconds before a retry


@dataclass(frozen=True)
class ShellStep:
    """A command that is to run as a step.

    Attributes:
        produces: Files that it makes. If they are changed, it runs again, with all that began after it.
        retries: How often it runs again at once if it fails.
        reads_stdin: Whether it gets our stdin; else it has an empty one.
    """

    name: str
    argv: Sequence[str]
    once: bool = False
    produces: Sequence[str] = ()
    timeout: float | None = None
    retries: int = 0
    reads_stdin: bool = False

    def run(self, store: Store, write: Callable[[str], object], tell: Callable[[str], object]) -> int:
        """Run the step and return its exit code; `write` gets its encoded result if it has completed before."""
        parent = os.getppid()
        attempt = _surrounding(store, check_step_name(self.name))
        arguments = stored_arguments(mask_command(self.argv), {})
        call = ExactStep(
            self.name,
            arguments,
            functools.partial(self._change, arguments),
            once=self.once,
            compares_kept=True,
            refuse_running=functools.partial(_refuse_running, attempt),
        )
        for number in range(self.retries + 1):
            with open_exact(attempt, call) as step:
                if isinstance(step, Done):
                    return self._print_again(step.result, write, tell)
                is_last = number == self.retries
                outcome = self._execute(step, parent, tell, is_last=is_last)
            if outcome.error is None or is_last or outcome.stopped or (self.once and _was_killed(outcome)):
                break
            tell(f"step {self.name}: {outcome.error}; it is tried again")
            clock.sleep(min(2.0**number, _LONGEST_PAUSE))
        return TIMED_OUT if outcome.timed_out else exit_code(outcome)

    def _change(self, arguments: str, before: str) -> Change | None:
        """Refuse another command than that which has completed, and return why it runs again, if it does."""
        (now, _), (then, named) = positional_and_named(arguments), positional_and_named(before)
        if now != then:
            raise InputsDiffer(
                f"step {self.name} has completed with the command {_shown(then)}, not {_shown(now)}: "
                "give this one another name"
            )
        why = changed(named.get("produces"))  # type: ignore[arg-type]  # as `facts` has returned it
        return None if why is None else Change(why, arguments)

    def _print_again(self, result: str, write: Callable[[str], object], tell: Callable[[str], object]) -> int:
        if result == "null":
            tell(f"step {self.name} has completed before, but its output is not stored: nothing is printed")
        else:
            write(result)
        if self.reads_stdin:
            read_to_end()
        return 0

    def _execute(self, step: Step, parent: int, tell: Callable[[str], object], *, is_last: bool) -> Outcome:
        """Run the command once, and record how it ended."""
        limit = step.xcom.max_value
        stdout = bytearray()

        def keep(stream: str, data: bytes) -> None:
            if stream == "stdout" and len(stdout) <= limit:
                stdout.extend(data)

        with contextlib.ExitStack() as stack:
            # What a try that fails prints must not come before what the next one prints.
            held = stack.enter_context(tempfile.TemporaryFile()) if self.retries else None
            target = sys.stdout.fileno() if held is None else held.fileno()
            runner = CommandRunner(self.argv, stdout=target, stderr=sys.stderr.fileno(), timeout=self.timeout)
            for each in (runner, passing_signals_to(runner), _watching(step, runner, parent)):
                stack.enter_context(each)
            started = functools.partial(record_command, step)
            stdin = sys.stdin.fileno() if self.reads_stdin else None
            outcome = runner.run(None, environment_of(step), started, stdin=stdin, keep=keep)
            if held is not None and (is_last or outcome.error is None):
                _copy(held)
            if outcome.error is not None:
                is_unknown = outcome.stopped or (self.once and _was_killed(outcome))
                step.fail(outcome.error_text(), "interrupted" if is_unknown else "failed")
            else:
                self._complete(step, bytes(stdout), tell)
        return outcome

    def _complete(self, step: Step, stdout: bytes, tell: Callable[[str], object]) -> None:
        try:
            produced: dict[str, JsonValue] = {path: list(fact) for path, fact in facts(self.produces).items()}
        except InvalidArgument as error:
            text = f"step {self.name} has not produced what it should: {error}"
            step.fail(ErrorText("NotProduced", text, text), "interrupted" if self.once else "failed")
            raise ZrbStoreError(text) from None
        limit = step.xcom.max_value
        try:
            result = codec.encode(text_or_bytes(stdout), limit=limit)
        except ValueTooLarge:
            then = "it is kept without it" if produced else "it runs again in the task's next attempt"
            tell(f"step {self.name}: its output is over the limit of {limit:,} bytes (ZRB_STORE_MAX_VALUE): {then}")
            result = codec.encode(None)._replace(restorable=bool(produced))
        arguments = stored_arguments(mask_command(self.argv), {"produces": produced}) if produced else None
        step.complete(result, arguments=arguments)


def _surrounding(store: Store, name: str) -> Attempt:
    """Return the attempt of another process in which this one runs, so that a step may begin in it."""
    parent = store.parent_attempt
    if parent is None:
        raise ZrbStoreError(
            f"step {name} is not inside an attempt: start the script with `zrb-store run SESSION -- COMMAND...`"
        )
    parent.refuse_if_closed()
    record = attempts.by_id(store.database, parent.id)
    if record is not None and record.step is not None:
        raise ZrbStoreError(f"step {name} cannot begin inside step {record.step}: steps do not nest")
    queues = Xcoms(store.database, parent.session, store.max_value)
    attempt = Attempt(queues, parent.id, parent.task, parent.number, parent.fence)
    attempt.steps.in_doubt = True  # other processes begin steps of it
    return attempt


def _refuse_running(attempt: Attempt, known: StepRecord) -> None:
    """Raise an error if the command of a step that has not ended works on, after a moment for its guard to end it."""
    record = attempts.by_id(attempt.database, known.id)
    run = None if record is None else runs.last(attempt.database, record.session_id)
    if record is None or run is None or record.command_pid is None:
        return  # its command has not begun, and will not: it would be recorded first
    deadline = clock.monotonic() + _PATIENCE
    while is_group_alive(run.boot_id, run.pid_namespace, record.command_pid, record.command_started):
        if clock.monotonic() > deadline:
            raise ZrbStoreError(
                f"step {record.step} is running (process group {record.command_pid}): "
                "steps that run at the same time need different names"
            )
        clock.sleep(0.02)


@contextlib.contextmanager
def _watching(step: Step, runner: CommandRunner, parent: int) -> Iterator[None]:
    """End the command if the process that started this one is gone, or if the step may no longer write."""
    over = threading.Event()

    def watch() -> None:
        due = clock.monotonic() + _LOOK_AT_STORE
        while not clock.wait(over, _LOOK):
            may_go_on = os.getppid() == parent
            if may_go_on and clock.monotonic() >= due:
                due = clock.monotonic() + _LOOK_AT_STORE
                with contextlib.suppress(ZrbStoreError):  # the end of the step reports it
                    may_go_on = attempts.may_write(step.database, step.id)
            if not may_go_on:
                runner.stop()
                return

    thread = threading.Thread(target=watch, name="zrb-store-step", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _was_killed(outcome: Outcome) -> bool:
    """Whether a signal ended the command, or one that a shell ran for it: then nobody knows how far it came."""
    return outcome.timed_out or outcome.exit_code < 0 or 128 < outcome.exit_code <= 192


def _copy(held: IO[bytes]) -> None:
    held.seek(0)
    with contextlib.suppress(BrokenPipeError):
        shutil.copyfileobj(held, sys.stdout.buffer)
        sys.stdout.flush()


def _shown(words: Sequence[JsonValue]) -> str:
    return f"`{shlex.join(map(str, words))}`"
