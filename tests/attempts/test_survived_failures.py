"""Failures that a program survived in an attempt that was cut off: its next attempt meets them again (promise 20)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic_ai import ModelHTTPError

from tests.support.attempts import acting_as
from tests.support.commands import without_notices
from zrb_store import Store, step, wait
from zrb_store.codec import classes, encode, raised
from zrb_store.codec.classes import register_codec
from zrb_store.errors import InputsDiffer, InvalidArgument, Waiting
from zrb_store.operations.mark import mark_step
from zrb_store.queries.give_back import give_back_steps
from zrb_store.testing import Crash, crash_at, expire_lease

CutOff = Literal["lost", "interrupted", "waiting"]


class Refused(Exception):
    """An error whose class needs what its arguments do not have."""

    def __init__(self, *, code: int, hint: str = "") -> None:
        super().__init__(f"refused with {code}")
        self.code = code
        self.hint = hint


class Desk:
    """A program whose steps are counted, and fail while they are out of order."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.paid: list[str] = []
        self.broken: dict[str, Exception] = {}
        self.how: CutOff = "lost"
        self.is_cut_off = True  # whether `die` cuts it off

    def pay(self, name: str) -> str:
        self.paid.append(name)
        if name in self.broken:
            raise self.broken[name]
        return name

    async def pay_async(self, name: str) -> str:
        await asyncio.sleep(0)
        return self.pay(name)

    def primary_or_backup(self) -> str:
        """Be a program that pays elsewhere if it is refused, and is cut off after that."""
        try:
            return step("primary", self.pay, "primary")
        except Refused:
            step("backup", self.pay, "backup")
            self.die()
            return "backup"

    def die(self) -> None:
        """Cut the attempt off, the first time."""
        if self.how == "waiting":
            wait("go on")
        elif self.is_cut_off and self.how == "interrupted":
            raise KeyboardInterrupt
        elif self.is_cut_off:
            self.store.session("other").xcom["q"].max_deliveries = 1  # where it dies

    def run(self, program: Callable[[], Any]) -> Any:
        with self.store.session("night").run() as run, run.attempt("report"):
            return program()

    def cut_off(self, program: Callable[[], Any], how: CutOff = "lost") -> list[str]:
        """Run the program until `die`, put everything in order, and return what was paid."""
        self.how = how
        ends = {"lost": Crash, "interrupted": KeyboardInterrupt, "waiting": Waiting}[how]
        session = self.store.session("night")
        with pytest.raises(ends):
            (self._run_until_dead if how == "lost" else self.run)(program)
        if how == "lost":
            expire_lease(session)
        self.is_cut_off = False
        if how == "waiting":
            session.xcom["go on"].push("yes")
        self.broken.clear()
        found, self.paid = self.paid, []
        return found

    def _run_until_dead(self, program: Callable[[], Any]) -> None:
        """Run it in an attempt that nobody ends."""
        with acting_as(self.store.session("night").run().start().begin("report")), crash_at("queue:before"):
            program()


@pytest.fixture
def desk(store: Store, sound: None) -> Desk:
    return Desk(store)


@pytest.mark.promise(number=20)
@pytest.mark.parametrize("how", ["lost", "interrupted", "waiting"])
@pytest.mark.parametrize(
    "error",
    [
        Refused(code=503, hint="later"),
        ModelHTTPError(503, "gpt", {"error": "overloaded"}),
        ExceptionGroup("two", [Refused(code=1), ValueError(2)]),
        TimeoutError(),
        FileNotFoundError(2, "No such file", "a.csv"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_survived_failure_is_raised_again(desk: Desk, error: Exception, how: CutOff) -> None:
    seen: list[Exception] = []

    def program() -> str:
        try:
            answer = step("primary", desk.pay, "primary")
        except Exception as failure:  # noqa: BLE001 - of any class
            seen.append(failure)
            answer = step("backup", desk.pay, "backup")
        desk.die()
        return answer

    desk.broken["primary"] = error
    assert desk.cut_off(program, how) == ["primary", "backup"]
    assert desk.run(program) == "backup"
    assert desk.paid == []
    first, again = seen
    assert type(again) is type(first)
    assert (str(again), again.args[:1]) == (str(first), first.args[:1])
    assert vars(again) == vars(first)
    if isinstance(again, ExceptionGroup):
        assert [(type(one), str(one)) for one in again.exceptions] == [(Refused, "refused with 1"), (ValueError, "2")]


@pytest.mark.promise(number=20)
def test_a_loop_of_three_failures_is_three_failures_again(desk: Desk) -> None:
    caught: list[int] = []

    def program() -> list[str]:
        answers = []
        for name in ("a", "b"):
            for _ in range(3):
                try:
                    answers.append(step("ask", desk.pay, name))
                    break
                except Refused as error:
                    caught.append(error.code)
        desk.die()
        return answers

    desk.broken["a"] = Refused(code=503)
    assert desk.cut_off(program) == ["a", "a", "a", "b"]
    assert desk.run(program) == ["b"]
    assert (caught, desk.paid) == ([503] * 6, [])


@pytest.mark.promise(number=20)
def test_a_call_that_failed_twice_and_then_worked_does_so_again(desk: Desk) -> None:
    outcomes: list[str] = []

    def program() -> None:
        for number in range(3):
            try:
                desk.broken = {} if number == 2 or not desk.is_cut_off else {"a": Refused(code=number)}
                outcomes.append(step("ask", desk.pay, "a"))
                break
            except Refused as error:
                outcomes.append(str(error))
        desk.die()

    assert desk.cut_off(program) == ["a", "a", "a"]
    desk.run(program)
    assert outcomes == ["refused with 0", "refused with 1", "a"] * 2
    assert desk.paid == []


@pytest.mark.promise(number=20)
def test_a_survived_failure_is_raised_again_in_a_coroutine(desk: Desk) -> None:
    async def work() -> str:
        try:
            return await step("slow", slow)
        except TimeoutError:
            answer = await step("backup", desk.pay_async, "backup")
            desk.die()
            return answer

    async def slow() -> str:
        desk.pay("slow")
        async with asyncio.timeout(0 if desk.is_cut_off else 60):
            await asyncio.sleep(0.01)
        return "slow"

    assert desk.cut_off(lambda: asyncio.run(work())) == ["slow", "backup"]
    assert desk.run(lambda: asyncio.run(work())) == "backup"
    assert desk.paid == []


@pytest.mark.promise(number=20)
def test_the_failure_is_met_in_each_later_attempt_that_is_cut_off(desk: Desk) -> None:
    def program() -> None:
        try:
            step("primary", desk.pay, "primary")
        except Refused:
            step("backup", desk.pay, "backup")
        desk.die()
        step("more", desk.pay, "more")
        desk.die()

    desk.broken["primary"] = Refused(code=1)
    assert desk.cut_off(program) == ["primary", "backup"]
    desk.is_cut_off = True
    assert desk.cut_off(program) == []
    desk.run(program)
    assert desk.paid == ["more"]


@pytest.mark.promise(number=20)
def test_an_attempt_that_failed_by_itself_is_tried_anew(desk: Desk) -> None:
    """Also if it had met a failure of an earlier attempt again."""

    def program(*, dies: bool = False) -> None:
        errors = []
        for name in ("a", "b", "c"):
            try:
                step(f"load {name}", desk.pay, name)
            except Refused as error:
                errors.append(error)
        if dies:
            step("more", desk.pay, "more")
            desk.die()
        if errors:
            raise errors[0]

    desk.broken["b"] = Refused(code=1)
    with pytest.raises(Refused):
        desk.run(program)
    assert desk.paid == ["a", "b", "c"]
    assert desk.cut_off(lambda: program(dies=True)) == ["a", "b", "c", "b", "more"]
    with pytest.raises(Refused):
        desk.run(program)
    assert desk.paid == []
    desk.run(program)
    assert desk.paid == ["b"]


@pytest.mark.promise(number=20)
@pytest.mark.parametrize("kind", ["failed", "lost"])
def test_steps_in_finally_are_not_repeated(desk: Desk, kind: str) -> None:
    def program() -> None:
        step("lock", desk.pay, "lock")
        try:
            step("work", desk.pay, "work")
        finally:
            step("unlock", desk.pay, "unlock")
            if kind == "lost":
                desk.die()

    desk.broken["work"] = Refused(code=1)
    if kind == "failed":
        with pytest.raises(Refused):
            desk.run(program)
        desk.broken.clear()
        desk.paid.clear()
    else:
        assert desk.cut_off(program) == ["lock", "work", "unlock"]
        with pytest.raises(Refused):  # as it was about to be
            desk.run(program)
        assert desk.paid == []
    desk.run(program)
    assert desk.paid == ["work"]


@pytest.mark.promise(number=20)
def test_the_last_failure_was_not_survived(desk: Desk) -> None:
    def program() -> str:
        try:
            return step("primary", desk.pay, "primary")
        except Refused:
            desk.die()
            return step("backup", desk.pay, "backup")

    desk.broken["primary"] = Refused(code=1)
    assert desk.cut_off(program) == ["primary"]
    assert desk.run(program) == "primary"


@pytest.mark.promise(number=20)
@pytest.mark.filterwarnings("error")
def test_what_is_no_outcome_runs_again_without_a_word(desk: Desk) -> None:
    """Errors of this package, cancellation, an exit."""

    def generator() -> Any:
        yield 1

    def program() -> None:
        for name, function in {"generator": generator, "exit": leave}.items():
            try:
                step(name, function)
            except (InvalidArgument, SystemExit):
                desk.paid.append("caught")
        asyncio.run(cancelled())
        step("more", desk.pay, "more")
        desk.die()

    def leave() -> None:
        desk.paid.append("exit")
        raise SystemExit(3)

    async def cancelled() -> None:
        async def endless() -> None:
            desk.paid.append("endless")
            await asyncio.sleep(60)

        task = asyncio.ensure_future(step("endless", endless))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    paid = ["caught", "exit", "caught", "endless"]
    assert desk.cut_off(program) == [*paid, "more"]
    desk.run(program)
    assert desk.paid == paid


@pytest.mark.promise(number=20)
def test_what_cannot_be_raised_again_runs_again_and_is_announced(desk: Desk) -> None:
    class Local(Exception):
        """Of a function that has ended in the next process."""

    def program(argument: str = "x") -> None:
        for name, error in {"local": Local(), "lock": ValueError(threading.Lock()), "other": Refused(code=1)}.items():
            desk.broken = {name: error} if desk.is_cut_off else {}
            try:
                step(name, lambda *_, name=name: desk.pay(name), argument)
            except Exception:  # noqa: BLE001 - of any class
                continue
        step("more", desk.pay, "more")
        desk.die()

    assert desk.cut_off(program) == ["local", "lock", "other", "more"]
    with pytest.warns(RuntimeWarning) as warned:
        desk.run(lambda: program("y"))
    assert desk.paid == ["local", "lock", "other"]
    reasons = ["its arguments differ"] * 3
    assert [str(one.message).partition("raised again (")[2][: len("its arguments differ")] for one in warned] == reasons


@pytest.mark.promise(number=20)
def test_the_reason_names_what_is_missing(desk: Desk) -> None:
    class Local(Exception):
        pass

    with pytest.raises(raised.CannotRaise, match=r"no module has its class .*Local"):
        raised.decode_error(raised.encode_error(Local()))
    with pytest.raises(raised.CannotRaise, match=r"ValueError has what cannot be stored, \$\[0\]\[0\]: lock"):
        raised.decode_error(raised.encode_error(ValueError(threading.Lock())))
    text = raised.encode_error(Refused(code=1)).replace('"Refused"', '"Gone"')
    with pytest.raises(raised.CannotRaise, match=rf"its class {__name__}\.Gone is not loaded"):
        raised.decode_error(text)
    with pytest.raises(raised.CannotRaise, match="ValueError is larger than 100 bytes"):
        raised.decode_error(raised.encode_error(ValueError("x" * 100), limit=100))
    for damaged, reason in {"{}": r"it cannot be made again \(KeyError\)", "[]": "it is damaged"}.items():
        with pytest.raises(raised.CannotRaise, match=reason):
            raised.decode_error(damaged)


@dataclass
class Money:
    """A class to register."""

    cents: int


class WithSlot(Exception):
    """An error that has an attribute outside of its `__dict__`."""

    __slots__ = ("code",)

    code: int


def _private() -> type[Exception]:
    class Private(Exception):
        """An error whose class is known by another name than its own."""

    return Private


Public = _private()


@pytest.mark.promise(number=20)
def test_an_error_comes_back_with_its_slots_its_cause_and_the_class_of_a_public_name() -> None:
    error = Public("outer")
    error.__cause__ = cause = WithSlot("inner")
    cause.code = 3
    again = raised.decode_error(raised.encode_error(error))
    assert (type(again), again.args) == (Public, ("outer",))
    assert isinstance(again.__cause__, WithSlot)
    assert (again.__cause__.args, again.__cause__.code) == (("inner",), 3)
    del cause.code
    again = raised.decode_error(raised.encode_error(error))
    assert not hasattr(again.__cause__, "code")


@pytest.mark.promise(number=20)
def test_an_error_is_not_raised_again_where_the_class_of_an_argument_is_not_registered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as first_process:
        first_process.setattr(classes, "_by_class", dict(classes._by_class))
        first_process.setattr(classes, "_by_name", dict(classes._by_name))
        register_codec(Money)
        stored = raised.encode_error(ValueError(Money(3)))
        assert raised.decode_error(stored).args == (Money(3),)
    with pytest.raises(raised.CannotRaise, match="ValueError has what comes back as plain data: register the class"):
        raised.decode_error(stored)


@pytest.mark.promise(number=20)
def test_secrets_of_an_error_are_not_stored() -> None:
    error = Refused(code=1)
    error.hint = "postgresql://me:hunter2@db/x"
    vars(error)["headers"] = {"Retry-After": "3", "Set-Cookie": "session=1234"}
    vars(error)["api_key"] = "sk-1234567890"
    stored = raised.encode_error(error)
    assert "hunter2" not in stored
    assert "1234" not in stored
    assert vars(raised.decode_error(stored))["headers"] == {"Retry-After": "3"}


@pytest.mark.promise(number=20)
def test_a_person_marks_the_failed_step(desk: Desk) -> None:
    desk.broken["primary"] = Refused(code=1)
    desk.cut_off(desk.primary_or_backup)
    mark_step(desk.store.database, "night", "report", "primary", completed=True, result=encode("by hand"))
    assert desk.run(desk.primary_or_backup) == "by hand"
    assert desk.paid == []


@pytest.mark.promise(number=20)
def test_a_task_that_starts_over_forgets_its_failures(desk: Desk) -> None:
    desk.broken["primary"] = Refused(code=1)
    desk.cut_off(desk.primary_or_backup)
    session = desk.store.session("night")
    with session.run() as run:
        desk.store.database.transact(lambda transaction: give_back_steps(transaction, run.session_id, "report", "x"))
        with run.attempt("report"):
            assert desk.primary_or_backup() == "primary"


SCRIPT = """
    import os
    import sys

    from zrb_store import open_store, step

    class OfMain(Exception):
        def __init__(self, *, code):
            super().__init__(f"code {code}")
            self.code = code

    def ask():
        print("ask")
        if sys.argv[2] == "kill":
            raise OfMain(code=503)
        return "asked"

    with open_store(sys.argv[1]) as store, store.session("s").run() as run, run.attempt("t"):
        try:
            print(step("ask", ask))
        except OfMain as error:
            print(error.code, step("backup", str, "backup"))
        if sys.argv[2] == "kill":
            sys.stdout.flush()
            os.kill(os.getpid(), 9)
"""


@pytest.mark.promise(number=20)
@pytest.mark.slow
def test_a_class_of_main_in_a_process_that_is_killed(location: str, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def run(*how: str) -> tuple[int, str]:
        command = [sys.executable, str(script), location, *how]
        done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
        assert without_notices(done.stderr) == ""
        return done.returncode, done.stdout

    assert run("kill") == (-9, "ask\n503 backup\n")
    assert run("go") == (0, "503 backup\n")


@pytest.mark.promise(number=20)
def test_a_refusal_of_this_package_is_no_failure_of_the_task(desk: Desk) -> None:
    def program(argument: str = "x") -> str:
        try:
            step("primary", desk.pay, "primary")
        except Refused:
            step("backup", lambda _: desk.pay("backup"), argument)
            desk.die()
        return "backup"

    desk.broken["primary"] = Refused(code=1)
    assert desk.cut_off(program) == ["primary", "backup"]
    with pytest.raises(InputsDiffer):
        desk.run(lambda: program("y"))
    assert desk.run(program) == "backup"
    assert desk.paid == []
