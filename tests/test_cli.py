"""What every command has in common."""

from __future__ import annotations

import click
import pytest

from zrb_store import cli
from zrb_store.cli.app import app


def test_even_a_fault_of_ours_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    shown = capsys.readouterr()
    assert "Commands" in shown.out + shown.err
    assert "Traceback" not in shown.err
