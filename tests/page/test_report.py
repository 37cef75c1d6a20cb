"""The report of a session: what is in the file, and how large it may become. Browsers open it in tests/page/browser."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st

from tests.page.documents import (
    ATTEMPTS,
    MARKUP,
    NAME,
    STEPS,
    VALUES,
    Document,
    hostile_session,
    insert,
)
from tests.page.pages import description
from tests.support.commands import Commands, without_notices
from tests.support.sessions import logged, show
from zrb_store import Store, open_store
from zrb_store.page.content import ReportLimits, describe
from zrb_store.page.render import as_json, queues
from zrb_store.records import iso
from zrb_store.render.format import size
from zrb_store.render.readable import with_words


def report(command: Commands, name: str) -> Document:
    return Document(command.ok("report", name))


@pytest.mark.promise(number=14)
def test_description_has_what_show_and_log_have(filled: Store) -> None:
    described = description(filled.database, "etl-24")
    shown, log = show(filled.database, "etl-24"), logged(filled, "etl-24")
    # Who acknowledged it, when and why is among the changes.
    acknowledged = {"acknowledged_at", "acknowledged_by", "acknowledged_reason"}
    same = shown.keys() - {"runs", "tasks", "queues", "costs"} - acknowledged
    assert {name: described[name] for name in same} == {name: shown[name] for name in same}
    runs = [{name: part for name, part in run.items() if name != "worked_until"} for run in described["runs"]]
    assert runs == log["runs"]
    added = {"attempts_left_out", "ended_at", "undone_at", "events"}
    for ours, theirs in zip(described["tasks"], shown["tasks"], strict=True):
        for attempt in ours["attempts"]:
            assert re.fullmatch(r"took (\d+ ms|\d+\.\d s)", attempt.pop("took"))
            assert attempt.pop("retried") is (attempt["status"] == "failed" and attempt["number"] == 1)
        for attempt in theirs["attempts"]:  # a page is sent words
            assert (attempt.pop("inputs_read"), attempt.pop("inputs_assigned")) == (None, [])
            attempt["inputs"] = ""
            attempt["error"] = attempt["error"] and f"{attempt['error']['type']}: {attempt['error']['message']}"
        assert {name: part for name, part in ours.items() if name not in added} == theirs
    for name, queue in described["queues"].items():
        values = [{key: part for key, part in value.items() if key not in added} for value in queue["values"]]
        times = [{at: iso(value[at]) for at in ("pushed_at", "taken_at", "due_at")} for value in values]
        there = [
            {**value, "value": with_words(value["value"]), "size": size(value["size"])}
            for value in shown["queues"][name]["values"]
        ]
        assert [{**value, **own} for value, own in zip(values, times, strict=True)] == there
        assert queue["counts"]["live"] == len(shown["queues"][name]["live"])
    telling = [each for each in log["attempts"] if each["error"] or each["output"]]
    assert described["logged"] == {"attempts": telling, "left_out": 0}
    assert described["changes"] == log["changes"]


def test_the_description_of_a_report_has_the_steps(night: Store) -> None:
    described = description(night.database, "night")
    (task,) = described["tasks"]
    assert [step["name"] for step in task["steps"]] == ["page 1", "charge", "mail", "notify"]
    assert (task["steps_left_out"], task["steps_standing"]) == (0, 3)
    assert described["pending"] == []


@pytest.mark.on_sqlite
def test_the_newest_failure_is_shown_first_and_what_only_printed_last(command: Commands, store: Store) -> None:
    with contextlib.suppress(OSError), store.session("s").run():
        raise OSError
    with contextlib.suppress(OSError), store.session("s").run() as run:
        for task in ("first", "load", "load", "mail", "wait", "last"):
            with contextlib.suppress(ValueError, KeyboardInterrupt), run.attempt(task) as attempt:
                attempt.log("begun")
                if task in ("load", "mail"):
                    raise ValueError
                if task == "wait":
                    raise KeyboardInterrupt
        raise OSError
    shown = re.findall('<summary><span class="status".*?<strong.*?>(.*?)<', command.ok("report", "s"))
    assert shown == ["Run 2", "Run 1", "mail#1", "load#2", "wait#1", "load#1", "first#1", "last#1"]


def test_times_when_values_left_their_queue(store: Store) -> None:
    session = store.session("s")
    with contextlib.suppress(ZeroDivisionError), session.run() as run, run.attempt("a") as attempt:
        attempt.xcom["q"].extend([1, 2])
        attempt.xcom["q"].pop()
        raise ZeroDivisionError
    with session.run() as run:
        run.task("a", lambda: 1)
    first, second = description(store.database, "s")["queues"]["q"]["values"]
    (given_back_at,) = {first["undone_at"], second["undone_at"]}
    assert (second["state"], second["ended_at"]) == ("retracted", given_back_at)
    assert second["taken_at"] is None
    assert second["pushed_at"] < given_back_at


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_everything_is_cut_and_counted(store: Store) -> None:
    session = store.session("s")
    with session.run() as run:
        for _ in range(50):
            with run.begin("load") as attempt:
                attempt.xcom["q"].extend(["x" * 100] * 10)
        with run.attempt("many") as attempt:
            for number in range(50):
                attempt.step(f"page {number}", dict)
        with run.attempt("long") as attempt:
            attempt.complete("y" * 5000)
    limits = ReportLimits(values=6000, value=3000, tasks=6000)
    described = description(store.database, "s", limits=limits)
    queue = described["queues"]["q"]
    assert queue["counts"] == {"values": 500, "live": 500, "dead": 0}
    assert 0 < len(queue["values"]) < 100
    assert queue["left_out"] == 500 - len(queue["values"])
    assert queue["values"][-1]["seq"] == 500
    (long,) = described["queues"]["long"]["values"]
    assert (long["value"], long["beginning"]) == (None, "y" * 2000)
    load, many, _ = described["tasks"]
    assert load["attempts_left_out"] == 50 - len(load["attempts"]) > 0
    assert many["steps_left_out"] == 50 - len(many["steps"]) > 0
    assert many["steps"][-1]["name"] == "page 49"


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.promise(number=14)
def test_policy_allows_the_scripts_and_the_style_of_the_file_and_nothing_else(command: Commands, filled: Store) -> None:
    document = report(command, "etl-24")
    (policy,) = (each["content"] for tag, each in document.elements if each.get("http-equiv"))
    sources = {part.split()[0]: part.split()[1:] for part in str(policy).split("; ")}
    digests = {tag: set[str]() for tag, _ in document.raw}
    for tag, text in document.raw:
        if not text.startswith("H4sI"):
            digests[tag].add(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")
    assert sources == {
        "default-src": ["'none'"],
        "script-src": sorted(digests["script"], key=sources["script-src"].index),
        "style-src": [*digests["style"]],
        "img-src": ["data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    assert [tag for tag, _ in document.elements].index("meta") < [tag for tag, _ in document.elements].index("style")


@pytest.mark.on_sqlite
@pytest.mark.promise(number=14)
def test_everything_from_the_store_is_text(command: Commands, store: Store, filled: Store) -> None:
    hostile_session(store)
    harmless, hostile = report(command, "etl-24"), report(command, "s")
    known = {(tag, name) for tag, attributes in harmless.elements for name in ("", *attributes)}
    # A session with steps, a project and one run has some attributes that the other one has not, but none is code.
    assert {tag for tag, _ in hostile.elements} <= {tag for tag, _ in known} | {"p"}
    assert not [name for _, attributes in hostile.elements for name in attributes if name.startswith("on")]
    assert not [each for _, each in hostile.elements if {"src", "href"} & each.keys() - {"href"}]
    assert {str(each["href"])[0] for _, each in hostile.elements if "href" in each} == {"#", "d"}  # here, and no icon
    assert len([tag for tag, _ in hostile.elements if tag == "script"]) == len(
        [tag for tag, _ in harmless.elements if tag == "script"]
    )
    assert hostile.text.count(MARKUP) > 10
    assert "{{7*7}}" in hostile.text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\u2028\ud800]", hostile.text)
    assert "\\u202eevil\\u2028" in hostile.text
    assert hostile.description["queues"].keys() == {NAME}


@pytest.mark.parametrize(
    ("data", "written"),
    [
        (["<", ">", "&", "\u2028", "\ud800", "a\\"], r'["\u003c","\u003e","\u0026","\u2028","\ud800","a\\"]'),
        ([1, 0.5, -3, True, None, 123456789012345], "[1,0.5,-3,true,null,123456789012345]"),
        ([0.1 + 0.2, -1234.5678901234567, 10.05], "[0.30000000000000004,-1234.5678901234567,10.05]"),
        ([2**53 - 1, 2**53], '[9007199254740991,{"$":"number","v":"9007199254740992"}]'),
        ([1764720000000000, -(10**16) - 1], '[1764720000000000,{"$":"number","v":"-10000000000000001"}]'),
        ([1.0, 1e22, -1e-7], '[{"$":"number","v":"1.0"},{"$":"number","v":"1e+22"},{"$":"number","v":"-1e-07"}]'),
        ({"1.0": "1.0, 1e22", 'a"': [1.5]}, r'{"1.0":"1.0, 1e22","a\"":[1.5]}'),
    ],
)  # fmt: skip
def test_json_in_a_page(data: Any, written: str) -> None:
    assert as_json(data) == written


SCALARS = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@pytest.mark.slow
@hypothesis.given(st.recursive(SCALARS, st.lists))
def test_json_in_a_page_keeps_numbers(data: Any) -> None:
    def number(tree: dict[str, str]) -> Any:
        return json.loads(tree["v"])

    assert json.loads(as_json(data), object_hook=number) == data


@pytest.mark.on_sqlite
@pytest.mark.promise(number=14)
def test_an_empty_report_is_small(command: Commands, store: Store) -> None:
    with store.session("s").run():
        pass
    assert len(command.ok("report", "s").encode()) <= 250_000


LONG_VALUES = VALUES.replace(".25}}'", f'.25,"<b>":"{"<b>éè<i>☃" * 20}"}}}}\'').replace(", 30,", ", 320,")


@pytest.mark.promise(number=14)
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
@pytest.mark.slow
def test_what_has_no_room_is_counted_and_named(command: Commands, store: Store) -> None:
    store.session("s").xcom["q"].push(0)
    insert(store, 20_000, LONG_VALUES)
    insert(store, 6_000, ATTEMPTS)
    insert(store, 6_000, STEPS)
    page = command.ok("report", "s")
    assert len(page.encode()) <= 5_000_000
    document = Document(page)
    queue, (task,) = document.description["queues"]["q"], document.description["tasks"]
    assert queue["left_out"] + len(queue["values"]) == 20_000
    assert queue["left_out"] > 0
    assert task["attempts_left_out"] + len(task["attempts"]) == 6_000
    assert task["steps_left_out"] + len(task["steps"]) == 6_000
    assert min(len(task["attempts"]), len(task["steps"])) > 500
    logged = document.description["logged"]
    assert logged["left_out"] + len(logged["attempts"]) == 6_000
    assert min(task["attempts_left_out"], task["steps_left_out"], logged["left_out"]) > 0
    values, attempts, steps = queue["left_out"], task["attempts_left_out"], task["steps_left_out"]
    told = " ".join(document.text.split())
    assert f"Not on this page: {values:,} earlier values of queue q. zrb-store show s q --all" in told
    assert (
        f"Not on this page: {attempts:,} earlier attempts and {steps:,} earlier steps. zrb-store show s --all" in told
    )
    assert "zrb-store log s --all" in document.text


@pytest.mark.on_sqlite
def test_the_file_is_written_and_opened(
    command: Commands, filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def browser(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr("webbrowser.open", browser)
    assert command.ok("report", "etl-24", "-o", str(tmp_path / "run.html"), "--open") == ""
    assert opened == [(tmp_path / "run.html").as_uri()]
    assert "<h1>etl-24</h1>" in (tmp_path / "run.html").read_text()
    assert command.ok("report", "@last", "--open") == ""
    assert "<h1>etl-25</h1>" in Path(opened[1].removeprefix("file://")).read_text()
    refused = command("report", "etl-24", "-o", str(tmp_path / "none" / "run.html"))
    assert (refused.code, "No such file" in refused.err) == (1, True)
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    assert "no browser could be started: open " in command.ok("report", "@last", "--open")


@pytest.mark.on_sqlite
def test_a_terminal_is_refused(command: Commands, filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zrb_store.page.commands.on_terminal", lambda: True)
    result = command("report", "etl-24")
    assert (result.code, result.out) == (2, "")
    assert "give -o FILE" in result.err


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_no_other_command_imports_the_template_engine(location: str, filled: Store) -> None:
    code = (
        "import sys\nfrom zrb_store import cli\n"
        "for args in (['list'], ['show', 'etl-24'], ['--help'], ['report', '--help']):\n    cli.run(args)\n"
        "assert not {'jinja2', 'markupsafe', 'starlette', 'uvicorn'} & sys.modules.keys(), sys.modules.keys()"
    )
    url = filled.database.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"ZRB_STORE_URL": url, "PATH": ""},
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, without_notices(done.stderr)) == (0, "")
    assert "etl-24" in done.stdout


@pytest.mark.on_sqlite
def test_long_pauses_between_attempts_are_folded(store: Store) -> None:
    for _ in range(2):
        with contextlib.suppress(ZeroDivisionError), store.session("s").run() as run, run.attempt("a"):
            raise ZeroDivisionError
    for table in ("zrb_run", "zrb_attempt"):
        earlier = "started_at = started_at - 9000000000, ended_at = ended_at - 9000000000"
        store.database.execute(sa.text(f"UPDATE {table} SET {earlier} WHERE number = 1"))
    first, second = describe(store.database, "s").scale.stretches
    assert second.span.start - first.span.end > 8_000_000_000
    assert (first.left, first.pause, second.pause) == (0, "", "2 h 30 min")
    assert second.right == pytest.approx(1)
    assert second.left - first.right == pytest.approx(0.04)


@pytest.mark.on_sqlite
def test_a_run_whose_deliveries_have_no_room_does_not_count_as_work(store: Store) -> None:
    queue = store.session("inbox").xcom["files"]
    for _ in range(2):
        queue.extend(range(5))
        with store.session("worker").run() as run:
            for delivery in run.consume(queue):
                with delivery:
                    pass
            run.end("failed")
    store.database.execute(sa.text("UPDATE zrb_run SET started_at = started_at - 9000000000 WHERE number = 1"))
    scales = [
        describe(store.database, "worker", limits=limits).scale for limits in (None, ReportLimits(values=1, tasks=500))
    ]
    lengths = [sum(each.span.end - each.span.start for each in scale.stretches) for scale in scales]
    assert max(lengths) < 9_000_000_000
    assert lengths[1] < lengths[0]


@pytest.mark.on_sqlite
def test_results_that_nobody_took_are_one_table_and_named_for_the_drawings(store: Store) -> None:
    with contextlib.suppress(ZeroDivisionError), store.session("s").run() as run:
        for name in ("a", "b", "c", "d"):
            run.task(name, lambda: 7)
        assert description(store.database, "s")["results"] == ["a", "b", "c", "d"]
        with run.attempt("take") as attempt:
            attempt.xcom["d"].pop()
            raise ZeroDivisionError
    assert description(store.database, "s")["results"] == [], "three are drawn like other queues"
    with store.session("s").run() as run:
        run.task("e", lambda: 7)
        assert description(store.database, "s")["results"] == ["a", "b", "c", "e"]
    found = queues(describe(store.database, "s"))
    assert [name for name, _ in found["results"]] == ["a", "b", "c", "e"]
    assert [each.now.name for each in found["queues"]] == ["d"], "what came back of it is told"


def test_a_report_of_a_session_without_values_says_so(location: str, command: Commands) -> None:
    with open_store(location) as store, store.session("s").run():
        pass
    document = report(command, "s")
    assert "The session has no tasks." in document.text
    assert "The session has no queues." in document.text
    assert "nothing is left to run" in document.text


def test_a_report_tells_what_a_value_was_and_may_be_written_to_a_device(command: Commands, store: Store) -> None:
    store.session("s").xcom["rows"].push("earlier-7")
    assert command("replace", "s/rows#1", '"second"').code == 0
    assert "earlier-7" in command.ok("report", "s")
    command.ok("report", "s", "-o", "/dev/null")
