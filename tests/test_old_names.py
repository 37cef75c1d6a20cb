"""The names before 0.1.0 of settings, options and `run.task`: each works for one release, with one line."""

from __future__ import annotations

import pytest

from tests.attempts import Broken, start
from tests.commands import Commands
from tests.sessions import parse
from tests.told import Told, events
from zrb_store import Store, open_store, settings

REMOVED = "; the next release removes the old name"
IGNORED = ", and is ignored because both are given"

pytestmark = pytest.mark.on_sqlite


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_warned", set())


@pytest.mark.parametrize(
    ("given", "line", "value"),
    [
        (["ON_ERROR=stop"], f"ON_ERROR is now called ZRB_STORE_UNAVAILABLE{REMOVED}", "stop"),
        (["ON_ERROR=ignore"], f"ON_ERROR=ignore is now called ZRB_STORE_UNAVAILABLE=memory{REMOVED}", "memory"),
        (["UNAVAILABLE=ignore"], f"UNAVAILABLE=ignore is now called ZRB_STORE_UNAVAILABLE=memory{REMOVED}", "memory"),
        (["ON_ERROR=ignore", "UNAVAILABLE=stop"], f"ON_ERROR is now called ZRB_STORE_UNAVAILABLE{IGNORED}", "stop"),
        (["OUTPUT=7", "OUTPUT_LIMIT="], f"OUTPUT is now called ZRB_STORE_OUTPUT_LIMIT{REMOVED}", "7"),
        (["ON_ERROR=", "UNAVAILABLE=memory"], None, "memory"),
        (["OUTPUT=7"], f"OUTPUT is now called ZRB_STORE_OUTPUT_LIMIT{REMOVED}", "7"),
        (["OUTPUT=7", "OUTPUT_LIMIT=8"], f"OUTPUT is now called ZRB_STORE_OUTPUT_LIMIT{IGNORED}", "8"),
        (["ON_FAILURE=mail me"], f"ON_FAILURE is now called ZRB_STORE_NOTIFY{REMOVED}", "mail me"),
        (["ON_FAILURE=mail me", "NOTIFY=call me"], f"ON_FAILURE is now called ZRB_STORE_NOTIFY{IGNORED}", "call me"),
        (
            ["ONFAILURE=x"],
            "ONFAILURE is not a setting of zrb-store, and is ignored: did you mean ZRB_STORE_NOTIFY?",
            None,
        ),
    ],
)  # fmt: skip
def test_a_setting(
    command: Commands, monkeypatch: pytest.MonkeyPatch, given: list[str], line: str | None, value: str | None
) -> None:
    for each in given:
        monkeypatch.setenv(f"ZRB_STORE_{each.partition('=')[0]}", each.partition("=")[2])
    result = command("db", "status", "--json")
    assert (result.code, result.err) == (0, f"zrb-store: ZRB_STORE_{line}\n" if line else "")
    shown = {one["value"] for one in parse("status", result.out)["settings"].values() if one["from"] == "environment"}
    assert (value in shown) == (value is not None)
    assert settings.size("ZRB_STORE_OUTPUT_LIMIT") == (
        int(value) if value in ("7", "8") else settings.DEFAULT_OUTPUT_LIMIT
    )
    assert settings.choice("ZRB_STORE_UNAVAILABLE") == ("memory" if value == "memory" else "stop")
    assert settings.notify_command() == (value if value and " me" in value else None)
    assert command("db", "status").err == ""


def test_a_python_program_gets_the_line_and_the_command_gets_no_name_of_it(
    location: str, told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ZRB_STORE_NOTIFY")
    monkeypatch.setenv("ZRB_STORE_ON_FAILURE", told.command)
    for name in ("one", "two"):
        with pytest.raises(Broken), open_store(location) as store, store.session(name).run() as run, run.attempt("a"):
            raise Broken
    assert caplog.messages == [f"ZRB_STORE_ON_FAILURE is now called ZRB_STORE_NOTIFY{REMOVED}"]
    assert events(told.all()) == [("failed", "one"), ("failed", "two")]
    assert not any("ON_FAILURE" in one for one in told.so_far())


def test_an_option(command: Commands, store: Store) -> None:
    for name in ("etl-1", "etl-2", "inbox"):
        with store.session(name).run() as run, run.attempt("load") as attempt:
            attempt.log(f"line of {name}")
    listed = command("list", "--name", "etl-*", "--format", "value")
    assert listed.err == f"zrb-store: --name is now called --match{REMOVED}\n"
    assert listed.out.split() == ["etl-2", "etl-1"]
    assert command("list", "--name", "").out == "no sessions\n"
    both = command("list", "--name", "etl-*", "--match", "inbox", "--format", "value")
    assert both.err == f"zrb-store: --name is now called --match{IGNORED}\n"
    assert both.out == "inbox\n"
    whole = command("log", "etl-1", "--output", "--format", "value")
    assert whole.err == f"zrb-store: --output is now called --all{REMOVED}\n"
    assert whole.out == "line of etl-1\n"
    assert command("__complete", "bash", "2", "zrb-store", "list", "--na").out == ""


def test_a_method(store: Store) -> None:
    run = start(store, "flow")
    with pytest.warns(DeprecationWarning, match=rf"^run\.step is now called run\.task{REMOVED}$") as warned:
        assert run.step("count", len, "abc") == 3
    assert [warning.filename for warning in warned] == [__file__]
    assert run.task("count", len, "abc") == 3
