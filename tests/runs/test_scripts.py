"""A session that a plain script runs belongs to that script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zrb_store import InputsDiffer, Store, open_store
from zrb_store.process import current_script

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os
from zrb_store import open_store

with open_store() as store, store.session("nightly").run(task=os.environ.get("TASK")) as run:
    run.task("count", lambda: 3)
    if "FAIL" in os.environ:
        raise SystemExit(1)
"""


class Scripts:
    """Scripts in a folder, which use one store."""

    def __init__(self, folder: Path, location: str) -> None:
        self.folder = folder
        self._environment = {**os.environ, "ZRB_STORE_URL": location, "PYTHONPATH": str(ROOT)}

    def write(self, path: str) -> Path:
        """Create a script and its folder."""
        script = self.folder / path
        script.parent.mkdir(exist_ok=True)
        script.write_text(SCRIPT)
        return script

    def run(self, *args: str | Path, cwd: str = ".", stdin: str | None = None, **environment: str) -> str:
        """Run Python, and return the last line of its stderr."""
        done = subprocess.run(
            [sys.executable, *args],
            cwd=self.folder / cwd,
            env={**self._environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
        )
        return (done.stderr.splitlines() or [""])[-1]


@pytest.fixture
def scripts(tmp_path: Path, location: str) -> Scripts:
    folder = tmp_path / "srv"
    folder.mkdir()
    return Scripts(folder, location)


def recorded_task(location: str) -> str | None:
    with open_store(location, read_only=True) as store:
        return store.session("nightly").record().task


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_another_script_is_refused(scripts: Scripts, location: str) -> None:
    one, two = scripts.write("one.py"), scripts.write("two.py")
    assert scripts.run(one, FAIL="x") == ""
    assert recorded_task(location) == str(one)
    assert scripts.run(two) == (
        f"zrb_store.errors.InputsDiffer: session nightly belongs to script {one}, not to script {two}: "
        f"use another session name, or session.run(task='{one}') to continue this one"
    )
    assert scripts.run(one) == ""
    with open_store(location, read_only=True) as store:
        record = store.session("nightly").record()
        assert (record.status, record.fence, record.project) == ("completed", 2, None)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.on_sqlite
def test_a_script_that_was_moved_goes_on_as_the_message_says(scripts: Scripts, location: str) -> None:
    old = scripts.write("old/job.py")
    scripts.run(old, FAIL="x")
    new = scripts.folder / "new.py"
    shutil.move(old, new)
    assert f"belongs to script {old}, not to script {new}" in scripts.run(new)
    assert scripts.run(new, TASK=str(old)) == ""
    with open_store(location, read_only=True) as store:
        assert store.session("nightly").status == "completed"


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_a_script_with_a_name_may_lie_anywhere(scripts: Scripts, location: str) -> None:
    scripts.run(scripts.write("release-1/job.py"), FAIL="x", TASK="nightly")
    assert scripts.run(scripts.write("release-2/job.py"), TASK="nightly") == ""
    assert recorded_task(location) == "nightly"


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_it_is_the_same_script_from_wherever_it_is_started(scripts: Scripts, location: str) -> None:
    script = scripts.write("release-1/job.py")
    (scripts.folder / "current").symlink_to("release-1")
    places: list[tuple[str | Path, str]] = [
        ("release-1/job.py", "."),
        ("../release-1/job.py", "release-1"),
        (script, "/"),
        ("current/job.py", "."),
    ]
    for path, cwd in places:
        assert scripts.run(path, cwd=cwd, FAIL="x") == ""
    with open_store(location, read_only=True) as store:
        assert store.session("nightly").record().fence == 4


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_what_is_no_script_is_not_compared(scripts: Scripts, location: str) -> None:
    scripts.write("package/job.py")
    for args, stdin in [
        (["-c", SCRIPT], None),
        (["-m", "job"], None),
        (["-"], SCRIPT),
        (["/dev/stdin"], SCRIPT),
        (["-i"], SCRIPT),
    ]:
        scripts.run(*args, cwd="package", stdin=stdin, FAIL="x")
        assert recorded_task(location) is None
    script = scripts.write("script.py")
    scripts.run(script, FAIL="x")
    assert recorded_task(location) == str(script), "the first script must be accepted and recorded"
    assert scripts.run("-c", SCRIPT, FAIL="x") == ""
    assert recorded_task(location) == str(script)
    with open_store(location, read_only=True) as store:
        assert store.session("nightly").record().fence == 7


def test_a_program_beside_the_interpreter_is_no_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__spec__", None)
    monkeypatch.setattr(main, "__file__", str(Path(sys.executable).with_name("pytest")), raising=False)
    assert current_script() is None
    for path, script in [
        ("/srv/etl/../job.py", "/srv/job.py"),
        ("/srv/caf\udce9.py", "/srv/caf\\udce9.py"),
        (f"/{'long/' * 1000}job.py", None),
        ("job.py", None),
    ]:
        monkeypatch.setattr(main, "__file__", path)
        assert current_script() == script
    monkeypatch.setattr(sys, "executable", "")  # as when Python is embedded in another program
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main, "__file__", str(tmp_path / "job.py"))
    assert current_script() == str(tmp_path / "job.py")


@pytest.mark.on_sqlite
def test_a_task_and_a_script_are_distinguished(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    for name, task in (("of-task", "load"), ("of-script", "/srv/job.py")):
        run = store.session(name).run(task=task).start()
        run.end("failed")
    with pytest.raises(InputsDiffer) as by_task:
        store.session("of-script").run(task="load").start()
    assert str(by_task.value) == (
        "session of-script belongs to script /srv/job.py, not to task load: use another session name"
    )
    monkeypatch.setattr(main, "__spec__", None)
    monkeypatch.setattr(main, "__file__", "/srv/job.py", raising=False)
    with pytest.raises(InputsDiffer) as by_script:
        store.session("of-task").run().start()
    assert str(by_script.value) == (
        "session of-task belongs to task load, not to script /srv/job.py: use another session name, "
        "or session.run(task='load') to continue this one"
    )
    with store.session("of-script").run() as run:
        assert run.number == 2
