"""What all commands have in common."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.support.commands import Commands
from zrb_store import Store, cli, open_store
from zrb_store.cli.command import app


def test_an_internal_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def faulty() -> None:
        raise KeyError("two\nlines")

    monkeypatch.setattr(app, "get_command", lambda context, name: faulty)
    assert cli.run(["list"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "zrb-store: internal error, please report it: KeyError: 'two\\nlines'\n"


@pytest.mark.parametrize("args", ["no-such-command", "list --no-such-option", "show", "list --limit x"])
def test_wrong_use_is_one_line_and_exits_2(args: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(args.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "--help" in shown.err


NINES = "9" * 5000  # more digits than Python converts to an int


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    "args",
    [
        ("list", "--limit", NINES),
        ("list", "--limit", "-1"),
        ("get", "s", "q", "--seq", "9" * 20),
        ("get", "s", "q", "--path", '$["\\q"]'),
        ("get", "s", "q", "--path", f"$[{NINES}]"),
        ("show", "s", "--at", f"before:t#{NINES}"),
        ("trace", f"s/q#{'9' * 20}"),
        ("pop", "s", "q", "--wait", "nan"),
        ("prune", "--keep-last", "9" * 20, "--dry-run"),
    ],
)
def test_odd_arguments_are_wrong_use(command: Commands, store: Store, args: tuple[str, ...]) -> None:
    store.session("s").xcom["q"].push(1)
    result = command(*args)
    assert (result.code, result.out) == (2, "")
    assert "internal" not in result.err
    assert list(store.session("s").xcom["q"]) == [1]


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("ZRB_STORE_MAX_VALUE", NINES),
        ("ZRB_STORE_ATTEMPT", f"s/t#{NINES}@1"),
        ("ZRB_STORE_ATTEMPT", f"s/t#1@{NINES}"),
        ("ZRB_STORE_URL", "~no-such-user/x.db"),
    ],
)
def test_odd_settings_are_named(command: Commands, monkeypatch: pytest.MonkeyPatch, setting: str, text: str) -> None:
    monkeypatch.setenv(setting, text)
    result = command("push", "s", "q", "1")
    assert result.code in (2, 75)  # 75: the token is well-formed, but there is no such attempt
    assert setting in result.err


@pytest.mark.slow
def test_a_working_directory_that_was_deleted(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    # -P, as for an installed program: Python 3.13.0 itself stumbles if it would look for modules there.
    main = MAIN.replace(" -c ", " -P -c ")
    shell = f"cd {gone} && rmdir {gone} && ZRB_STORE_URL=x.db {main} list"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "set ZRB_STORE_URL to an absolute path" in done.stderr


MAIN = shlex.join([sys.executable, "-c", "from zrb_store.cli import main; main()"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("push s q 1 >&-", 0, ""),
        ("pop s q >&-", 1, "s/q#1 was taken, but its reader did not get it: `zrb-store get s q --seq 1` prints"),
        ("list >&-", 1, "the output cannot be written: Bad file descriptor"),
        ("export >&-", 1, "the output cannot be written: Bad file descriptor"),
        ("push s q - <&-", 2, "stdin is closed"),
        ("import <&-", 2, "stdin is closed"),
        ("list >/dev/full", 1, "the output cannot be written: No space left on device"),
        ("export >/dev/full", 1, "the output cannot be written: No space left on device"),
        ("pop s q >/dev/full", 1, "s/q#1 was taken, but its reader did not get it: `zrb-store get s q --seq 1` prints"),
    ],
)
def test_streams_that_are_closed_or_full(tmp_path: Path, words: str, code: int, message: str) -> None:
    with open_store(tmp_path / "x.db") as store:
        store.session("s").xcom["q"].push(1)
    shell = f"export ZRB_STORE_URL={tmp_path}/x.db; {MAIN} {words}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1 if message else 0), done.stderr
    assert message in done.stderr


@pytest.mark.slow
def test_a_value_whose_reader_is_gone_is_named(tmp_path: Path) -> None:
    with open_store(tmp_path / "x.db") as store:
        store.session("s").xcom["q"].push(1)
    reading, writing = os.pipe()
    os.close(reading)
    shell = f"ZRB_STORE_URL={tmp_path}/x.db {MAIN} pop s q"
    done = subprocess.run(["bash", "-c", shell], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "s/q#1 was taken, but its reader did not get it" in done.stderr


def test_a_mistyped_command_is_told_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["sho", "x"], "there is no command 'sho'; did you mean show?"),
        (["%"], "there is no command '%' (see `zrb-store --help`)"),
        (["dropp", "x"], "there is no command 'dropp' (see `zrb-store --help`)"),
        (["kill", "x"], "there is no command 'kill': it is called stop (see `zrb-store --help`)"),
        (["delete", "x"], "there is no command 'delete': it is called rm (see `zrb-store --help`)"),
        (["pussh", "x"], "there is no command 'pussh' (see `zrb-store --help`)"),
        (["db", "statsu"], "there is no command 'statsu'; did you mean status?"),
        (["db", "upgrad"], "there is no command 'upgrad' (see `zrb-store db --help`)"),
    ):
        assert cli.run(words) == 2
        assert message in capsys.readouterr().err


def test_a_command_without_its_session_says_where_to_find_one(capsys: pytest.CaptureFixture[str]) -> None:
    for command, argument in (("show", "SESSION"), ("pin", "SESSION...")):
        assert cli.run([command]) == 2
        missing = f"Missing argument '{argument}': `zrb-store list` shows the sessions that exist"
        message = f"{missing} (see `zrb-store {command} --help`)"
        assert capsys.readouterr().err == f"zrb-store: {message}\n"


@pytest.mark.parametrize(
    "words",
    [pytest.param(["page", "--port"], marks=pytest.mark.needs("page")), ["prune", "--dry-run", "--keep-last"]],
    ids=lambda words: words[0],
)
def test_a_number_that_is_none_or_out_of_range(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    most = "65,535" if words[0] == "page" else "1,000,000,000"
    for given, message in (
        ("x", "'x' is not a whole number of at most 18 digits"),
        ("-1", f"-1 is not a number from 0 to {most}"),
        ("1000000001", f"1000000001 is not a number from 0 to {most}"),
    ):
        assert cli.run([*words, given]) == 2
        assert message in capsys.readouterr().err


def test_what_resume_cannot_mean(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        ([], "name the sessions, or give --failed"),
        (["a", "--failed"], "--failed takes no names"),
        (["a", "--since", "12h"], "--since and --task are for --failed"),
        (["--failed", "--since", "soon"], "'soon'"),
        (["a", "b", "--day", "monday"], "inputs, --set, --from and --here are for one session"),
        (["a", "-x"], "there is no option '-x': inputs are given as --NAME VALUE"),
        (["a", "--token"], "--token has no value: inputs are given as --NAME VALUE"),
    ):
        assert cli.run(["resume", *words]) == 2
        assert message in capsys.readouterr().err


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    shown = capsys.readouterr()
    assert "Commands" in shown.out + shown.err
    assert "Traceback" not in shown.err
