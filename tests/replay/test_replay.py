"""`replay`: the scratch store is as the store was, and commands run there as they ran."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.attempts import acting_as, failing, start
from tests.support.commands import Commands
from tests.support.rows import all_rows, faults, states
from tests.support.scenarios import TASKS, Scenario, ScenarioRun, state, steps
from tests.support.scripts import Scripts
from zrb_store import Store, open_store, step
from zrb_store.replay.scratch import find_attempt, prepare
from zrb_store.run import RunSpec


@contextmanager
def replayed(store: Store, session: str, task: str, number: int, path: Path) -> Iterator[Store]:
    """Yield a new store that is ready for the replay of an attempt."""
    attempt = find_attempt(store.database, store.session(session).record(), task, number)
    with open_store(path) as scratch:
        prepare(store.database, scratch.database, attempt)
        yield scratch


_numbers = itertools.count()


@pytest.mark.long_on_postgresql
@pytest.mark.slow
@settings(max_examples=settings().max_examples // 8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scenario=st.lists(steps, min_size=6, max_size=25), choice=st.randoms(use_true_random=False))
@example([("begin", "a"), ("complete", "a"), ("rerun", "a")], random.Random(0))  # chooses a#2
def test_every_scratch_store_equals_the_scenario_until_that_attempt(
    store: Store, tmp_path: Path, scenario: Scenario, choice: object
) -> None:
    name = f"s{next(_numbers)}"
    whole = ScenarioRun(store, name)
    places = []
    for place, each in enumerate(scenario):
        before = dict(whole.attempts)
        whole.execute([each])
        places += [(place, task, one.number) for task, one in whole.attempts.items() if before.get(task) is not one]
    whole.end()
    of_session = [each for each in places if each[1] in TASKS]
    if not of_session:
        return
    place, task, number = choice.choice(of_session)  # type: ignore[attr-defined]
    oracle = ScenarioRun(store, f"{name}-until")
    oracle.execute(scenario[: place + 1])  # to begin it gives back earlier attempts, and does nothing else
    expected = state(store, oracle.session.name)
    oracle.end()
    with replayed(store, name, task, number, tmp_path / f"{name}.db") as scratch:
        assert state(scratch, name) == expected
        assert faults(scratch) == []
        with scratch.session(name).run() as run:
            assert run.begin(task).number == number
            run.end("failed")
    (tmp_path / f"{name}.db").unlink()


@pytest.mark.on_sqlite
def test_a_scratch_store_lacks_what_a_failed_attempt_pushed_elsewhere(store: Store, tmp_path: Path) -> None:
    inbox, log = store.session("inbox").xcom["files"], store.session("other").xcom["log"]
    inbox.push("kept")
    failing(start(store, "other"), "push", lambda: inbox.push("undone"))
    with store.session("night").run() as run, run.attempt("load"):
        log.push(inbox.pop())  # so the session of the failed attempt is also copied
    with replayed(store, "night", "load", 1, tmp_path / "scratch.db") as scratch:
        assert states(scratch, "inbox", "files") == [("kept", "live")]


@pytest.mark.on_sqlite
def test_a_scratch_store_has_what_running_attempts_had_pushed(store: Store, tmp_path: Path) -> None:
    queue = store.session("night").xcom["q"]
    with store.session("night").run() as run:
        with acting_as(run.begin("load")) as loading:
            queue.push("half")
        run.task("report", queue.pop)
        loading.complete()
    with replayed(store, "night", "report", 1, tmp_path / "scratch.db") as scratch:
        assert states(scratch, "night") == [("half", "live")]
        assert faults(scratch) == []


@pytest.mark.on_sqlite
@pytest.mark.promise(number=20)
def test_a_failure_that_its_task_survived_is_raised_again(store: Store, tmp_path: Path) -> None:
    ran = []

    def look() -> None:
        ran.append("look")
        raise ValueError("not there")

    def load(is_cut_off: bool) -> None:
        with suppress(ValueError):
            step("look", look)
        step("fetch", int)
        if is_cut_off:
            raise KeyboardInterrupt

    for is_cut_off in (True, False):
        with suppress(KeyboardInterrupt), store.session("night").run(task="etl") as run:
            run.task("load", load, is_cut_off)
    with (
        replayed(store, "night", "load", 2, tmp_path / "scratch.db") as scratch,
        scratch.session("night").run(task="etl") as run,
    ):
        run.task("load", load, False)
    assert ran == ["look"]


SCRIPT = """
zrb-store pop inbox files >>took
echo ran >>ran
zrb-store step dump -- sh -c 'echo dumped >>steps; zrb-store push @this out 1; echo result'
zrb-store step --once charge -- sh -c 'echo charged >>steps'
zrb-store push @this out 2
exit 3
"""

LOOKS = (("get", "night", "out", "--seq", "2"), ("get", "record-inbox", "files", "--seq", "1"))


@pytest.mark.slow
@pytest.mark.long_on_postgresql
def test_a_command_of_run_is_replayed(store: Store, tmp_path: Path, location: str, command: Commands) -> None:
    scripts = Scripts(tmp_path, location)
    scripts.write("script.sh", SCRIPT)
    store.session("inbox").xcom["files"].extend(["a", "b"])
    assert scripts.night().code == 3
    store.session("inbox").xcom["files"].clear()  # what has happened since does not matter
    before = all_rows(store)

    def replay(*options: str) -> tuple[int, str]:
        ended = scripts.run("zrb-store", "replay", "night/backup#1", "--yes", *options)
        return ended.code, ended.err + ended.out

    assert replay()[0] == 3
    code, said = replay("--diff", "--keep", "kept.db")
    assert (code, scripts.lines("took")) == (0, ["a"] * 3), said
    assert "night/backup#1 then: failed, CommandFailed; now: failed, CommandFailed" in said
    assert "`zrb-store resume" not in said
    assert scripts.lines("steps") == ["dumped", "charged"]
    kept = [scripts.run("zrb-store", *words, environment={"ZRB_STORE_URL": "kept.db"}) for words in LOOKS]
    assert [(one.code, one.out) for one in kept] == [(0, "2\n"), (0, "a\n")]
    # The steps of this attempt run again, but not the one that must not.
    assert replay("--diff", "--steps")[0] == 0
    assert scripts.lines("steps") == ["dumped", "charged", "dumped"]
    assert replay("--diff", "--steps", "--repeat-once")[0] == 0
    assert scripts.lines("steps") == ["dumped", "charged", "dumped", "dumped", "charged"]
    # A `once` step that the record does not have is refused.
    scripts.write("script.sh", SCRIPT.replace("charge", "other"))
    code, said = replay()
    assert "is declared `once`, and a replay runs no such step" in said
    assert all_rows(store) == before
    assert len(scripts.lines("ran")) == 6


@pytest.mark.slow
@pytest.mark.long_on_postgresql
def test_a_delivery_is_replayed(store: Store, tmp_path: Path, location: str) -> None:
    scripts = Scripts(tmp_path, location)
    files = store.session("inbox").xcom["files"]
    files.extend(["good", "bad", "good"])
    convert = 'value=$(cat); zrb-store push @this done "\\"$value {}\\""; [ "$value" != bad ]'
    consume = ("zrb-store", "consume", "inbox", "files", "--all", "--as", "worker", "--", "sh", "-c", convert)
    assert scripts.run(*consume).code == 1
    assert list(files) == ["bad"]
    files.push("later")
    before = all_rows(store)
    for number, code in ((1, 0), (2, 1), (3, 0)):
        name = f"worker/inbox/files#{number}"
        assert scripts.run("zrb-store", "replay", name, "--yes").code == code
        ended = scripts.run("zrb-store", "replay", name, "--diff", "--yes")
        assert ended.code == 0, ended
    assert all_rows(store) == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["s/task#1"], 3, "s was run by a Python program"),
        (["s/task#7"], 3, "there is no attempt s/task#7, or it was pruned"),
        (["s/task/1#1"], 2, "s/task/1#1 is a step: replay the attempt of task task"),
        (["s/task"], 2, "is not of the form SESSION/TASK#N"),
        (["hand/sent#1"], 2, "hand/sent#1 was marked by hand: nothing ran that could run again"),
        (["worker/inbox/files#1"], 3, "worker was run by a Python program"),
        (["robot/inbox/mails#1"], 65, "the command of session robot has a secret, which is not stored"),
        (["copy/done#1"], 2, "copy/done#1 is a copy in a fork: replay the attempt of session s"),
        (["night/backup#1"], 2, "what night/backup#1 does outside of the store is real, and nobody can be asked"),
        (["night/backup#1", "--pdb"], 2, "are for tasks of zrb: this is a command"),
        (["night/backup#1", "--keep", "/"], 2, "/ exists: --keep makes a new file"),
    ],
)
@pytest.mark.on_sqlite
def test_what_cannot_be_replayed_is_refused(
    store: Store, command: Commands, words: list[str], code: int, said: str
) -> None:
    with store.session("s").run() as run:
        run.task("done", lambda: 1)
        with run.attempt("task") as attempt:
            attempt.step("one", lambda: 1)
    store.fork("s", from_task="task", name="copy")
    with store.session("night").prepare(RunSpec(task="backup", path=["--", "true"])) as run:
        run.task("backup", lambda: 1)
    store.session("hand").xcom["out"].push(1)
    command.ok("mark", "hand", "sent", "completed", "--new")
    store.session("inbox").xcom["files"].push("a")
    with store.session("worker").run() as run:
        for delivery in run.consume(store.session("inbox").xcom["files"], wait=0):
            with delivery:
                pass
    store.session("inbox").xcom["mails"].push("a")
    consume = ["zrb-store", "consume", "inbox", "mails", "--as", "robot", "--", "curl", "--token=hunter22222"]
    with store.session("robot").prepare(RunSpec(origin="cli", command=consume)) as run:
        next(run.consume(store.session("inbox").xcom["mails"], wait=0)).complete()
    ended = command("replay", *words)
    assert (ended.code, said in ended.err) == (code, True), ended
