"""Each wing can be taken off: without its folder the package imports, and the core's own tests pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zrb_store import open_store, wings

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.on_sqlite, pytest.mark.slow]


def copy_without(wing: str, folder: Path) -> None:
    """Copy the package and its tests, without the folders of a wing."""
    unneeded = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("zrb_store", "migrations", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=unneeded)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("zrb_store", "tests"):
        shutil.rmtree(folder / name / wing)


def smoke_tests(wing: str, folder: Path) -> list[str]:
    """Return the files of the core's tests that have smoke tests, and do not use the wing."""
    rooms = [room for room in folder.iterdir() if room.name not in {*wings.NAMES, "zrb"}]
    texts = {str(path): path.read_text(encoding="utf-8") for room in rooms for path in room.glob("test_*.py")}
    uses = re.compile(rf"\b(zrb_store|tests)\.{wing}\b")
    return [path for path, text in texts.items() if "mark.smoke" in text and not uses.search(text)]


class Copy:
    """A copy of the package without one wing, in a folder of its own."""

    def __init__(self, wing: str, folder: Path) -> None:
        copy_without(wing, folder)
        self.folder = folder
        self.environment = {**os.environ, "PYTHONPATH": str(folder), "ZRB_STORE_URL": str(folder / "store.db")}

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.python("-c", "import sys; from zrb_store.cli import main; main()", *words)


@pytest.mark.parametrize("wing", wings.NAMES)
def test_the_core_works_without_it(wing: str, tmp_path: Path) -> None:
    copy = Copy(wing, tmp_path)
    added = next(each for name, each in zip(wings.NAMES, wings.installed(), strict=True) if name == wing).commands
    shown = copy.command("--help").stdout
    listed = re.findall(r"^  (\S+)  ", shown, re.MULTILINE)
    assert "show" in listed, shown
    assert not {*listed} & {*added}
    for name in added:
        refused = copy.command(name)
        assert (refused.returncode, f"there is no command '{name}'" in refused.stderr) == (2, True)
    with open_store(tmp_path / "store.db") as store, store.session("s").run() as run:
        run.task("count", len, "abc")
    assert "completed" in copy.command("show", "s").stdout
    assert copy.command("doctor").returncode == 0
    selection = ["-m", "smoke", "-k", "not postgresql and not wheel", *smoke_tests(wing, tmp_path / "tests")]
    done = copy.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *selection)
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"\d\d passed", done.stdout)


def test_a_session_of_run_is_shown_and_not_resumed_without_its_wing(tmp_path: Path) -> None:
    copy = Copy("shell", tmp_path)
    program = [sys.executable, "-P", "-c", "import sys; from zrb_store.cli import main; main()"]
    environment = {**copy.environment, "PYTHONPATH": str(ROOT)}
    failed = subprocess.run([*program, "run", "s", "--", "false"], cwd=tmp_path, env=environment, capture_output=True)
    assert failed.returncode == 1
    assert "failed" in copy.command("show", "s").stdout
    for words in (["resume", "s"], ["resume", "s", "--plan"], ["replay", "s/false#1", "--yes"]):
        refused = copy.command(*words)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == (
            "zrb-store: session s runs a command: install a zrb-store that has the command `run`\n"
        )
    assert copy.command("report", "s").returncode == 0
    assert copy.command("doctor").returncode == 0


def test_without_watch_nobody_is_told_and_that_is_said(tmp_path: Path) -> None:
    copy = Copy("watch", tmp_path)
    copy.environment["ZRB_STORE_NOTIFY"] = "touch told"
    failed = copy.command("run", "s", "--", "false")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[0] == (
        "zrb-store: ZRB_STORE_NOTIFY is not a setting of zrb-store, and is ignored: `zrb-store db status` lists the "
        "settings"
    )
    assert not (tmp_path / "told").exists()
    assert "failed" in copy.command("show", "s").stdout


ASK = """
from tests.page.pages import Pages
pages = Pages("store.db")
print("Queues" in pages("/").text, "Stats" in pages("/").text)
pages("/stats", status=404)
"""


def test_without_watch_no_page_leads_to_statistics(tmp_path: Path) -> None:
    copy = Copy("watch", tmp_path)
    open_store(tmp_path / "store.db").close()
    asked = copy.python("-c", ASK)
    assert asked.stdout == "True False\n", asked.stderr


TASKS = """
import zrb_store.plugin
from zrb import Task, cli
from zrb_store.attempt import Step, surrounding_attempt
from zrb_store.attempt.exact_steps import ExactStep, open_exact
from zrb_store.queries.steps import NewStep

def triage(ctx):
    new = NewStep("model", "[[],{}]", kind="model_request")
    with open_exact(surrounding_attempt("model"), ExactStep(new, lambda _: None)) as step:
        if isinstance(step, Step):
            step.complete({"kind": "answer", "response": {"model_name": "gpt-5.2"}})
    raise ValueError("the refund was refused")

cli.add_task(Task(name="triage", action=triage, retries=0))
"""


def test_a_session_with_an_agent_is_shown_and_not_resumed_without_its_wing(tmp_path: Path) -> None:
    copy = Copy("agents", tmp_path)
    (tmp_path / "zrb_init.py").write_text(TASKS)
    copy.environment["ZRB_STORE_SESSION"] = "s"
    zrb = ("-P", "-m", "zrb")
    environment = {**copy.environment, "PYTHONPATH": str(ROOT)}
    failed = subprocess.run([sys.executable, *zrb, "triage"], cwd=tmp_path, env=environment, capture_output=True)
    assert b"the refund was refused" in failed.stderr
    shown = copy.command("show", "s").stdout
    assert re.search(r"^ +triage/1 +completed .* model = ", shown, re.MULTILINE), shown
    assert re.search(r"^ +triage#1 +failed", shown, re.MULTILINE)
    assert "conversation" not in copy.command("show", "--help").stdout
    assert copy.command("report", "s").returncode == 0
    assert copy.command("doctor").returncode == 0
    for words in (["xcom", "resume", "s"], ["xcom", "resume", "s", "--plan"], ["triage"]):
        refused = copy.python(*zrb, *words)
        (said,) = [line for line in refused.stderr.splitlines() if "model_request" in line]
        assert refused.returncode == 1
        assert said.endswith(
            "task triage of session s has steps of kind model_request, which this zrb-store cannot use again: "
            "install one that can, or start the task over with --from triage"
        )
    assert "triage#2" not in copy.command("show", "s").stdout
    assert "the refund was refused" in copy.python(*zrb, "xcom", "resume", "s", "--from", "triage").stderr
    assert "triage#2" in copy.command("show", "s").stdout
