"""`session.run(from_task=...)`, and `resume` of the sessions of Python programs, which starts the program again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import Commands, without_notices
from tests.support.next_release import COMMAND
from zrb_store import InputsDiffer, InvalidArgument, Store, TaskNotFound, step
from zrb_store.settings import RESUMES, Resumes

PROGRAM = """
import os, signal, sys
from zrb_store import SessionCompleted, open_store

def work(name):
    print(name, flush=True)
    if name == "load" and not os.path.exists("repaired"):
        os.kill(os.getpid(), signal.SIGKILL)
    return name

try:
    with open_store(os.environ["STORE"]) as store, store.session(os.environ.get("NAME", "night")).run() as run:
        for name in ("extract", "load", "report"):
            run.task(name, work, name)
except SessionCompleted as done:
    print(done)
"""


def run_all(store: Store, calls: list[str], **options: object) -> None:
    """Run three tasks, of which the second has a step."""

    def work(name: str) -> str:
        calls.append(name)
        if name == "load":
            step.options(once=True)("pay", calls.append, "pay")
        return name

    with store.session("night").run(**options) as run:  # type: ignore[arg-type]
        for name in ("extract", "load", "report"):
            run.task(name, work, name)


@pytest.mark.promise(number=11)
def test_a_run_from_a_task_on_gives_back_all_that_began_after_it(store: Store) -> None:
    calls: list[str] = []
    run_all(store, calls)
    with pytest.raises(InvalidArgument, match="pay"):
        run_all(store, calls, from_task="load")
    run_all(store, calls, from_task="load", repeat_once=True)
    assert calls == ["extract", "load", "pay", "report", "load", "pay", "report"]
    run_all(store, calls, from_task="report")
    assert calls[7:] == ["report"]
    assert store.session("night").status == "completed"
    assert [list(store.session("night").xcom[name]) for name in ("load", "report")] == [["load"], ["report"]]


@pytest.mark.on_sqlite
def test_a_task_that_has_not_run_is_refused(store: Store) -> None:
    with pytest.raises(TaskNotFound, match="'load'"):
        run_all(store, [], from_task="load")
    run_all(store, [])
    with pytest.raises(TaskNotFound, match="the tasks are extract, load, report"):
        run_all(store, [], from_task="dump")
    assert store.session("night").status == "completed"


@pytest.mark.on_sqlite
def test_a_program_that_runs_another_session_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RESUMES, Resumes("yesterday").encoded())
    with pytest.raises(InputsDiffer, match="has started a program that runs session night now"):
        run_all(store, [])
    monkeypatch.setenv(RESUMES, Resumes("night").encoded())
    run_all(store, [])
    assert RESUMES not in os.environ


class Program:
    """A program in a folder, and the command `resume` of its session, typed in another one."""

    def __init__(self, location: str, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        (folder / "etl.py").write_text(PROGRAM, encoding="utf-8")
        package = str(Path(__file__).parents[2])
        self.environ = {**os.environ, "PYTHONPATH": package, "STORE": location, "ZRB_STORE_URL": location}

    def start(self) -> tuple[int, str]:
        return self._run(self.folder, sys.executable, "etl.py")

    def resume(self, *options: str, **environ: str) -> tuple[int, str]:
        self.environ.update(environ)
        return self._run(self.folder.parent, sys.executable, "-c", COMMAND, "resume", "night", *options)

    def _run(self, folder: Path, *words: str) -> tuple[int, str]:
        done = subprocess.run(words, cwd=folder, env=self.environ, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + without_notices(done.stderr)


@pytest.fixture
def program(location: str, tmp_path: Path) -> Program:
    return Program(location, tmp_path / "job")


@pytest.mark.long_on_postgresql
@pytest.mark.slow
@pytest.mark.systems
def test_resume_starts_a_program_again(program: Program) -> None:
    assert program.start() == (-signal.SIGKILL, "extract\nload\n")
    assert "lost" in program.resume("--plan")[1]
    (program.folder / "repaired").touch()
    assert program.resume() == (0, "load\nreport\n")
    code, said = program.resume()
    assert (code, said) == (0, "zrb-store: session night has completed: nothing runs, without --from TASK\n")
    assert program.resume("--from", "report") == (0, "report\n")


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_what_a_program_cannot_be_resumed_with(program: Program) -> None:
    program.start()
    (program.folder / "repaired").touch()
    code, said = program.resume("--set", "day=1")
    assert code == 2
    assert "gives its inputs itself" in said
    code, said = program.resume(NAME="morning")
    assert code == 1
    assert "runs session morning now: nothing was run" in said
    (program.folder / "etl.py").unlink()
    code, said = program.resume()
    assert code == 3
    assert "session night was not started by a command of zrb" in said


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("program", "options", "code", "said"),
    [
        (["etl.py", "--password=hunter2"], [], 2, "session s needs a secret, which is not stored: start its program"),
        (["etl.py"], ["--from", "load"], 3, "session s has run no task 'load'"),
        (["script"], ["--from", "load"], 3, "session s has run no task 'load'"),
        (["data"], [], 3, "session s was not started by a command of zrb"),
        (["package/part.py"], [], 3, "session s was not started by a command of zrb"),
    ],
    ids=["secret", "no such task", "executable", "not executable", "part of a package"],
)
def test_programs_that_cannot_be_started_again(
    store: Store,
    command: Commands,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: list[str],
    options: list[str],
    code: int,
    said: str,
) -> None:
    (tmp_path / "package").mkdir()
    for name in ("etl.py", "script", "data", "package/__init__.py", "package/part.py"):
        (tmp_path / name).touch()
    (tmp_path / "script").chmod(0o755)
    with monkeypatch.context() as started:
        started.chdir(tmp_path)
        started.setattr(sys, "argv", program)
        with store.session("s").run(task="etl"):
            pass
    refused = command("resume", "s", "--plan", *options)
    assert (refused.code, said in refused.err) == (code, True), refused
