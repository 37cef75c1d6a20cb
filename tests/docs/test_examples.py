"""The first example also works on stock zrb, and the demos show a failure and two kills, and how they are resumed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=900, check=False
    )


def test_audit_runs_on_stock_zrb(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "audit" / "zrb_init.py", tmp_path)
    missing = run("zrb", "audit", "report", "--folder", "reports", folder=tmp_path)
    assert missing.returncode == 1
    assert "FileNotFoundError" in missing.stderr
    (tmp_path / "reports").mkdir()
    assert run("zrb", "audit", "report", "--folder", "reports", folder=tmp_path).stdout == "reports/audit.md\n"
    assert "| zrb |" in (tmp_path / "reports" / "audit.md").read_text()


def test_demo_shows_what_it_promises_although_it_has_run_before(tmp_path: Path) -> None:
    for name in ("audit", "pages"):
        (tmp_path / "demo" / name / "reports").mkdir(parents=True)
        (tmp_path / "demo" / name / "xcom.db").write_text("of the last time")
    demo = run(ROOT / "examples" / "demo.sh", tmp_path / "demo", folder=tmp_path)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    commands = [line for line in demo.stdout.splitlines() if line.startswith("$ ")]
    assert "$ zrb xcom resume audit-1" in commands
    assert "# Audit of a Python environment" in demo.stdout
    assert "FileNotFoundError" in demo.stderr
    # The second task is killed at page 4, and its resume asks only for what is missing.
    assert any(line.startswith("$ kill -9 ") for line in commands)
    resumed = demo.stdout.partition("$ zrb xcom resume pages-1 |")[2]
    assert [line.strip() for line in resumed.splitlines() if "asking" in line] == [
        f"asking the server for page {page}" for page in (4, 5, 6)
    ]
    # It ends with the report of the first one, and says where it is.
    file = tmp_path / "demo" / "audit" / "audit-1.html"
    assert demo.stdout.endswith(f"\nThe report is {file}: open it in a browser.\n")
    assert "<h1>audit-1</h1>" in file.read_text(encoding="utf-8")


def test_demo_of_a_script_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    demo = run(ROOT / "examples" / "demo_script.sh", tmp_path / "demo", folder=tmp_path)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    parts = {part.partition("\n")[0]: part for part in demo.stdout.split("\n$ ")}
    assert any(command.startswith("kill -KILL ") for command in parts)
    assert "backup  run     lost, 1 step kept" in parts["zrb-store resume backup-1 --plan"]
    assert "pack (2 attempts)" in parts["zrb-store show backup-1"]


@pytest.mark.long
def test_demo_of_a_wait_continues_after_the_answer(tmp_path: Path) -> None:
    demo = run(ROOT / "examples" / "demo_wait.sh", tmp_path / "demo", folder=tmp_path)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    parts = {part.partition("\n")[0]: part for part in demo.stdout.split("\n$ ")}
    assert "for approve, 2 d left: Refund 120?" in parts["zrb xcom list"]
    assert "wait approve (2 attempts)" in parts["zrb xcom show refund-7"]


@pytest.mark.long
def test_demo_of_an_agent_shows_what_was_paid_once(tmp_path: Path) -> None:
    demo = run(ROOT / "examples" / "demo_agent.sh", tmp_path / "demo", folder=tmp_path)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    parts = {part.partition("\n")[0]: part for part in demo.stdout.split("\n$ ")}
    assert any(command.startswith("kill -9 ") for command in parts)
    # The refund in the middle is paid after the kill, and nothing before it again.
    assert "waiting for the bank: Cleo" in parts["cat first.log"]
    assert [line.strip() for line in parts["zrb xcom resume refunds-1 2>chat.log"].splitlines()[1:5]] == [
        "Cleo gets 100",
        "answer 4 of the quick model",
        "Dan gets 100",
        "answer 5 of the quick model",
    ]
    assert parts["sort bill | uniq -c"].count("      1 ") == 5
    assert parts["sort refunds | uniq -c"].count("      1 ") == 4
    rewound = parts["zrb xcom show careful-1"]
    assert "model 2: quick" in rewound
    assert "model 3: careful" in rewound
    assert "used again 2 answers (100 in / 10 out tokens) and 2 tool calls" in " ".join(rewound.split())
