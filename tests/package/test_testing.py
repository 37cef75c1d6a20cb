"""The testing tools for users: every point is known and reached, and a program can crash at each."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import zrb_store
from zrb_store import InvalidArgument, SessionCompleted, Store, open_store
from zrb_store.runtime import lease
from zrb_store.testing import POINTS, Crash, crash_at, expire_lease, short_lease, temporary_store

PACKAGE = Path(zrb_store.__file__).parent


def points_in_source() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            names = [str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)]
            match node.func:
                case ast.Name("failpoint"):
                    yield from names
                case ast.Attribute(attr="transact"):
                    yield from (f"{name}:{place}" for name in names for place in ("before", "inside", "after"))


@pytest.mark.slow
def test_points_are_those_of_the_source() -> None:
    assert set(POINTS) == set(points_in_source())
    assert len(POINTS) == len(set(POINTS))


def work(store: Store) -> None:
    """Finish the session, whatever was done before."""
    session = store.session("nightly")
    with contextlib.suppress(SessionCompleted), session.run() as run:
        run.task("extract", lambda: [1, 2, 3])
        if not run.completed("load"):
            with run.attempt("load") as attempt:
                session.xcom["log"].push("loading")
                attempt.complete(sum(session.xcom["extract"].pop()))


# The points that `work` reaches.
REACHED = [
    point
    for point in POINTS
    if point.split(":")[0] in ("start", "begin", "create", "push", "pop", "complete", "end")
    and point not in ("push:inside", "pop:inside", "begin:inside")
]


@pytest.mark.promise(number=2)
@pytest.mark.parametrize("point", REACHED)
def test_work_that_died_anywhere_is_finished_by_the_next_run(store: Store, point: str) -> None:
    with pytest.raises(Crash), crash_at(point):
        work(store)
    if store.sessions():
        expire_lease(store.session("nightly"))
    work(store)
    session = store.session("nightly")
    assert session.status == "completed"
    assert {name: list(queue) for name, queue in session.xcom.items()} == {
        "extract": [],
        "log": ["loading"],
        "load": [6],
    }


def test_nothing_is_written_after_a_crash(store: Store) -> None:
    queue = store.session("s").xcom["q"]
    queue.push(1)
    with crash_at("push:after", visit=2):
        queue.push(2)
        with pytest.raises(Crash):
            queue.push(3)
        with pytest.raises(Crash):
            queue.push(4)
    queue.push(5)
    assert list(queue) == [1, 2, 3, 5]


def test_unknown_point_is_refused() -> None:
    with (
        pytest.raises(InvalidArgument, match="no point 'complete:halfway': use one of ack:before"),
        crash_at("complete:halfway"),
    ):
        pass


def test_temporary_store_is_the_default_store_meanwhile() -> None:
    with temporary_store() as store:
        store.session("s").xcom["q"].push(1)
        with open_store() as same:
            assert list(same.session("s").xcom["q"]) == [1]
        path = Path(os.environ["ZRB_STORE_URL"])
        assert path.exists()
    assert not path.parent.exists()
    assert "ZRB_STORE_URL" not in os.environ


def test_temporary_store_has_nothing_to_do_with_the_attempt_that_runs_the_tests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZRB_STORE_ATTEMPT", "nightly/test#1@1")
    with temporary_store() as store:
        store.session("s").xcom["q"].push(1)
    assert os.environ["ZRB_STORE_ATTEMPT"] == "nightly/test#1@1"


def test_short_lease_ends_with_its_block() -> None:
    with short_lease(2):
        assert lease.duration_in_micros() == 2_000_000
    assert lease.duration_in_micros() == 60_000_000


def run_python(code: str, words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ZRB_STORE_TESTING": words, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def test_variable_kills_a_real_process(location: str) -> None:
    code = f"""
import zrb_store.testing
from zrb_store import open_store
queue = open_store({location!r}).session("s").xcom["q"]
for number in range(5):
    queue.push(number)
"""
    assert run_python(code, "crash_at=push:after#3").returncode == -signal.SIGKILL
    with open_store(location) as store:
        assert list(store.session("s").xcom["q"]) == [0, 1, 2]


@pytest.mark.slow
def test_variable_shortens_the_lease(tmp_path: Path) -> None:
    code = f"""
from zrb_store import open_store
from zrb_store.runtime import lease
open_store({str(tmp_path / "s.db")!r})
import zrb_store.testing
print(lease.duration_in_micros())
"""
    assert run_python(code, "lease=1.5").stdout == "1500000\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("crash_at=nowhere", "there is no point 'nowhere'"),
        ("crash_at=push:after#soon", "invalid literal"),
        ("lease=long", "could not convert"),
        ("faster", "faster is not known"),
    ],
)
def test_variable_with_a_mistake_is_refused(words: str, says: str, tmp_path: Path) -> None:
    result = run_python("import zrb_store.testing", words)
    assert "InvalidArgument" in result.stderr
    assert says in result.stderr


@pytest.mark.slow
def test_nothing_is_read_or_done_without_the_variable(tmp_path: Path) -> None:
    code = f"""
import sys
from zrb_store import open_store
from zrb_store.db import transaction as failpoints
open_store({str(tmp_path / "s.db")!r})
assert failpoints._callback is None
assert "zrb_store.testing" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    subprocess.run([sys.executable, "-c", code], env=environment, timeout=600, check=True)
