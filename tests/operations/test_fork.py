"""A fork equals its source before a task first started, and is independent of it."""

from __future__ import annotations

import itertools

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.commands import Commands
from tests.support.rows import query, states
from tests.support.scenarios import Scenario, ScenarioRun, fail_at_load, first_starts, state, steps
from zrb_store import InvalidArgument, SessionNotFound, Store, TaskNotFound, ZrbStoreError, open_store
from zrb_store.db import tables as t
from zrb_store.queries import attempts


def test_a_fork_begins_where_the_task_first_started(store: Store) -> None:
    fail_at_load(store)
    forked = store.fork("etl", from_task="load")
    assert forked.name == "etl-fork"
    assert list(forked.xcom["in"]) == [2, 3]
    assert list(forked.xcom["extract"]) == [{"rows": 2}]
    assert list(forked.xcom["out"]) == []
    record, source = forked.record(), store.session("etl").record()
    assert (record.status, record.forked_from, record.fence) == ("open", "etl", 0)
    assert (record.task, record.path, record.inputs) == (source.task, source.path, source.inputs)
    assert record.tasks == dict.fromkeys(("extract", "load", "report"), "not started")
    with forked.run(task="load") as run:
        done = run.completed("extract")
        assert done is not None
        assert run.result(done) == {"rows": 2}
        assert run.completed("load") is None
        with run.attempt("load") as load:
            assert load.xcom["extract"].pop() == {"rows": 2}
            load.complete()
    assert forked.status == "completed"
    assert list(store.session("etl").xcom["in"]) == [3], "the source must keep what the failed attempt did"


def test_results_that_were_taken_come_along(store: Store) -> None:
    with store.session("s").run() as run:
        run.task("one", lambda: 1)
        with run.attempt("two") as two:
            assert two.xcom["one"].pop() == 1
            two.complete(2)
        run.task("three", lambda: 3)
    forked = store.fork("s", from_task="three", name="again")
    assert list(forked.xcom["one"]) == []
    with forked.run() as run:
        assert run.task("one", lambda: 0) == 1
        assert run.task("two", lambda: 0) == 2
        # A completed attempt of the copy can be given back like any other.
        done = run.completed("two")
        assert done is not None
        run.give_back(done, "forced")
        assert list(forked.xcom["one"]) == [1]
        assert run.task("three", lambda: 33) == 33


def test_a_later_attempt_does_not_move_the_moment(store: Store) -> None:
    fail_at_load(store)
    with store.session("etl").run() as run:
        run.task("load", lambda: "loaded")
    assert list(store.fork("etl", from_task="load").xcom["in"]) == [2, 3]


def test_what_was_given_back_later_had_completed_then(store: Store) -> None:
    session = store.session("s")
    session.xcom["q"].extend([1, 2])
    with session.run() as run:
        with run.attempt("a") as attempt:
            attempt.complete(attempt.xcom["q"].pop())
        run.task("b", lambda: None)
        done = run.completed("a")
        assert done is not None
        run.give_back(done, "forced")
    assert list(session.xcom["q"]) == [1, 2]
    forked = store.fork("s", from_task="b")
    assert states(store, forked.name) == [(1, "taken"), (2, "live")]
    with forked.run() as run:
        assert run.task("a", lambda: 0) == 1


def test_a_fork_of_a_live_session_leaves_it_alone(store: Store) -> None:
    session = store.session("s")
    with session.run() as run, run.attempt("a") as attempt:
        attempt.xcom["q"].push(1)
        with open_store(store.database.url.render_as_string(hide_password=False)) as other:
            assert list(other.fork("s", from_task="a").xcom["q"]) == []
    assert list(session.xcom["q"]) == [1]


def test_copied_attempts_give_nothing_back(store: Store) -> None:
    inbox = store.session("inbox").xcom["files"]
    inbox.extend(["x", "y"])
    with store.session("s").run() as run:
        with run.attempt("take") as take:
            take.complete(inbox.pop())
        run.task("use", lambda: None)
    forked = store.fork("s", from_task="use")
    with forked.run() as run:
        done = run.completed("take")
        assert done is not None
        run.give_back(done, "forced")
    assert list(inbox) == ["y"], "the copied attempt `take` did not take x"
    with store.session("s2").run() as run, run.attempt("t") as attempt:
        assert store.session("s").xcom["take"].pop() == "x"
        attempt.complete()
    assert list(store.session("s-fork").xcom["take"]) == []


def test_a_copied_attempt_has_all_that_the_attempt_was(store: Store) -> None:
    with store.session("s").run() as run:
        run.task("load", lambda: 1)
        run.task("use", lambda: None)
    others = {"code": "its code", "inside": "its task", "attributes": '{"by": 1}', "say_digest": "its digest"}
    store.database.execute(sa.update(t.attempt).values(others))
    store.fork("s", from_task="use")
    source, copy = (
        dict(zip(t.attempt.c.keys(), row, strict=True))
        for row in query(store, "SELECT * FROM zrb_attempt WHERE task = 'load' ORDER BY id")
    )
    own = {"id", "session_id", "run_id", "fence", "result_queue_id"}
    assert {name for name in source if source[name] != copy[name]} == own
    assert (copy["run_id"], copy["fence"], copy["inside"]) == (None, 0, "its task")


def test_forks_are_numbered_and_bad_names_are_refused(store: Store) -> None:
    fail_at_load(store)
    assert [store.fork("etl", from_task="load").name for _ in range(3)] == ["etl-fork", "etl-fork-2", "etl-fork-3"]
    with pytest.raises(ZrbStoreError, match="there is a session etl-fork already: choose another --name"):
        store.fork("etl", from_task="load", name="etl-fork")
    with pytest.raises(InvalidArgument):
        store.fork("etl", from_task="load", name="not a name")
    with pytest.raises(SessionNotFound):
        store.fork("nowhere", from_task="load")
    with pytest.raises(TaskNotFound, match="report has not started in session etl; these have: extract, load"):
        store.fork("etl", from_task="report")


def test_the_command_forks_a_session_by_its_full_name(command: Commands, store: Store) -> None:
    fail_at_load(store)
    assert command.ok("fork", "etl", "--from", "load", "--name", "again") == "again\n"
    assert list(store.session("again").xcom["in"]) == [2, 3]
    assert command("fork", "et", "--from", "load").code == 3, "a command that changes a session needs its full name"
    assert command("fork", "etl", "--from", "lod").code == 3
    assert command("fork", "etl").code == 2


# -- compared with a second session that gets the same operations only until the task first starts


_numbers = itertools.count()


@pytest.mark.slow
@settings(max_examples=settings().max_examples // 6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scenario=st.lists(steps, min_size=4, max_size=25))
def test_every_fork_equals_the_scenario_until_that_task(store: Store, scenario: Scenario) -> None:
    name = f"s{next(_numbers)}"
    whole = ScenarioRun(store, name)
    whole.execute(scenario)
    whole.end()
    for task, place in first_starts(scenario):
        oracle = ScenarioRun(store, f"{name}-until-{task}")
        oracle.execute(scenario[:place])
        oracle.give_back_all()
        oracle.end()
        forked = store.fork(name, from_task=task, name=f"{name}-fork-{task}")
        assert state(store, forked.name) == state(store, oracle.session.name)
    for earlier, later in itertools.pairwise(task for task, _ in first_starts(scenario)):
        if attempts.by_name(store.database, f"{name}-fork-{later}", earlier, 1) and not _others_work(scenario):
            again = store.fork(f"{name}-fork-{later}", from_task=earlier)
            assert state(store, again.name) == state(store, f"{name}-fork-{earlier}"), "forks of source and fork differ"


def _others_work(scenario: Scenario) -> bool:
    # In a fork, takes by attempts of other sessions are final. A fork of that fork cannot give them back.
    return any(task == "other" for _, task, *_ in scenario)
