"""What to type next is decided in one place: `show`, the card, `check` and the last line of a run advise the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.sessions import parse_lines
from zrb_store import Run, Store, step, wait
from zrb_store.inspect.advice import Advice, Start
from zrb_store.queries import runs
from zrb_store.run import RunSpec

pytestmark = pytest.mark.on_sqlite

LOG, RESUME = "zrb-store log s", "zrb xcom resume s"


class Place(NamedTuple):
    """Where a session is run."""

    store: Store
    folder: Path  # of its project
    command: Commands

    def run(self, **settings: Any) -> Run:
        """Return a run of the session `s`, by default as the plugin starts one."""
        of_zrb = {"project": str(self.folder), "path": ["etl", "load"], "task": "load"}
        return self.store.session("s").prepare(RunSpec(**{**of_zrb, **settings}))


def ended(place: Place, error: BaseException, **settings: Any) -> str:
    """Let a task end by an error, and return the last line of its run, which zrb prints in the same way."""
    with contextlib.suppress(ValueError, KeyboardInterrupt), place.run(**settings) as run, run.attempt("load"):
        raise error
    (status,) = runs.status_of(place.store.database, run.id) or (None,)
    return run.how_started.last_line(str(status))


def waiting(place: Place, **asked: Any) -> str:
    with pytest.raises(SystemExit) as end, place.run() as run, run.attempt("load"):
        wait("approve", **asked)
    return str(end.value)


def late(place: Place) -> None:
    waiting(place, timeout=3600)
    place.store.database.execute(sa.text("UPDATE zrb_attempt SET deadline_at = 1 WHERE deadline_at IS NOT NULL"))


def dead_values(place: Place) -> None:
    queue = place.store.session("s").xcom["files"]
    queue.max_deliveries = 1
    queue.push("a.csv")
    with contextlib.suppress(ValueError), place.store.session("worker").run(task="worker") as run:
        for delivery in run.consume(queue):
            with delivery:
                raise ValueError
    place.command.ok("ack", "worker")


def completed_with_a_failed_step(place: Place) -> None:
    with place.run() as run, run.attempt("load"), contextlib.suppress(ValueError):
        step("page", int, "x")


def stopped(place: Place) -> None:
    run = place.run().start()
    place.store.database.execute(sa.text("UPDATE zrb_run SET stop_requested_at = 1"))
    run.end("failed")


def running(place: Place) -> None:
    place.run().start()


def moved(place: Place) -> None:
    gone = place.folder / "gone"
    gone.mkdir()
    ended(place._replace(folder=gone), ValueError())
    gone.rmdir()


class State(NamedTuple):
    """A state of a session, and all that is advised in it, but for what is only to be known."""

    reach: Callable[[Place], str | None]  # it returns what the run says at its end
    advised: Sequence[str]
    is_alert: bool = True


STATES = {
    "failed task": State(lambda place: ended(place, ValueError()), [LOG, RESUME]),
    "stopped": State(stopped, [LOG, RESUME]),
    "interrupted": State(lambda place: ended(place, KeyboardInterrupt()), [LOG, RESUME]),
    "with a secret": State(
        lambda place: ended(place, ValueError(), inputs={"token": {"masked": "***"}}),
        [LOG, f"{RESUME}, which asks for token"],
    ),
    "program": State(
        lambda place: ended(place, ValueError(), path=[], command=["nightly.py", "a b"]),
        [LOG, "python3 nightly.py 'a b'"],
    ),
    "unknown program": State(
        lambda place: ended(place, ValueError(), path=[], command=["-c"]), [LOG, "start its program again"]
    ),
    "failed script": State(lambda place: ended(place, ValueError(), path=["--", "false"]), [LOG, "zrb-store resume s"]),
    "waiting for an answer": State(waiting, ["""zrb-store push s approve '"yes"'"""], is_alert=False),
    "too late": State(late, [RESUME]),
    "dead values": State(dead_values, ["zrb-store requeue s files --all-dead; or replace or drop single values"]),
    "completed with a failed step": State(completed_with_a_failed_step, [LOG], is_alert=False),
    "running": State(running, [f"{LOG} --follow"], is_alert=False),
    "in a folder that is gone": State(moved, [LOG, f"{RESUME} --here"]),
}


def card_of(store: Store, name: str) -> Advice | None:
    """Return what the card of a page advises first."""
    from zrb_store.page.card import Card
    from zrb_store.page.content import describe

    return Card(describe(store.database, name), "zrb-store").helps


@pytest.mark.needs("page", "watch")
@pytest.mark.parametrize("name", STATES)
def test_all_advise_the_same(
    name: str, store: Store, command: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = STATES[name]
    last_line = state.reach(Place(store, tmp_path, command))
    shown = [line.partition(" ")[::2] for line in command("show", "s").out.splitlines()]
    labels = ("Log:", "Answer:", "Resume:", "Dead:")
    assert [text.strip() for label, text in shown if label in labels] == state.advised
    does = [text for text in state.advised if not text.startswith(LOG)] or [*state.advised]
    commands = [text for text in does if not text.startswith("start")] or [LOG]
    helps = card_of(store, "s")
    assert helps is not None
    assert helps.text.removeprefix(f"cd {tmp_path} && ") == commands[0]
    alerts = parse_lines("alert", command("check", "--format", "jsonl").out)
    assert [alert["remedy"] for alert in alerts] == [commands[0].split(",")[0].split(";")[0]] * state.is_alert
    if alerts:
        words = commands[0].removeprefix(alerts[0]["remedy"])
        assert command("check").out.endswith(f"; `{alerts[0]['remedy']}`{words}\n")
    if last_line is not None:
        for text in does:
            typed, comma, words = text.partition(",")
            assert (f"`{typed}`{comma}{words}" if text in commands else text) in last_line


@pytest.mark.needs("page")
def test_a_fork_that_has_not_run_is_resumed(
    store: Store, command: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended(Place(store, tmp_path, command), ValueError())
    command.ok("fork", "s", "--from", "load", "--name", "t")
    assert "Resume:   zrb xcom resume t\n" in command.ok("show", "t")
    helps = card_of(store, "t")
    assert helps is not None
    assert helps.command == f"cd {tmp_path} && zrb xcom resume t"


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (Start("s.1", parent="s"), "push the event again to repeat it: events are handled once"),
        (
            Start("s", ["--", "curl", "***"], secrets=["its command"]),
            "start it by name, as before: it needs a secret that is not stored",
        ),
        (Start("s", uses_zrb=True), "start its program again with ZRB_STORE_SESSION=s"),
    ],
)
def test_what_no_command_continues(start: Start, said: str) -> None:
    assert start.again().command is None
    assert start.last_line("failed") == f"session {start.session} failed; {said}"
