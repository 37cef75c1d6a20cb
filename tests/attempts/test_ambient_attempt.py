"""A child process of an attempt: what it does belongs to the attempt while the attempt runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.attempts import Broken, acting_as, start
from tests.support.processes import Child
from tests.support.rows import all_rows, states
from tests.support.runners import work_for_an_attempt
from zrb_store import Attempt, AttemptClosed, InvalidArgument, LeaseLost, Store, open_store

pytestmark = pytest.mark.long_on_postgresql


class Command:
    """A command that was started by the attempt."""

    def __init__(self, location: str, attempt: Attempt) -> None:
        self._child = Child(work_for_an_attempt, location, attempt.token)

    def do(self, session: str, queue: str, action: str, *arguments: object) -> Any:
        """Return what an operation in the child process returns, or raise its exception."""
        self._child.send((session, queue, action, *arguments))
        answer = self._child.receive()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.send(None)
        with self._child:
            assert self._child.join() == 0


@pytest.fixture
def attempt(store: Store) -> Attempt:
    store.session("inbox").xcom["q"].extend(["a", "b", "c"])
    return start(store, "flow").begin("load")


@pytest.fixture
def command(location: str, attempt: Attempt) -> Iterator[Command]:
    with Command(location, attempt) as started:
        yield started


def test_what_it_does_is_given_back_with_the_attempt(store: Store, attempt: Attempt, command: Command) -> None:
    assert command.do("inbox", "q", "pop") == "a"
    command.do("flow", "out", "push", 1)
    command.do("inbox", "q", "rotate")
    assert list(store.session("inbox").xcom["q"]) == ["c", "b"]
    attempt.fail(Broken())
    assert list(store.session("inbox").xcom["q"]) == ["a", "b", "c"]
    assert states(store, "flow", "out") == [(1, "live")]
    start(store, "flow")
    assert list(store.session("inbox").xcom["q"]) == ["a", "b", "c"]
    assert states(store, "flow", "out") == [(1, "retracted")]


def test_what_it_does_stays_if_the_attempt_completes(store: Store, attempt: Attempt, command: Command) -> None:
    assert command.do("inbox", "q", "pop") == "a"
    with acting_as(attempt):
        assert store.session("inbox").xcom["q"].pop() == "b"
    assert command.do("inbox", "q", "pop") == "c"
    attempt.complete()
    start(store, "flow")
    assert list(store.session("inbox").xcom["q"]) == []


@pytest.mark.parametrize("end", ["completed", "failed", "taken over", "removed"])
def test_a_child_that_outlives_its_attempt_writes_nothing(
    store: Store, attempt: Attempt, command: Command, end: str
) -> None:
    command.do("inbox", "q", "pop")
    error: type[Exception] = AttemptClosed
    if end == "completed":
        attempt.complete()
    elif end == "failed":
        attempt.fail(Broken())
    elif end == "taken over":
        start(store, "flow")
        error = LeaseLost
    else:
        store.database.transact(lambda t: t.driver.execute("DELETE FROM zrb_session WHERE name = 'flow'"))
    before = all_rows(store)
    for queue in ("q", "new"):
        for action, *arguments in (("push", 1), ("extend", [1]), ("set", 1), ("appendleft", 1)):
            with pytest.raises(error):
                command.do("inbox", queue, action, *arguments)
    for action in ("pop", "popright", "clear", "rotate"):
        with pytest.raises(error):
            command.do("inbox", "q", action)
    with pytest.raises(error):
        command.do("new-session", "q", "push", 1)
    assert all_rows(store) == before
    assert command.do("inbox", "q", "peek") in ("a", "b")


def test_a_child_started_after_the_end(store: Store, location: str, attempt: Attempt) -> None:
    attempt.complete()
    with Command(location, attempt) as command:
        assert command.do("inbox", "q", "peek") == "a"
        with pytest.raises(AttemptClosed, match="flow/load#1 is completed"):
            command.do("inbox", "q", "pop")


def test_its_own_attempt_takes_precedence(
    store: Store, location: str, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zrb that a task starts has its own session, whose parent is the attempt."""
    monkeypatch.setenv("ZRB_STORE_URL", location)
    monkeypatch.setenv("ZRB_STORE_ATTEMPT", attempt.token)
    with open_store() as child:
        with child.session("inner").run() as run, run.attempt("load"):
            assert child.session("inbox").xcom["q"].pop() == "a"
        assert child.session("inner").record().parent == "flow/load#1"
        assert child.session("inbox").xcom["q"].pop() == "b"
    start(store, "flow")
    assert list(store.session("inbox").xcom["q"]) == ["b", "c"]


def test_an_attempt_of_another_store_does_not_end_it(
    store: Store, location: str, attempt: Attempt, monkeypatch: pytest.MonkeyPatch, sqlite_template: Any, tmp_path: Any
) -> None:
    monkeypatch.setenv("ZRB_STORE_URL", location)
    monkeypatch.setenv("ZRB_STORE_ATTEMPT", attempt.token)
    (tmp_path / "other.db").write_bytes(sqlite_template.read_bytes())
    with open_store() as child, open_store(tmp_path / "other.db") as other:
        assert other.parent_attempt is None
        with other.session("s").run() as run, run.attempt("task"):
            assert child.session("inbox").xcom["q"].pop() == "a"
    start(store, "flow")
    assert list(store.session("inbox").xcom["q"]) == ["a", "b", "c"]


@pytest.mark.parametrize("where", ["{folder}/link/store.db", "{folder}/real/../real/store.db", "sqlite:///{real}"])
def test_a_file_is_one_store_however_it_is_named(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    real = tmp_path / "real" / "store.db"
    check_same_store(str(real), where.format(folder=tmp_path, real=real), monkeypatch)


def test_a_server_is_one_store_however_it_is_named(new_postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_same_store(new_postgres, new_postgres.replace("postgresql+psycopg:", "postgresql:"), monkeypatch)


def check_same_store(location: str, another_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(location) as store, open_store(another_name) as same:
        store.session("inbox").xcom["q"].push("a")
        run = store.session("flow").run().start()
        with acting_as(run.begin("load")) as attempt:
            assert same.session("inbox").xcom["q"].pop() == "a"
        monkeypatch.setenv("ZRB_STORE_URL", another_name)
        monkeypatch.setenv("ZRB_STORE_ATTEMPT", attempt.token)
        with open_store(location) as child:
            assert child.parent_attempt is not None
            child.session("inbox").xcom["q"].push("b")
        run.end("failed")
        start(store, "flow")
        assert list(same.session("inbox").xcom["q"]) == ["a"]


@pytest.mark.parametrize("token", ["flow", "flow/load", "flow/load#1", "flow/load#x@1", "flow/load#1@x", "load#1@1"])
def test_a_damaged_token_in_the_environment_is_refused(
    location: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZRB_STORE_URL", location)
    monkeypatch.setenv("ZRB_STORE_ATTEMPT", token)
    with pytest.raises(InvalidArgument, match="not SESSION/TASK#NUMBER@FENCE: unset it"):
        open_store()


@pytest.mark.parametrize("token", ["flow/load#2@1", "flow/load#1@2", "flow/other#1@1", "other/load#1@1"])
def test_a_token_of_an_attempt_that_there_is_not(
    location: str, attempt: Attempt, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZRB_STORE_URL", location)
    monkeypatch.setenv("ZRB_STORE_ATTEMPT", token)
    with pytest.raises(AttemptClosed, match="unset ZRB_STORE_ATTEMPT to work outside of an attempt"):
        open_store()
    open_store(read_only=True).close()
