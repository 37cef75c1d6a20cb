"""`zrb-store step`: a command of a script runs once."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.chosen import ALL
from tests.faults.crash_scripts import kill_scripts
from tests.shell.conftest import ON_SQLITE, steps
from tests.support.commands import Commands
from tests.support.postgres import wait_until
from tests.support.programs import require
from tests.support.rows import faults, query
from tests.support.scripts import Scripts, finished
from zrb_store import Store, ZrbStoreError
from zrb_store.attempt import Step, record_command
from zrb_store.codec.arguments import stored_arguments
from zrb_store.db.clock import Clock
from zrb_store.process import has_living_member
from zrb_store.queries.steps import NewStep

pytestmark = pytest.mark.slow


@pytest.fixture
def scripts(location: str, tmp_path: Path) -> Scripts:
    return Scripts(tmp_path, location)


@pytest.mark.promise(number=9)
@ON_SQLITE
def test_a_secret_input_is_not_stored_with_a_step(store: Store, scripts: Scripts) -> None:
    """A step with another secret is the same, and one that differs behind a secret is another one."""
    scripts.write(
        "script.sh",
        'zrb-store step ask -- echo "me:$DB_PASSWORD"\n'
        'zrb-store step fail -- sh -c "echo $DB_PASSWORD >&2; exit 3"\n'
        'for region in north south; do zrb-store step load -- sh -c "PGPASSWORD=x; echo $region"; done\n',
    )
    first = scripts.night("--input", "DB_PASSWORD=Zk7-hunter", shell="sh")
    assert (first.code, first.out) == (125, "me:Zk7-hunter\nnorth\n")
    assert "step load has completed with the command `sh -c 'PGPASSWORD=***; echo north'`" in first.err
    again = scripts.night("--input", "DB_PASSWORD=Zk7-other", shell="sh")
    assert again.out == "me:Zk7-hunter\nnorth\n"
    columns = "step, arguments, error_message, error_traceback"
    assert "Zk7-" not in repr(query(store, f"SELECT {columns} FROM zrb_attempt"))


@pytest.mark.promise(number=11)
@pytest.mark.long_on_postgresql
def test_a_script_goes_on_where_it_failed(store: Store, scripts: Scripts, command: Commands) -> None:
    store.session("inbox").xcom["files"].extend(["a", "b"])
    scripts.write(
        "script.sh",
        "set -eu\n"
        "v=$(zrb-store step take -- sh -c 'echo take >>ran; zrb-store pop inbox files; zrb-store push @this got 1')\n"
        "printf '%s.' \"$v\"\n"
        "zrb-store step bytes -- printf '\\377\\0\\n' >bytes\n"
        "zrb-store step 'odd {} --name' -v -- sh -c 'echo \"$1\"; exec 2>&-' x '{}'\n"
        "zrb-store step fail -- sh -c 'echo fail >>ran; zrb-store pop inbox files >&2; [ -e fixed ] || exit 7'\n"
        "echo end\n",
    )
    first = scripts.night()
    assert (first.code, first.out) == (7, "a.{}\n")
    assert list(store.session("inbox").xcom["files"]) == ["b"]
    assert steps(store)[-1] == ("fail", "failed")
    assert (scripts.folder / "bytes").read_bytes() == b"\xff\0\n"
    scripts.write("fixed", "")
    (scripts.folder / "bytes").unlink()
    second = scripts.night()
    assert (second.code, second.out) == (0, "a.{}\nend\n")
    assert "step odd {} --name has completed before: its output is printed, and it does not run" in second.err
    assert (scripts.folder / "bytes").read_bytes() == b"\xff\0\n"
    assert scripts.lines("ran") == ["take", "fail", "fail"]
    assert (list(store.session("inbox").xcom["files"]), list(store.session("night").xcom["got"])) == ([], [1])
    assert command.ok("get", "night", "backup/1", "--result") == "a\n\n"
    assert faults(store) == []


@ON_SQLITE
@pytest.mark.promise(number=11)
def test_a_once_step_that_was_killed_is_uncertain(store: Store, scripts: Scripts, command: Commands) -> None:
    """A step that a signal killed has an unknown end, one that failed has not."""
    scripts.write(
        "script.sh",
        "zrb-store step pay --once -- sh -c 'echo pay >>ran; [ -e kill ] && kill -9 $$; [ -e fixed ] || exit 4'",
    )
    assert scripts.night().code == 4
    scripts.write("kill", "")
    assert scripts.night().code == 137
    uncertain = scripts.night()
    assert uncertain.code == 125
    assert "step pay of task backup (night/backup/1#2) began at" in uncertain.err
    assert "zrb-store mark night backup --step pay completed --result JSON" in uncertain.err
    assert scripts.lines("ran") == ["pay", "pay"]
    command.ok("mark", "night", "backup", "--step", "pay", "completed", "--result", '"receipt\\n"')
    assert scripts.night()[:2] == (0, "receipt\n")
    assert len(scripts.lines("ran")) == 2


@ON_SQLITE
def test_an_output_over_the_limit(store: Store, scripts: Scripts) -> None:
    scripts.environment["ZRB_STORE_MAX_VALUE"] = "1000"
    scripts.write(
        "script.sh",
        "zrb-store step big -- sh -c 'echo big >>ran; seq 1000'\n"
        "zrb-store step file --produces made -- sh -c 'echo file >>ran; seq 1000 | tee made'\n"
        "zrb-store step pay --once -- sh -c 'echo pay >>ran; seq 1000' >/dev/null\n"
        "exit 1\n",
    )
    first = scripts.night()
    assert len(first.out.splitlines()) == 2000
    again = scripts.night()
    assert len(again.out.splitlines()) == 1000
    over = "its output is over the limit of 1,000 bytes (ZRB_STORE_MAX_VALUE)"
    assert f"step big: {over}: it runs again in the task's next attempt" in again.err
    assert "step file has completed before, but its output is not stored: nothing is printed" in again.err
    assert f"step pay: {over}: mark it before the task's next attempt" in first.err
    assert "step pay of task backup (night/backup/3#1) completed, but its result could not be stored" in again.err
    assert scripts.lines("ran") == ["big", "file", "pay", "big"]


@ON_SQLITE
def test_retries_and_a_timeout(store: Store, scripts: Scripts) -> None:
    """Of several tries, only the last one's output is printed, as a resume prints it."""
    scripts.write(
        "script.sh",
        "zrb-store step flaky --retries 2 -- sh -c 'echo try >>ran; wc -l <ran; [ $(wc -l <ran) = 2 ]'\n"
        "zrb-store step slow --timeout 0.2 -- sleep 1000\necho $?\n"
        "zrb-store step pay --once --timeout 0.2 --retries 3 -- sleep 1000\necho $?\n",
    )
    assert scripts.night().out.split() == ["2", "124", "124"]
    assert scripts.lines("ran") == ["try", "try"]
    assert steps(store) == [("flaky", "failed"), ("flaky", "completed"), ("slow", "failed"), ("pay", "interrupted")]


@ON_SQLITE
def test_the_input_of_a_step(scripts: Scripts) -> None:
    scripts.write(
        "script.sh",
        "set -euo pipefail\n"
        'seq 3 | while read line; do zrb-store step "line $line" -- cat; echo "line $line"; done\n'
        "seq 100000 | zrb-store step load --stdin -- wc -l\n"
        "[ -e fixed ] || seq 2 | { zrb-store step header --stdin -- sh -c 'read line; echo header $line'\n"
        "zrb-store step rows --stdin -- cat; }\n"
        "[ -e fixed ]\n",
    )
    expected = "line 1\nline 2\nline 3\n100000\n"
    # No step takes from a stdin what its command leaves there.
    assert scripts.night(shell="bash")[:2] == (1, f"{expected}header 1\n2\n")
    scripts.write("fixed", "")
    assert scripts.night(shell="bash")[:2] == (0, expected)


@ON_SQLITE
def test_a_refused_step_exits_with_125(store: Store, scripts: Scripts, command: Commands) -> None:
    """They exit with 125, so that they are not taken for the exit code of the command."""
    outside = command("step", "dump", "--", "true")
    assert (outside.code, outside.err) == (
        125,
        "zrb-store: step dump is not inside an attempt: start the script with `zrb-store run SESSION -- COMMAND...`\n",
    )
    assert command("step", "dump", "--no-such-option", "--", "true").code == 125
    scripts.write("script.sh", "exec 3<&0 4<&0 5<&0 6<&0 7<&0 8<&0 9<&0; zrb-store step x --stdin -- cat")
    assert "the descriptors 3 to 9 are open: close one, as with `3<&-`" in scripts.night().err
    scripts.write("script.sh", "zrb-store step '' -- true")
    assert "'' cannot name a step" in scripts.night().err
    refused = command("step", "load", "--stdin", "--retries", "1", "--", "cat")
    assert "--retries has no stdin for a second try: leave out --stdin" in refused.err
    scripts.write(
        "script.sh",
        "zrb-store step outer -- zrb-store step inner -- true; echo $?\n"
        "zrb-store step outer -- true; echo $?\n"
        "zrb-store step same -- echo one; zrb-store step same -- echo two; echo $?\n"
        "zrb-store step gone -- no-such-command; echo $?\n",
    )
    done = scripts.night()
    assert done.out.split() == ["125", "0", "one", "125", "125"]
    assert "step inner cannot begin inside step outer: steps do not nest" in done.err
    same = "step same has completed with the command `echo one`, not `echo two`: if it is another step, give it another"
    assert same in done.err
    assert (
        "as by mktemp, make what differs in a step; to start the task over: zrb-store resume night --from backup"
        in done.err
    )
    store.session("inbox").xcom["files"].push("a")
    delivery = scripts.run("zrb-store", "consume", "inbox", "files", "-q", "--", "zrb-store", "step", "x", "--", "true")
    assert "a delivery is given back whole, so its steps could not be kept; let the command start" in delivery.err
    assert faults(store) == []


@pytest.mark.long_on_postgresql
def test_a_step_ends_with_what_started_it(store: Store, scripts: Scripts) -> None:
    """With its script, with its attempt, and before another step of its name begins."""
    nap = "zrb-store step nap -- sh -c 'echo $$ >>groups; sleep 1000'"
    scripts.write(
        "script.sh",
        f"{nap} & step=$!\n"
        "until [ -s groups ]; do sleep 0.02; done\n"
        "zrb-store step nap -- echo again 2>refused; echo $? >code\n"
        f"kill -9 $step; while {nap}; [ $? = 125 ]; do :; done\n",  # refused if a guard is slow
    )
    running = scripts.start("zrb-store", "run", "night", "--task", "backup", "--", "sh", "script.sh")
    wait_until(lambda: len(scripts.lines("groups")) == 2, lambda: "the step does not begin again")
    first, second = map(int, scripts.lines("groups"))
    assert not has_living_member(first)
    assert scripts.lines("code") == ["125"]
    (refused,) = scripts.lines("refused")
    assert "step nap of night/backup#1 is running" in refused
    os.kill(running.pid, signal.SIGKILL)
    finished(running)
    commands = [pid for (pid,) in query(store, "SELECT command_pid FROM zrb_attempt")]
    assert second in commands
    wait_until(lambda: not any(map(has_living_member, commands)), lambda: "a command has outlived its run")
    scripts.write("script.sh", "zrb-store step nap -- echo done")
    assert scripts.night()[:2] == (0, "done\n")
    assert faults(store) == []


@pytest.mark.long_on_postgresql
def test_no_command_outlives_its_attempt(store: Store, scripts: Scripts) -> None:
    """Not even one that ignores signals, for the moment until its step looks: the next attempt begins at once."""
    with store.session("night").run(task="backup") as run:
        attempt = run.attempt("backup")
        words = ("zrb-store", "step", "nap", "--", "sh", "-c", "trap '' TERM; echo $$ >group; sleep 1000")
        step = scripts.start(*words, environment={"ZRB_STORE_ATTEMPT": attempt.token})
        wait_until(lambda: bool(scripts.lines("group")), lambda: "the step does not start")
        attempt.fail()
        assert not has_living_member(int(scripts.lines("group")[0]))
        ended = finished(step)
        assert (ended.code, steps(store)) == (125, [("nap", "interrupted")])
        assert "night/backup/1#1 is interrupted: it can no longer write" in ended.err


def test_two_steps_of_a_name_that_begin_at_once(store: Store) -> None:
    """The second one has not seen yet that the first one's command runs."""
    with store.session("night").run(task="backup") as run, run.attempt("backup") as attempt:
        nap = NewStep("nap", "[[],{}]")
        first = attempt.steps.begin(nap.key, nap, None)
        known = attempt.steps.newest(nap.key)
        assert first is not None
        record_command(first, 4_000_000, "1")
        with pytest.raises(ZrbStoreError, match="step nap of night/backup#1 is running"):
            attempt.steps.begin(nap.key, nap, known)
        assert steps(store) == [("nap", "running")]


@pytest.mark.promise(number=11)
def test_a_step_whose_name_another_process_uses(
    store: Store, command: Commands, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its result is used if it ends in time, although its command has ended. A step whose process died has ended."""
    with store.session("night").run(task="backup") as run:
        attempt = run.attempt("backup")
        monkeypatch.setenv("ZRB_STORE_ATTEMPT", attempt.token)
        words = ("--once", "--", "true")

        def begun(name: str) -> Step:
            new = NewStep(name, stored_arguments(["true"], {}), once=True)
            begun = attempt.steps.begin(new.key, new, None)
            assert begun is not None
            record_command(begun, 4_000_000, "1")  # nothing is alive
            return begun

        first = begun("first")
        begun("dead")
        monkeypatch.setattr(clock, "sleep", lambda _: first.complete("done\n"))
        assert command.ok("step", "first", *words) == "done\n"
        monkeypatch.setattr(clock, "sleep", lambda _: clock.turn(10))
        uncertain = command("step", "dead", *words)
        assert (uncertain.code, "and its end is unknown" in uncertain.err) == (125, True)
        assert steps(store) == [("first", "completed"), ("dead", "interrupted")]
        attempt.complete()
    assert faults(store) == []


@ON_SQLITE
def test_an_output_that_cannot_be_written(scripts: Scripts) -> None:
    """The step stands, but the script must not go on with a part of its output."""
    scripts.write(
        "script.sh",
        "zrb-store step seq -- sh -c 'echo seq >>ran; seq 3' >/dev/full; echo $?\n"
        "zrb-store step seq -- sh -c 'echo seq >>ran; seq 3' >/dev/full; echo $?\n"
        "zrb-store step seq -- sh -c 'echo seq >>ran; seq 3' >&-; echo $?\n"
        "zrb-store step seq -- sh -c 'echo seq >>ran; seq 3' | head -1\n"
        "zrb-store step pay --once --retries 1 -- sh -c 'echo pay >>ran; seq 3' >/dev/full; echo $?\n"
        "zrb-store step cat --stdin -- cat <&-; echo $?\n",
    )
    done = scripts.night()
    assert done.out.split() == ["125", "125", "125", "1", "125", "125"]
    assert [line.partition(": ")[2] for line in done.err.splitlines()] == [
        "the output of step seq cannot be written: No space left on device",
        "the output cannot be written: No space left on device",
        "the output cannot be written: Bad file descriptor",
        "the output cannot be written: No space left on device",
        "stdin is closed (see `zrb-store step --help`)",
    ]
    assert scripts.lines("ran") == ["seq", "pay"]


@ON_SQLITE
def test_a_step_that_is_done_is_quick(scripts: Scripts) -> None:
    """It imports neither click nor SQLAlchemy, nor what takes as long as a fifth of them; a new one nothing of runs."""
    scripts.write("script.sh", "zrb-store step a -- echo out; env >environment")
    scripts.write(
        "again.py", "import sys\nfrom zrb_store.cli import run\ncode = run(sys.argv[1:])\nprint(*sys.modules)"
    )
    again = f"{sys.executable} again.py step"
    scripts.write("script.sh", f"zrb-store step a -- echo out; {again} a -- echo out; {again} b -- echo new")
    done = scripts.night().out.splitlines()
    assert done[:2] == ["out", "out"]
    assert done[3] == "new"
    unneeded = {"click", "sqlalchemy", "zrb_store.attempt", "dataclasses", "inspect", "logging", "traceback"}
    assert unneeded.isdisjoint(done[2].split())
    assert {"sqlalchemy", "zrb_store.run", "zrb_store.run.run"}.isdisjoint(done[4].split())


STRICT = """\
set -euo pipefail
trap 'echo trapped $? >>traps' EXIT
n=$(zrb-store step count -- sh -c 'echo count >>ran; echo 3')
zrb-store step numbers -- seq "$n" | sort -r | tr '\\n' ' '
zrb-store step one -- sh -c 'echo one >>ran; echo 1' >one & a=$!
(zrb-store step two -- sh -c 'echo two >>ran; echo 2') >two & b=$!
wait $a; wait $b
cat one two
if zrb-store step no -- false; then exit 9; fi
zrb-store step no-more -- true || exit 8
[ -e fixed ]
zrb-store step last -- sh -c 'echo last >>ran; echo done'
"""


@ON_SQLITE
@pytest.mark.parametrize("shell", ["bash", "dash", pytest.param("zsh", marks=pytest.mark.long)])
def test_a_strict_script_resumes_in_each_shell(store: Store, scripts: Scripts, shell: str) -> None:
    require(shell)
    strict = STRICT if shell != "dash" else STRICT.replace("set -euo pipefail", "set -eu")
    scripts.write("script.sh", strict)
    first = scripts.night(shell=shell)
    assert (first.code, first.out) == (1, "3 2 1 1\n2\n"), first.err
    scripts.write("fixed", "")
    assert scripts.night(shell=shell)[:2] == (0, "3 2 1 1\n2\ndone\n")
    assert sorted(scripts.lines("ran")) == ["count", "last", "one", "two"]
    assert scripts.lines("traps") == ["trapped 1", "trapped 0"]
    assert faults(store) == []


RULES = """\
all: dump upload
dump:
\tzrb-store step dump -- sh -c 'echo dump >>ran'
upload: dump
\tzrb-store step upload -- sh -c 'echo upload >>ran; test -e fixed'
"""


@ON_SQLITE
@pytest.mark.parametrize(("program", "file"), [("make", "Makefile"), ("just", "justfile")])
def test_rules_of_make_and_just_are_steps(scripts: Scripts, program: str, file: str) -> None:
    require(program)
    scripts.write(file, RULES)
    words = ("zrb-store", "run", "night", "--", program, "all")
    assert scripts.run(*words).code != 0
    scripts.write("fixed", "")
    assert scripts.run(*words).code == 0
    assert scripts.lines("ran") == ["dump", "upload", "upload"]


@ON_SQLITE
def test_the_environment_of_cron(scripts: Scripts) -> None:
    """It has a home, a shell and a short PATH."""
    scripts.write("script.sh", f"PATH={scripts.folder}/bin:$PATH\nzrb-store step a -- sh -c 'echo \"$HOME $0\"'\n")
    scripts.environment = {"HOME": str(scripts.folder), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "LOGNAME": "me"}
    program = str(scripts.folder / "bin" / "zrb-store")
    words = (program, "run", "night", "--", "/bin/sh", "script.sh")
    assert scripts.run(*words) == (0, f"{scripts.folder} sh\n", "")
    assert (scripts.folder / ".zrb" / "xcom.db").exists()


@pytest.mark.promise(number=11)
@pytest.mark.parametrize(
    ("kind", "count"), [("sqlite", 36 if ALL else 12), pytest.param("postgresql", 4, marks=pytest.mark.long)]
)
def test_a_script_that_is_killed_anywhere_does_nothing_twice(
    kind: str, count: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else None
    figures = kill_scripts(tmp_path / "scripts", url, count, 1, steps=4)
    print(f"{kind}: {figures}")
    assert "completed steps that ran again: 0" in figures
