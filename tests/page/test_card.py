"""The card of a session: the sentence, the counts and the command with which its report begins, and its picture."""

from __future__ import annotations

import contextlib
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.attempts import failing
from tests.support.commands import Commands
from tests.support.consumers import two_deaths
from tests.support.holders import hold_a_value
from tests.support.processes import Child
from tests.support.rows import stop_renewals
from tests.support.sessions import check, etl, inbox
from zrb_store import Run, Store
from zrb_store.page.card import Card
from zrb_store.page.content import describe
from zrb_store.run import RunSpec


def made(store: Store, name: str = "etl") -> Card:
    return Card(describe(store.database, name), "zrb-store")


def helps(store: Store, name: str = "etl") -> str:
    advised = made(store, name).helps
    return "" if advised is None else advised.text


def said(store: Store, name: str = "etl") -> str:
    shown = made(store, name)
    texts = [each.text for each in shown.causes] or [shown.note] * bool(shown.note)
    text = ": ".join([shown.subject, *texts])
    return re.sub(r"\d+(\.\d+)? (ms|s)\b|\d\d:\d\d:\d\d", "T", "; ".join([text, *shown.counts]))


@pytest.mark.on_sqlite
def test_it_says_what_failed_and_why_and_what_stands(filled: Store) -> None:
    assert said(filled, "etl-24") == (
        "load failed twice: Broken: no column 'price' in row 3: Broken; 2 tasks kept; 2 to run; 1 value comes back"
    )
    assert said(filled, "etl-25") == "4 tasks completed"
    assert said(filled, "inbox") == "3 values in 1 queue; 2 live"


def test_readers_name_the_same_failure_and_how_many_more(command: Commands, store: Store) -> None:
    """Of tasks that failed at the same time the newest; not one that was only cancelled because of that."""

    def fail(run: Run, *errors: tuple[str, BaseException]) -> None:
        attempts = [(run.begin(task), error) for task, error in errors]
        for attempt, error in attempts:
            attempt.fail(error, "failed" if isinstance(error, ValueError) else "interrupted")

    with contextlib.suppress(ValueError), store.session("etl").run(task="all") as run:
        fail(run, ("b", ValueError("in an earlier run")), ("gone", ValueError("in an earlier run")))
        raise ValueError("done")
    with contextlib.suppress(ValueError), store.session("etl").run() as run:
        fail(run, ("a", ValueError("no column 'price'")))
        fail(run, ("a", ValueError("no column 'cost'")), ("b", ValueError("no row")), ("c", KeyboardInterrupt()))
        raise ValueError("done")
    assert said(store).startswith("b and a failed: ValueError: no row: ValueError: no column 'cost': ValueError: done;")
    assert [each.name for each in made(store).causes] == ["b#2", "a#2", "run 2"]
    (listed,), (checked,), (counted,) = (
        json.loads(command(*words).out) for words in (("list", "--json"), ("check", "--json"), ("stats", "--json"))
    )
    assert listed["reason"] == checked["reason"] == "b and 2 more: ValueError: no row"
    error = check("task_stats", counted)["last_failure"]["error"]
    assert error == {"task": "b", "type": "ValueError", "message": "no row", "others": 2}
    assert "b and 2 more: ValueError: no row" in command("stats").out


@pytest.mark.on_sqlite
def test_many_causes_are_counted_and_the_error_of_the_run_is_always_named(command: Commands, store: Store) -> None:
    with contextlib.suppress(OSError), store.session("etl").run() as run:
        for number in range(13):
            failing(run, f"load-{number}", list)
        raise OSError("the disk is full")
    picture = "".join(ET.fromstring(command.ok("report", "etl", "--format", "svg")).itertext())
    for text in (re.sub("<[^>]+>", "", command.ok("report", "etl")), picture):
        causes = ["load-3#1: Broken", "and 3 more", "run 1: OSError: the disk is full"]
        assert re.search(r"\s*".join(causes), text)
        assert text.count("load-2#1: ") == 0


@pytest.mark.on_sqlite
def test_it_says_which_secrets_the_resume_asks_for(command: Commands, store: Store) -> None:
    """As `show` does."""
    inputs = {"day": "2026-11-24", "token": {"masked": "***"}, "pin": {"masked": "***"}}
    with contextlib.suppress(ValueError), store.session("etl").prepare(RunSpec(path=["etl"], inputs=inputs)) as run:
        run.task("load", int, "x")
    assert "zrb xcom resume etl, which asks for token, pin\n" in command("show", "etl").out
    assert helps(store) == "zrb xcom resume etl, which asks for token, pin"
    page = re.sub("<[^>]+>", "", command("report", "etl").out)
    assert page.count("zrb xcom resume etl, which asks for token, pin") == 2  # in the card, and how to continue
    assert "which asks for token, pin</text>" in command("report", "etl", "--format", "svg").out


@pytest.mark.on_sqlite
def test_it_tells_of_a_resume(store: Store) -> None:
    inbox(store, "a.csv", "b.csv", "c.csv")
    etl(store, "etl", broken=True)
    etl(store, "etl", broken=False)
    assert said(store) == "4 tasks completed; in 2 runs"
    assert [mark.status for lane in made(store).chain for mark in lane.marks].count("failed") == 3


@pytest.mark.on_sqlite
def test_it_tells_of_a_run_that_goes_on_or_died(store: Store) -> None:
    with store.session("etl").run() as run:
        run.task("a", int)
        attempt = run.begin("b")
        attempt.step("page 1", lambda: 7)
        assert said(store) == "running for T: b; 1 of 2 tasks done"
        stop_renewals(store)
        store.database.execute(sa.text("UPDATE zrb_run SET lease_expires_at = 1000000, boot_id = 'other', host = 'x'"))
        assert said(store) == (
            "b died: its process was last seen at T UTC; 1 task kept; 1 to run; 1 step not run again"
        )
        described = describe(store.database, "etl")
        _, b = described.tasks
        (step,) = b.steps
        assert described.timeline.runs[1].end == step.last.ended_at, "the last sign of life is what its attempts did"
        assert described.timeline.span_of(next(iter(b.attempts)).record).end == step.last.ended_at


@pytest.mark.on_sqlite
def test_the_values_that_come_back_are_shown_at_their_places(store: Store) -> None:
    session = store.session("etl")
    session.xcom["files"].extend(["a", "b", "c"])
    for _ in range(2):
        with contextlib.suppress(ValueError), session.run() as run, run.attempt("join") as attempt:
            attempt.xcom["files"].pop()
            attempt.xcom["files"].pop()
            raise ValueError("no such column")
    shown = made(store)
    assert shown.subject == "join failed twice"
    (back,) = shown.returns
    assert (back.queue, back.seq, back.content, back.place) == ("files", 1, '"a"', 0)
    assert back.states == ["back", "back", "live"]
    assert "2 values come back" in shown.counts


@pytest.mark.on_sqlite
def test_a_consumer_is_told_by_its_deliveries(store: Store, command: Commands) -> None:
    two_deaths(store)
    assert said(store, "worker") == "2 deliveries completed, 2 failed: ValueError: cannot decode corrupt-22; 2 dead"
    assert made(store, "worker").causes[0].link.startswith("attempt-")
    assert said(store, "inbox") == "2 of 4 values died: ValueError: cannot decode corrupt-*; 2 dead"
    shown = made(store, "inbox")
    assert helps(store, "inbox") == "zrb-store requeue inbox files --all-dead; or replace or drop single values"
    assert shown.depth is not None
    assert shown.depth.errors == [("ValueError: cannot decode corrupt-*", 2)]
    assert "<li><strong>2 \N{MULTIPLICATION SIGN}</strong> ValueError: cannot decode corrupt-*</li>" in command.ok(
        "report", "inbox"
    )
    assert shown.depth.deaths
    assert shown.depth.most_per_minute == 4
    store.session("inbox").xcom["files"].push("later", delay=60)
    assert "1 delayed" in made(store, "inbox").counts


@pytest.mark.on_sqlite
def test_a_run_that_consumes_works_only_while_it_has_a_value(store: Store) -> None:
    inbox(store, "a.csv", "b.csv")
    queue = store.session("inbox").xcom["files"]
    with store.session("worker").run() as run, store.session("cron").run() as other:
        for _, delivery in zip(range(2), run.consume(queue, wait=60), strict=False):
            with delivery:
                pass
        other.task("a", int)
    earlier = 3600 * 1_000_000
    for table in ("zrb_run", "zrb_attempt"):
        store.database.execute(sa.text(f"UPDATE {table} SET started_at = started_at - {earlier} WHERE number = 1"))
    store.database.execute(sa.text(f"UPDATE zrb_attempt SET ended_at = ended_at - {earlier} WHERE number = 1"))
    assert [pause.title for pause in made(store, "worker").pauses] == ["1 h"]
    assert made(store, "cron").took.startswith("1 h")


@pytest.mark.on_sqlite
def test_an_attempt_takes_as_long_in_the_card_as_in_the_timeline(store: Store) -> None:
    run = store.session("etl").prepare(RunSpec()).start()
    run.begin("a")
    stop_renewals(store)
    for status, said in (("running", r"for \d+ (ms|s)"), ("lost", "its end is not known")):
        described = describe(store.database, "etl")
        ((mark,),) = (lane.marks for lane in Card(described, "zrb-store").chain)
        tasks: Any = described.to_json()["tasks"]
        took = tasks[0]["attempts"][0]["took"]
        assert (mark.status, mark.title) == (status, f"a#1 {status}, {took}")
        assert re.fullmatch(said, took)
        store.database.execute(sa.text("UPDATE zrb_run SET lease_expires_at = 1000000, boot_id = 'other', host = 'x'"))


@pytest.mark.on_sqlite
def test_the_last_failure_is_not_pale_however_near_to_those_before(store: Store) -> None:
    with contextlib.suppress(ValueError), store.session("etl").run() as run:
        run.task("extract", int)
        for _ in range(3):
            with contextlib.suppress(ValueError), run.attempt("load"):
                raise ValueError("no row")
        raise ValueError
    store.database.execute(sa.text("UPDATE zrb_attempt SET started_at = 1 WHERE task = 'extract'"))
    (load,) = [lane for lane in made(store).chain if lane.name == "load"]
    assert [(mark.is_faded, mark.link) for mark in load.marks] == [(True, "attempt-load#1"), (False, "attempt-load#3")]


@pytest.mark.on_sqlite
def test_nothing_is_counted_as_zero(store: Store) -> None:
    with contextlib.suppress(ValueError), store.session("etl").run() as run, run.attempt("load"):
        raise ValueError("page 7 is empty")
    assert said(store) == "load failed: ValueError: page 7 is empty; no task kept; 1 to run"


@pytest.mark.on_sqlite
def test_a_reclaimed_session_is_told_by_the_run_that_died(store: Store, location: str) -> None:
    store.session("inbox").xcom["files"].extend(["a", "b"])
    with Child(hold_a_value, location, "worker") as child:
        child.receive()
        child.kill()
    store.database.execute(sa.text("UPDATE zrb_run SET command = '[\"run.py\", \"a b\"]', folder = '/srv' RETURNING 1"))
    before = made(store, "worker")
    assert "1 value comes back" in before.counts, "of the inbox"
    assert store.session("inbox").xcom["files"].pop() == "a"
    after = made(store, "worker")
    assert "its process was last seen at " in after.causes[0].text
    assert (after.subject, after.helps) == (before.subject, before.helps)
    assert helps(store, "worker") == "cd /srv && python3 run.py 'a b'"
    assert describe(store.database, "worker").session.ended_at is None


@pytest.mark.on_sqlite
@pytest.mark.promise(number=14)
def test_a_command_without_its_secret_is_not_for_copying(store: Store, command: Commands) -> None:
    with contextlib.suppress(ValueError), store.session("etl").run():
        raise ValueError("the API was down")
    for words, shown in (
        ('["run.py", "--day", "1"]', '<code class="command">cd /srv &amp;&amp; python3 run.py --day 1</code>'),
        ('["run.py", "--key", "***"]', "<code>cd /srv &amp;&amp; python3 run.py --key &#39;***&#39;</code>"),
    ):
        store.database.execute(sa.text(f"UPDATE zrb_run SET command = '{words}', folder = '/srv' RETURNING 1"))
        assert f'<span class="go">{shown}</span>' in command.ok("report", "etl")


@pytest.mark.on_sqlite
@pytest.mark.parametrize("name", ["etl-24", "etl-25", "inbox"])
def test_it_can_be_a_picture_of_its_own(command: Commands, filled: Store, tmp_path: Path, name: str) -> None:
    file = tmp_path / "card.svg"
    command.ok("report", name, "--format", "svg", "-o", str(file))
    picture = ET.fromstring(file.read_text(encoding="utf-8"))
    text = " ".join(picture.itertext())
    shown = made(filled, name)
    assert shown.subject in text
    assert shown.helps is None or shown.helps.text in text
    assert not [each for each in picture.iter() if each.tag.endswith(("script", "image", "foreignObject"))]
