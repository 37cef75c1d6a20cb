"""`step` and `wait`: steps of the attempt that this process runs in, which `ZRB_STORE_ATTEMPT` names."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shlex
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from zrb_store import codec
from zrb_store.attempt import Attempt, Step, record_command
from zrb_store.attempt.exact_steps import ExactStep, open_exact
from zrb_store.attempt.retries import Retries
from zrb_store.attempt.steps import StoredResult
from zrb_store.attempt.waits import wait_in
from zrb_store.codec.arguments import positional_and_named, stored_arguments
from zrb_store.db.clock import clock
from zrb_store.errors import InputsDiffer, InvalidArgument, ValueTooLarge, ZrbStoreError
from zrb_store.masking import ErrorText, is_secret_name, mask_command, remember
from zrb_store.names import check_step_name
from zrb_store.process import identity, is_group_alive
from zrb_store.queries import attempts, sessions, steps
from zrb_store.queries.steps import NewStep, StepRecord
from zrb_store.records import JsonValue
from zrb_store.shell.child import EndingSignals
from zrb_store.shell.command import CommandRunner, Outcome, check_command, environment_of, text_or_bytes
from zrb_store.shell.stored_step import PIECE, changed, fact, finish, write
from zrb_store.store import Store
from zrb_store.xcom import Xcoms

_LOOK = 0.5  # seconds between two looks at the parent process and at the store
TIMED_OUT = 124  # the exit code of timeout(1)
_PATIENCE = 5.0  # seconds in which a step that has ended is recorded, and the guard of one that was killed ends it


@dataclass(frozen=True)
class ShellStep:
    """A command that is to run as a step."""

    name: str
    argv: Sequence[str]
    once: bool
    produces: Sequence[str]  # files that it makes; if they are changed, it runs again, with all that began after it
    timeout: float | None
    retries: Retries  # of a command that fails
    stdin: int | None  # the descriptor of its stdin; None for an empty one
    verbose: bool  # whether to say so if it does not run
    tell: Callable[[str], object]  # is called with messages

    def run(self, store: Store, print_again: Callable[[str], object]) -> int:
        """Run the step and return its exit code; if it has completed before, print its encoded result instead."""
        parent = os.getppid()
        attempt = _surrounding(store, check_step_name(self.name))
        self._refuse_stdout_as_product()
        changes: list[str] = []  # why it runs again

        def change(before: str) -> str | None:
            changes[:] = filter(None, [self._change(attempt, before)])
            return changes[0] if changes else None

        def begins(_: StepRecord | None, given_back: bool) -> None:
            if given_back and changes:
                self.tell(f"step {self.name} runs again, as will the steps after it: {changes[0]}")

        call = ExactStep(
            NewStep(self.name, self._arguments({}), self.once),
            change,
            compares_kept=True,
            notes_change=True,
            begins=begins,
            settle=functools.partial(_settle, attempt),
        )
        for number in itertools.count(1):
            with open_exact(attempt, call) as step:
                if isinstance(step, StoredResult):
                    self._print(step.result, print_again)
                    return 0
                pause = self.retries.pause(number)
                outcome = self._execute(step, parent, is_last=pause is None)
            if outcome.error is None or pause is None or outcome.stopped or (self.once and _was_killed(outcome)):
                break
            self.tell(f"step {self.name}: {outcome.error}; it is tried again in {pause:g} s")
            clock.sleep(pause)
        return TIMED_OUT if outcome.timed_out else outcome.shell_exit_code

    def _arguments(self, produced: dict[str, JsonValue]) -> str:
        return stored_arguments(mask_command(self.argv), {"produces": produced} if produced else {})

    def _refuse_stdout_as_product(self) -> None:
        """Raise an error if the shell writes stdout to a file of `produces`: it has emptied that already."""
        for path in map(Path, self.produces):
            out = os.fstat(1)
            if stat.S_ISREG(out.st_mode) and path.exists() and os.path.samestat(path.stat(), out):
                raise InvalidArgument(
                    f"step {self.name} --produces {path}, but its stdout goes to that file, which the shell empties "
                    "each time before the step begins, so it would always run again: let COMMAND write the file, "
                    f"as in `-- sh -c '... > {path}'`"
                )

    def _change(self, attempt: Attempt, before: str) -> str | None:
        """Refuse another command than that which has completed, and return why it runs again, if it does."""
        (now, _), (then, named) = map(positional_and_named, (self._arguments({}), before))
        if now != then:
            old, new = (shlex.join(map(str, words)) for words in (then, now))
            from zrb_store.inspect.advice import resume

            is_command = bool(sessions.get(attempt.database, attempt.session).argv)
            again = resume(attempt.session, "--from", shlex.quote(attempt.task), uses_zrb=not is_command)
            raise InputsDiffer(
                f"step {self.name} has completed with the command `{old}`, not `{new}`: if it is another step, give it "
                "another name, with what differs in it; if its command differs in each run, as by mktemp, make what "
                f"differs in a step; to start the task over: {again}"
            )
        return changed(self.produces, named.get("produces"))

    def _print(self, result: str, print_again: Callable[[str], object]) -> None:
        if result == "null":
            self.tell(f"step {self.name} has completed before, but its output is not stored: nothing is printed")
        else:
            print_again(result)
        finish(self.name, self.stdin, self.tell if self.verbose and result != "null" else None)

    def _execute(self, step: Step, parent: int, *, is_last: bool) -> Outcome:
        """Run the command once, and record how it ended."""
        check_command(self.argv)  # a step that has completed does not need it any more
        stdout = bytearray()

        def keep(stream: str, data: bytes) -> None:
            if stream == "stdout" and len(stdout) <= step.xcom.max_value:
                stdout.extend(data)

        with contextlib.ExitStack() as stack:
            held = None
            if self.retries.most:  # what a try that fails prints must not come before what the next one prints
                from tempfile import TemporaryFile

                held = stack.enter_context(TemporaryFile())
            runner = CommandRunner(
                self.argv, stdout=(held or sys.stdout).fileno(), stderr=sys.stderr.fileno(), timeout=self.timeout
            )
            for each in (runner, EndingSignals(runner.pass_on, runner.pass_on), _watching(step, runner, parent)):
                stack.enter_context(each)
            started = functools.partial(record_command, step)
            outcome = runner.run(None, environment_of(step), started, stdin=self.stdin, keep=keep)
            try:
                if outcome.error is not None:
                    is_unknown = outcome.stopped or (self.once and _was_killed(outcome))
                    step.fail(outcome.error_text(), "interrupted" if is_unknown else "failed")
                else:
                    self._complete(step, bytes(stdout))
                    if runner.output_error is not None:  # the step stands, and is printed by the next run of the script
                        raise ZrbStoreError(f"the output of step {self.name} cannot be written: {runner.output_error}")
            finally:
                if held is not None and (is_last or outcome.error is None):
                    held.seek(0)
                    for piece in iter(functools.partial(held.read, PIECE), b""):
                        write(piece)
        return outcome

    def _complete(self, step: Step, stdout: bytes) -> None:
        try:
            produced: dict[str, JsonValue] = {path: fact(path) for path in map(os.path.abspath, self.produces)}
        except InvalidArgument as error:
            text = f"step {self.name} has not produced what it should: {error}"
            step.fail(ErrorText("NotProduced", text, text), "interrupted" if self.once else "failed")
            raise ZrbStoreError(text) from None
        limit = step.xcom.max_value
        try:
            result = codec.encode(text_or_bytes(stdout), limit=limit)
        except ValueTooLarge:
            then = "mark it before the task's next attempt" if self.once else "it runs again in the task's next attempt"
            then = "it is kept without it" if produced else then
            self.tell(
                f"step {self.name}: its output is over the limit of {limit:,} bytes (ZRB_STORE_MAX_VALUE): {then}"
            )
            result = codec.encode(None)._replace(restorable=bool(produced))
        step.complete(result, arguments=self._arguments(produced) if produced else None)


def wait(store: Store, queue: str, timeout: timedelta | None, say: str | None, name: str | None) -> str:
    """Return the encoded value that the task of `run` waits for, which this process runs in; raise as `wait` does."""
    attempt = _surrounding(store, name or f"wait {queue}")
    if not sessions.get(store.database, attempt.session).argv:
        raise ZrbStoreError(
            f"{attempt.full_name} is no task of `zrb-store run`: a task of zrb calls `wait` in its action, and a "
            "delivery cannot wait"
        )
    for known in steps.of_attempt(store.database, attempt.id).values():
        if known.status == "running":
            with contextlib.suppress(ZrbStoreError):  # `wait_in` refuses to wait beside it
                _settle(attempt, known)
    return wait_in(attempt, queue, timeout, say, name=name)


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
    given = codec.decode(sessions.get(store.database, parent.session).inputs or "{}")
    remember(*(os.environ.get(each, "") for each in given if is_secret_name(each)))  # of `run`, by `--input`
    queues = Xcoms(store.database, parent.session, store.max_value)
    attempt = Attempt(queues, parent.id, parent.task, parent.number, parent.fence)
    attempt.steps.shared = attempt.steps.in_doubt = True  # other processes begin steps of it
    if (observer := store.database.observer) is not None:
        attempt.span = observer.around()
    return attempt


def _settle(attempt: Attempt, known: StepRecord) -> None:
    """Wait a moment until the process of a step records its end; if that has died, end it. Raise if it works on."""
    me, deadline = identity(), clock.monotonic() + _PATIENCE
    step: StepRecord | None = known
    while step is not None and step.id == known.id and step.status == "running":
        if clock.monotonic() < deadline:
            clock.sleep(0.02)
            step = attempt.steps.newest(known.key)
            continue
        # Without a recorded command, none has begun.
        if step.command_pid is not None and is_group_alive(
            me.boot_id, me.pid_namespace, step.command_pid, step.command_started
        ):
            raise attempt.steps.running_error(known.step)
        attempt.database.transact(functools.partial(attempt.steps.end_dead, known=step))
        return


@contextlib.contextmanager
def _watching(step: Step, runner: CommandRunner, parent: int) -> Iterator[None]:
    """End the command if the process that started this one is gone, or if the step may no longer write."""
    over = threading.Event()

    def watch() -> None:
        while not clock.wait(over, _LOOK):
            with contextlib.suppress(ZrbStoreError):  # the end of the step reports it
                if os.getppid() != parent or not attempts.may_write(step.database, step.id):
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
