"""The one table of settings: `db status` shows them, and a variable that is none of them gets a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.sessions import parse
from zrb_store import cli, settings
from zrb_store.db.location import store_url
from zrb_store.operations.db import shown_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_warned", set())


@pytest.mark.needs("watch")
def test_status_shows_each_setting_and_where_it_comes_from(command: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRB_STORE_RETENTION", "30d,keep=20")
    monkeypatch.setenv("ZRB_STORE_UNAVAILABLE", "")  # as if it were unset
    monkeypatch.setenv("ZRB_STORE_NOTIFY", "notify --token hunter2-is --to https://me:hunter3-is@host")
    shown = parse("status", command.ok("db", "status", "--format", "json"))["settings"]
    assert list(shown) == [setting.name for setting in settings.SETTINGS]
    assert shown["ZRB_STORE_RETENTION"] == {"value": "30d,keep=20", "from": "environment"}
    assert shown["ZRB_STORE_URL"]["from"] == "environment"
    assert shown["ZRB_STORE_MAX_VALUE"] == {"value": "16777216", "from": "default"}
    assert shown["ZRB_STORE_UNAVAILABLE"] == {"value": "stop", "from": "default"}
    assert shown["ZRB_STORE_SESSION"] == {"value": None, "from": "default"}
    assert shown["ZRB_STORE_NOTIFY"]["value"] == "notify --token '***' --to 'https://me:***@host'"
    text = command.ok("db", "status")
    rows = {row[0]: row[1:] for row in map(str.split, text.splitlines()) if row and row[0].startswith("ZRB_STORE")}
    assert rows["ZRB_STORE_RETENTION"] == ["30d,keep=20", "environment"]
    assert rows["ZRB_STORE_MAX_VALUE"] == ["16777216", "(16", "MiB)", "default"]
    assert rows["ZRB_STORE_SESSION"] == ["a", "random", "name", "default"]
    assert rows.keys() == shown.keys()
    assert "hunter" not in text


@pytest.mark.needs("watch")
def test_status_masks_secrets_of_a_command_whose_quotation_mark_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRB_STORE_NOTIFY", "notify --token hunter2-is 'it failed")
    (shown,) = (each.shown for each in shown_settings() if each.name == "ZRB_STORE_NOTIFY")
    assert "hunter2-is" not in shown
    assert shown.startswith("notify --token ")


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("PERSIST", "", None),
        ("PERSIST", "some", "user or all or named"),
        ("MAX_VALUE", "0", "a number of bytes, e.g. 16777216"),
        ("RETENTION", "30", "e.g. 30d, keep=20 or 30d,keep=20"),
        pytest.param("AGENTS", "none", "on or off or private", marks=pytest.mark.needs("agents")),
        ("UNAVAILABLE", "go", "stop or memory"),
        ("OUTPUT_LIMIT", "64 KiB", "a number of bytes, e.g. 65536, or 0"),
    ],
)
def test_status_names_a_value_that_cannot_be_used(
    command: Commands, monkeypatch: pytest.MonkeyPatch, name: str, value: str, advice: str | None
) -> None:
    monkeypatch.setenv(f"ZRB_STORE_{name}", value)
    found = command("db", "status")
    assert (found.code, "ZRB_STORE_URL" in found.out) == (0, True)
    assert found.err == (f"zrb-store: ZRB_STORE_{name} is {value!r}: set it to {advice}\n" if advice else "")


@pytest.mark.parametrize("location", ["postgresql"], indirect=True)
def test_status_masks_the_password_of_the_store(
    command: Commands, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    monkeypatch.setenv("ZRB_STORE_URL", location.replace("//postgres@", "//postgres:hunter2-is@"))
    for output in ("json", "table"):
        shown = command.ok("db", "status", "--format", output)
        assert "hunter2" not in shown
        assert "//postgres:***@" in shown


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("ZRB_STORE_PRESIST", ": did you mean ZRB_STORE_PERSIST?"),
        ("ZRB_STORE_DURABLITY", ": did you mean ZRB_STORE_DURABILITY?"),
        pytest.param("ZRB_STORE_NOTIFI", ": did you mean ZRB_STORE_NOTIFY?", marks=pytest.mark.needs("watch")),
        ("ZRB_STORE_URI", ": did you mean ZRB_STORE_URL?"),
        ("ZRB_STORE_QQQ", ": `zrb-store db status` lists the settings"),
    ],
)
def test_an_unknown_variable_is_told_once(
    command: Commands, monkeypatch: pytest.MonkeyPatch, variable: str, hint: str
) -> None:
    monkeypatch.setenv(variable, "hunter2-is")
    first = command("list")
    assert first.code == 0
    assert first.err == f"zrb-store: {variable} is not a setting of zrb-store, and is ignored{hint}\n"
    assert command("list").err == ""


def test_what_zrb_store_itself_sets_is_known(command: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings.CHILD_VARIABLES:
        monkeypatch.setenv(name, "x")
    for setting in settings.SETTINGS:
        if setting.name not in settings.CHILD_VARIABLES:
            monkeypatch.setenv(setting.name, setting.default or "")
    assert settings.unknown_variables() == []


def test_a_shell_that_completes_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ZRB_STORE_URL", str(tmp_path / "x.db"))
    monkeypatch.setenv("ZRB_STORE_PRESIST", "all")
    cli.run(["__complete", "bash", "2", "zrb-store", "show", ""])
    assert "PRESIST" not in capsys.readouterr().err


def test_each_default_is_the_one_that_is_used() -> None:
    defaults = {setting.name: setting.default for setting in settings.SETTINGS}
    assert settings.choice("ZRB_STORE_DURABILITY") == defaults["ZRB_STORE_DURABILITY"]
    assert settings.size("ZRB_STORE_MAX_VALUE") == int(str(defaults["ZRB_STORE_MAX_VALUE"])) == 16 * 1024 * 1024
    assert settings.size("ZRB_STORE_OUTPUT_LIMIT") == int(str(defaults["ZRB_STORE_OUTPUT_LIMIT"])) == 64 * 1024
    assert [settings.retention(), settings.notify_command(), settings.session_name()] == [None] * 3
    assert store_url() == store_url(defaults["ZRB_STORE_URL"])
    chosen = {setting.name: setting.choices[0] for setting in settings.SETTINGS if setting.choices}
    assert len(chosen) > 2
    assert chosen.items() <= defaults.items()
