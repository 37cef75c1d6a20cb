"""`zrb-store run`: a command as the one task of a session."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.postgres import wait_until
from tests.support.programs import require
from tests.support.rows import faults, query
from tests.support.scripts import Scripts, finished
from zrb_store import Store
from zrb_store.process import has_living_member
from zrb_store.shell.run import task_name

pytestmark = pytest.mark.slow
ON_SQLITE = pytest.mark.parametrize("location", ["sqlite"], indirect=True)


@pytest.fixture
def scripts(location: str, tmp_path: Path) -> Scripts:
    return Scripts(tmp_path, location)


@pytest.mark.promise(number=2)
@pytest.mark.promise(number=5)
@pytest.mark.long_on_postgresql
def test_a_run_is_safe_to_start_again_and_again(store: Store, scripts: Scripts, command: Commands) -> None:
    """The table of the README, row by row."""
    scripts.write(
        "script.sh",
        "echo started >>ran; echo out; echo problem >&2\nzrb-store push @this days '\"'$DAY'\"'\n"
        "[ ! -e wait ] || while [ ! -e go ]; do sleep 0.02; done\n[ -e fixed ] || exit 3\n",
    )
    first = scripts.night("--input", "DAY=monday")
    assert (first.code, first.out) == (3, "out\n")
    assert first.err.splitlines() == [
        "problem",
        "zrb-store: session night failed: sh exited with 3: problem; `zrb-store resume night` continues it",
    ]
    assert store.session("night").status == "failed"
    other = scripts.night("--input", "DAY=tuesday")
    assert other.code == 65
    assert other.err.endswith("DAY: 'monday' became 'tuesday'; use another session name\n")
    other = scripts.night("--input", "DAY=monday", script="another.sh")
    assert other.code == 65
    assert "session night runs `sh script.sh`, not `sh another.sh`" in other.err
    given = command("resume", "night", "--input", "DAY=monday")
    assert (given.code, "whose inputs are stored: leave them out" in given.err) == (2, True)
    assert "zrb-store resume night" in command("check").out
    report = command.ok("report", "night")
    assert "Plan of a resume" in report
    assert ("zrb-store resume night" in report, "zrb xcom resume night" in report) == (True, False)
    for name in ("fixed", "wait"):
        scripts.write(name, "")
    running = scripts.start("zrb-store", "resume", "night")
    wait_until(lambda: len(scripts.lines("ran")) == 2, lambda: "the script does not start")
    busy = scripts.night("--input", "DAY=monday")
    assert busy.code == 75
    assert "session night is being run by pid" in busy.err
    scripts.write("go", "")
    assert finished(running)[:2] == (0, "out\n")
    again = scripts.night("--input", "DAY=monday")
    assert again == (0, "out\n", "")
    assert command.ok("last", "backup", "--any-project") == "out\n\n"
    assert scripts.lines("ran") == ["started", "started"]
    assert list(store.session("night").xcom["days"]) == ["monday"]
    assert [(line.split(maxsplit=1)) for line in command.ok("log", "night").splitlines() if "problem" in line]
    assert "Task     backup: sh script.sh" in command.ok("show", "night")
    assert faults(store) == []


@ON_SQLITE
def test_a_resume_runs_in_the_stored_folder(
    scripts: Scripts, command: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scripts.write("script.sh", "pwd; test -e fixed")
    folder = f"{scripts.folder}\n"
    assert scripts.night()[:2] == (1, folder)
    assert command.ok("resume", "night", "--plan").splitlines()[1].split() == ["backup", "run", "failed"]
    scripts.write("fixed", "")
    elsewhere = scripts.run("sh", "-c", "cd / && zrb-store resume night")
    assert elsewhere[:2] == (0, folder)
    assert command.ok("fork", "night", "--from", "backup", "--name", "copy") == "copy\n"
    assert scripts.run("zrb-store", "resume", "copy")[:2] == (0, folder)
    again = scripts.run("sh", "-c", "cd / && zrb-store resume night --from backup")
    assert again[:2] == (0, folder)
    scripts.folder.rename(tmp_path / "moved")
    monkeypatch.setenv("PATH", f"{tmp_path}/moved/bin:{os.environ['PATH']}")
    gone = command("resume", "night", "--from", "backup")
    assert gone.code == 2
    assert "No such file or directory; `resume night --here` runs it in this folder" in gone.err


@ON_SQLITE
def test_what_a_session_is_for_stays(store: Store, scripts: Scripts, command: Commands) -> None:
    """A Python script has no command, and several sessions of `run` are resumed without zrb."""
    with store.session("script").run(task="backup"):
        pass
    refused = scripts.run("zrb-store", "run", "script", "--task", "backup", "--", "true")
    assert refused.code == 65
    assert "session script belongs to a Python script, not `true`: use another session name" in refused.err
    for name in ("one", "two"):
        assert scripts.run("zrb-store", "run", name, "--", "test", "-e", "fixed").code == 1
    scripts.write("fixed", "")
    resumed = scripts.run("zrb-store", "resume", "--failed")
    assert (resumed.code, sorted(resumed.out.splitlines())) == (0, ["one: completed", "two: completed"])


@pytest.mark.long_on_postgresql
def test_jobs_without_a_name_are_not_mixed(store: Store, scripts: Scripts, command: Commands) -> None:
    """Another job of the same shell neither settles a failure nor counts as a run of the first one."""
    scripts.write("a.sh", "exit 3")
    scripts.write("jobs/b.sh", "echo b")
    assert scripts.run("zrb-store", "run", "first", "--", "sh", "a.sh").code == 3
    for name in ("second", "third"):
        assert scripts.run("zrb-store", "run", name, "--", "sh", "-e", f"{scripts.folder}/jobs/b.sh").code == 0
    checked = scripts.run("zrb-store", "check")
    assert (checked.code, "first" in checked.out) == (1, True)
    last = [scripts.run("zrb-store", "last", task) for task in ("a.sh", "jobs/b.sh")]
    assert [each[:2] for each in last] == [(3, ""), (0, "b\n\n")]
    stats = json.loads(scripts.run("zrb-store", "stats", "--format", "json").out)
    assert sorted((each["task"], each["runs"]) for each in stats) == [("a.sh", 1), ("jobs/b.sh", 2)]
    pruned = json.loads(scripts.run("zrb-store", "prune", "--keep-last", "1", "--dry-run", "--format", "json").out)
    assert [each["session"] for each in pruned] == ["second"]


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["bash", "-e", "jobs/a.sh", "north"], "jobs/a.sh"),
        (["/bin/sh", "../project/jobs/a.sh"], "jobs/a.sh"),
        (["./jobs/a.sh", "south"], "jobs/a.sh"),
        (["venv/bin/python3.12", "jobs/a.sh"], "jobs/a.sh"),
        (["sh", "-c", "rm jobs/a.sh\ntrue"], "sh -c 'rm jobs/a.sh true'"),
        (["rm", "jobs/a.sh"], "rm jobs/a.sh"),
        (["jobs", "jobs/a.sh"], "jobs jobs/a.sh"),
        (["sh", "/bin/sh"], "sh /bin/sh"),
        (["python", "-m", "jobs.a"], "python -m jobs.a"),
        (["curl", "--password", "hunter22", "b\udcff"], "curl --password '***' 'b\\udcff'"),
    ],
)
def test_the_name_of_a_task_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], name: str
) -> None:
    """It is named for the script, as seen from the project, or else for all of the command."""
    for file in ("jobs/a.sh", "venv/bin/python3.12", "zrb_init.py"):
        (tmp_path / "project" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / file).write_text("")
    monkeypatch.chdir(tmp_path / "project")
    assert task_name(argv, {}) == name


@ON_SQLITE
def test_a_secret_is_not_stored_and_is_asked_for(store: Store, scripts: Scripts, command: Commands) -> None:
    scripts.write("script.sh", 'echo "$TOKEN $1 $2"; test -e fixed')
    words = (
        "zrb-store",
        "run",
        "night",
        "--input",
        "TOKEN=s3cr3t-one",
        "--",
        "sh",
        "script.sh",
        "--password",
        "hunter22",
    )
    assert scripts.run(*words).code == 1
    rows = repr([query(store, f"SELECT * FROM {table}") for table in ("zrb_session", "zrb_run", "zrb_attempt")])
    assert "hunter22" not in rows
    assert "s3cr3t-one" not in rows
    named = scripts.run("zrb-store", "run", "named", "--input", "TOKEN=s3cr3t-one", "--", "echo", "s3cr3t-one")
    assert named.code == 0
    tables = ("zrb_session", "zrb_run", "zrb_attempt", "zrb_queue")
    assert "s3cr3t-one" not in repr([query(store, f"SELECT * FROM {table}") for table in tables])
    refused = command("resume", "night")
    assert refused.code == 65
    assert "session night needs a secret that is not stored: start it by name, as before" in refused.err
    scripts.write("fixed", "")
    assert scripts.run(*words)[:2] == (0, "s3cr3t-one --password hunter22\n")


@pytest.mark.promise(number=9)
@ON_SQLITE
def test_only_the_word_of_a_secret_is_not_compared(store: Store, scripts: Scripts) -> None:
    script = "TOKEN=$(echo {}); echo of {}; PGPASSWORD={} true"
    words = ("zrb-store", "run", "night", "--task", "load", "--", "sh", "-c")
    assert scripts.run(*words, script.format("one", "north", "first"))[:2] == (0, "of north\n")
    assert scripts.run(*words, script.format("two", "north", "second"))[:2] == (0, "of north\n"), "a rotated token"
    refused = scripts.run(*words, script.format("one", "south", "first"))
    assert (refused.code, refused.out, "echo of south" in refused.err) == (65, "", True)
    assert "first" not in repr(query(store, "SELECT path FROM zrb_session"))


@ON_SQLITE
def test_result_stores_the_last_result_of_a_script(store: Store, scripts: Scripts, command: Commands) -> None:
    scripts.write(
        "script.sh", "zrb-store result 1; echo text | zrb-store result --text -; zrb-store result '{\"rows\": 7}'"
    )
    assert scripts.night() == (0, "", "")
    assert scripts.night() == (0, '{"rows":7}\n', "")
    assert list(store.session("night").xcom["backup"]) == [{"rows": 7}]
    assert command("result", "1").err == (
        "zrb-store: there is no task to give a result: start the script with `zrb-store run`\n"
    )
    assert faults(store) == []


@ON_SQLITE
def test_the_end_of_a_long_output_is_the_result(store: Store, scripts: Scripts) -> None:
    scripts.write("script.sh", "printf x; yes ä | head -c 99999")
    assert len(scripts.night().out.encode()) == 100_000
    (result,) = store.session("night").xcom["backup"]
    assert 64 * 1024 - 3 <= len(result.encode()) <= 64 * 1024
    assert set(result) == {"ä", "\n"}
    full = scripts.run("sh", "-c", "zrb-store run full -- echo out >/dev/full")
    assert (full.code, full.err) == (
        1,
        "zrb-store: session full has completed, but its output cannot be written: No space left on device\n",
    )
    assert scripts.run("zrb-store", "run", "full", "--", "echo", "out") == (0, "out\n", "")


@pytest.mark.long_on_postgresql
def test_a_signal_reaches_the_command(store: Store, scripts: Scripts) -> None:
    scripts.write(
        "script.sh",
        "trap 'echo trapped; exit 9' TERM; touch ready; zrb-store step nap -- sh -c 'echo $$ >group; sleep 1000'",
    )
    running = scripts.start("zrb-store", "run", "night", "--", "sh", "script.sh")
    wait_until(lambda: bool(scripts.lines("group")), lambda: "the step does not start")
    os.kill(running.pid, signal.SIGTERM)
    ended = finished(running)
    assert (ended.code, ended.out) == (9, "trapped\n")
    assert store.session("night").status == "interrupted"
    assert not has_living_member(int(scripts.lines("group")[0]))
    assert query(store, "SELECT status FROM zrb_attempt WHERE step_of IS NOT NULL") == [("interrupted",)]
    assert faults(store) == []


@ON_SQLITE
def test_ctrl_c_ends_a_script_of_bash(store: Store, scripts: Scripts) -> None:
    """It ends only if the command in its foreground has died of the signal, too."""
    require("bash")
    # A shell ignores the signal if it comes while it waits for a command that then succeeds: this one waits for none.
    scripts.write("script.sh", "zrb-store step nap -- sh -c ': >ready; exec sleep 1000'\necho 'went on'\n")
    running = scripts.start("zrb-store", "run", "night", "--", "bash", "script.sh")
    wait_until((scripts.folder / "ready").exists, lambda: "the step does not start")
    os.kill(running.pid, signal.SIGINT)
    assert finished(running)[:2] == (-signal.SIGINT, "")
    assert store.session("night").status == "interrupted"


@ON_SQLITE
def test_a_run_inside_an_attempt_is_a_session_of_its_own(store: Store, scripts: Scripts) -> None:
    scripts.write("script.sh", "zrb-store run inner -- zrb-store push @this q 1\nexit 1")
    assert scripts.night().code == 1
    inner = store.session("inner")
    assert (inner.status, inner.record().parent, list(inner.xcom["q"])) == ("completed", "night/backup#1", [1])


@ON_SQLITE
def test_a_command_that_does_not_exist_leaves_nothing(store: Store, scripts: Scripts) -> None:
    missing = scripts.run("zrb-store", "run", "night", "--", "no-such-command")
    assert (missing.code, missing.err) == (2, "zrb-store: 'no-such-command' does not exist or may not be executed\n")
    assert scripts.run("zrb-store", "run", "night", "--input", "1X=2", "--", "true").code == 2
    assert query(store, "SELECT * FROM zrb_session") == []
