"""Each wing can be taken off: without its folder the package imports, and the core's own tests pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.chosen import RELEASES
from zrb_store import open_store, wings

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.on_sqlite, pytest.mark.slow]


def copy_without(names: Collection[str], folder: Path) -> None:
    """Copy the repository, without the folders of these wings."""
    unneeded = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "build", "dist")
    shutil.copytree(ROOT, folder, ignore=unneeded, dirs_exist_ok=True)
    for name in names:
        for place in ("zrb_store", "tests"):
            shutil.rmtree(folder / place / name)


def files_of_the_core(folder: Path) -> list[str]:
    """Return the files with tests of the core and the plugin: they import no wing. A test that needs one says so."""
    found = (path.relative_to(folder / "tests") for path in (folder / "tests").rglob("test_*.py"))
    own = sorted(path for path in found if path.parts[0] not in wings.NAMES and path.name != Path(__file__).name)
    return [str(folder / "tests" / path) for path in own]


class Copy:
    """A copy of the repository without some wings, in a folder of its own."""

    def __init__(self, names: Collection[str], folder: Path) -> None:
        copy_without(names, folder)
        self.folder = folder
        ours = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST_XDIST", "TEST_"))}
        own = {"PYTHONPATH": str(folder), "ZRB_STORE_URL": str(folder / "store.db"), "TEST_ZRB_RELEASES": RELEASES[-1]}
        self.environment = {**ours, **own}
        self.tests = files_of_the_core(folder)

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.python("-c", "import sys; from zrb_store.cli import main; main()", *words)

    def test(self, *words: str) -> int:
        """Return how many tests pass; all must."""
        done = self.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *words)
        assert done.returncode == 0, done.stdout[-4000:]
        (passed,) = re.findall(r"(\d+) passed", done.stdout)
        return int(passed)


@pytest.mark.parametrize("wing", wings.NAMES)
def test_the_core_works_without_it(wing: str, tmp_path: Path) -> None:
    copy = Copy([wing], tmp_path)
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


@pytest.mark.long
@pytest.mark.parametrize("wing", wings.NAMES)
def test_the_core_passes_its_smoke_tests_without_it(wing: str, tmp_path: Path) -> None:
    copy = Copy([wing], tmp_path)
    smoke = [path for path in copy.tests if "mark.smoke" in Path(path).read_text("utf-8")]
    assert copy.test("-m", "smoke", "-k", "not postgresql and not wheel", *smoke) > 9


@pytest.mark.long
def test_the_core_and_the_plugin_pass_their_tests_without_any(tmp_path: Path) -> None:
    """Those of `make quick` and `make smoke`, for all wings at once: for each alone they would take six times as long.

    Another user may not read the copy.
    """
    copy = Copy(wings.NAMES, tmp_path)
    marks, names = "(quick or smoke or systems) and not long", "not AnotherUser and not read_only_file and not wheel"
    assert copy.test("-m", marks, "-k", names, "-n", "2", *copy.tests) > 2000


def test_a_session_of_run_is_shown_and_not_resumed_without_its_wing(tmp_path: Path) -> None:
    copy = Copy(["shell"], tmp_path)
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
    copy = Copy(["watch"], tmp_path)
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
    copy = Copy(["watch"], tmp_path)
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
TRANSACTION = """
import zrb_store.plugin
from sqlalchemy import create_engine
from zrb import Task, cli
from zrb_store import step

def load(connection):
    connection.exec_driver_sql("CREATE TABLE orders (id INTEGER)")

def triage(ctx):
    step.transaction(create_engine("sqlite:///shop.db"), "load", load)
    raise ValueError("the refund was refused")

cli.add_task(Task(name="triage", action=triage, retries=0))
"""


def refuses(copy: Copy, kind: str, *words: str) -> None:
    """Check that a command of zrb refuses in one line to use steps of a kind again."""
    refused = copy.python("-P", "-m", "zrb", *words)
    (said,) = [line for line in refused.stderr.splitlines() if f"of kind {kind}" in line]
    assert refused.returncode == 1
    assert said.endswith(
        f"task triage of session s has steps of kind {kind}, which this zrb-store cannot use again: "
        "install one that can, or start the task over with --from triage"
    )


def test_a_session_with_transactions_is_shown_and_not_resumed_without_its_wing(tmp_path: Path) -> None:
    copy = Copy(["own_tables"], tmp_path)
    (tmp_path / "zrb_init.py").write_text(TRANSACTION)
    copy.environment["ZRB_STORE_SESSION"] = "s"
    zrb = [sys.executable, "-P", "-m", "zrb", "triage"]
    environment = {**copy.environment, "PYTHONPATH": str(ROOT)}
    failed = subprocess.run(zrb, cwd=tmp_path, env=environment, capture_output=True)
    assert b"the refund was refused" in failed.stderr
    shown = copy.command("show", "s").stdout
    assert re.search(r"^ +triage/1 +completed .* load", shown, re.MULTILINE), shown
    assert re.search(r"^ +triage#1 +failed", shown, re.MULTILINE)
    assert copy.command("report", "s").returncode == 0
    assert copy.command("doctor").returncode == 0
    for words in (["xcom", "resume", "s"], ["xcom", "resume", "s", "--plan"], ["triage"]):
        refuses(copy, "transaction", *words)
    assert "triage#2" not in copy.command("show", "s").stdout
    over = copy.python("-P", "-m", "zrb", "xcom", "resume", "s", "--from", "triage", "--repeat-once").stderr
    assert "this zrb-store has no step.transaction: install one that has" in over


def test_a_consumer_is_shown_without_its_wing(tmp_path: Path) -> None:
    copy = Copy(["shell"], tmp_path)
    with open_store(tmp_path / "store.db") as store:
        store.session("inbox").xcom["files"].extend(["a", "b"])
    program = [sys.executable, "-P", "-c", "import sys; from zrb_store.cli import main; main()"]
    consume = ["consume", "inbox", "files", "--as", "worker", "--all", "--", "test", "{}", "=", "a"]
    environment = {**copy.environment, "PYTHONPATH": str(ROOT)}
    failed = subprocess.run([*program, *consume], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert failed.returncode == 1
    shown = copy.command("show", "worker").stdout
    assert re.search(r"^ +inbox/files#1 +completed", shown, re.MULTILINE), shown
    assert re.search(r"^ +inbox/files#2 +failed", shown, re.MULTILINE)
    assert "live" in copy.command("show", "inbox").stdout
    assert copy.command("doctor").returncode == 0


def test_a_session_with_an_agent_is_shown_and_not_resumed_without_its_wing(tmp_path: Path) -> None:
    copy = Copy(["agents"], tmp_path)
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
        refuses(copy, "model_request", *words)
    assert "triage#2" not in copy.command("show", "s").stdout
    assert "the refund was refused" in copy.python(*zrb, "xcom", "resume", "s", "--from", "triage").stderr
    assert "triage#2" in copy.command("show", "s").stdout
