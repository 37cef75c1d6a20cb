"""What `log`, `list`, `diff` and `show --at` show of steps."""

from __future__ import annotations

import functools
import operator
import re

import pytest

from tests.support.commands import Commands
from tests.support.sessions import parse, parse_lines
from tests.support.stepping import attempt_of, rows
from zrb_store import Store
from zrb_store.inspect.show import open_session
from zrb_store.runtime import lease
from zrb_store.testing import expire_lease

# -- log


def test_log_has_the_failed_steps_of_each_attempt(command: Commands, night: Store) -> None:
    with attempt_of(night, fails=True) as attempt:
        attempt.step("page 5", int)
    text = command.ok("log", "night")
    titles = [line.partition(", 2")[0] for line in text.splitlines() if " in run " in line or " in convert#" in line]
    assert titles == [
        "convert#1 failed in run 1",
        "convert/3#1 (mail) failed in convert#1, run 1",
        "convert/3#2 (mail) failed in convert#1, run 1",
        "convert#2 failed in run 2",
    ]
    assert text.count("Traceback") == 4
    assert text.endswith("\n4 steps of convert completed.\n")
    assert command.ok("log", "night", "convert") == text
    attempts = parse("log", command.ok("log", "night", "--format", "json"))["attempts"]
    assert [(each["attempt"], each["kind"], each["step"], each["parent"]) for each in attempts] == [
        ("convert#1", "task", None, None),
        ("convert/1#1", "step", "page 1", "convert#1"),
        ("convert/2#1", "step", "charge", "convert#1"),
        ("convert/3#1", "step", "mail", "convert#1"),
        ("convert/3#2", "step", "mail", "convert#1"),
        ("convert/4#1", "step", "notify", "convert#1"),
        ("convert#2", "task", None, None),
        ("convert/5#1", "step", "page 5", "convert#2"),
    ]


def test_log_of_one_step(command: Commands, night: Store) -> None:
    lines = parse_lines("attempt", command.ok("log", "night", "convert/3", "--format", "jsonl"))
    assert [each["attempt"] for each in lines] == ["convert/3#1", "convert/3#2"]
    text = command.ok("log", "night", "convert/1")
    assert re.search(r"^convert/1#1 \(page 1\) completed in convert#1, run 1, .*Z, took .*s$", text, re.MULTILINE)
    assert "Its result:  zrb-store get night convert/1 --result" in text
    assert "No attempt failed" not in text
    assert command.ok("log", "night", "convert/3").count("Traceback") == 2
    result = command("log", "night", "convert/9")
    assert (result.code, "did you mean convert?" in result.err) == (3, True)


# -- list, and what steps hold


@pytest.mark.parametrize("ending", ["failed", "interrupted", "stale"])
def test_what_steps_of_a_halted_session_hold_is_named(command: Commands, store: Store, ending: str) -> None:
    files = store.session("inbox").xcom["files"]
    files.extend("abcd")
    run = store.session("night").run().start()
    attempt = run.begin("convert")
    attempt.step("page 1", lambda: [files.pop(), files.pop()])
    attempt.step("page 2", files.pop)
    assert "held by" not in command.ok("list"), "while the session runs, its completed steps have done their work"
    if ending == "stale":
        lease.stop_renewing(run)
        expire_lease(store.session("night"))
    else:
        attempt.fail(status=ending)
        run.end(ending)
    words = rf"step of an? {ending} session"
    assert re.search(rf"held by night/convert/1#1 for \d+ m?s \({words}\) and 1 more", command.ok("list"))
    text = command.ok("show", "inbox")
    assert len(re.findall(rf"held by night/convert/1#1 for .* \({words}\)", text)) == 2
    assert "Held:     values held by completed steps of night/convert come back only if night is resumed with" in text
    assert "held by" not in command.ok("show", "inbox", "--at", "2099-01-01")
    with store.session("night").run(again=True) as again:
        again.task("convert", int)
        text = command.ok("list") + command.ok("show", "inbox")
        again.end("failed")
    text += command.ok("list") + command.ok("show", "inbox")
    assert "held by" not in text, "the task of the steps has completed"


# -- at another moment, and in another session


def test_show_at_the_moments_of_a_step(command: Commands, night: Store) -> None:
    def seen(moment: str) -> list[tuple[str, str, object]]:
        document = parse("show", command.ok("show", "night", "--at", moment, "--format", "json"))
        return [(step["id"], step["status"], step["result"]) for step in document["tasks"][0].get("steps", ())]

    assert seen("before:convert#1") == []
    assert seen("before:convert/2#1") == [("convert/1", "completed", {"$": "tuple", "v": ["a.csv", 2.5]})]
    assert seen("after:convert/2#1")[1] == ("convert/2", "completed", 7)
    text = command.ok("show", "night", "--at", "before:convert/2#1")
    assert [row.split()[:2] for row in rows(text)] == [
        ["convert#1", "running"],
        ["convert/1", "completed"],
    ]
    assert command("show", "night", "--at", "before:convert/9#1").code == 3


def test_counts_of_steps_at_a_moment(many_steps: Store) -> None:
    def counts(moment: str | None) -> list[object]:
        with open_session(many_steps.database, "night", at=moment) as document:
            return [part for task in document.tasks if task.name == "convert" for part in task.counts or ()]

    assert counts(None) == counts("2099-01-01") == ["convert", 57, 57, 57, 0, 3, 0, 0, 0]
    assert counts("before:convert#1") == []
    assert counts("before:convert/4#2") == ["convert", 4, 3, 3, 0, 1, 0, 0, 0]


def test_diff_compares_the_results_of_steps(command: Commands, store: Store) -> None:
    for session, results in {
        "a": {"one": {"rows": [1, 2]}, "same": "x", "two words": 1},
        "b": {"one": {"rows": [1, 3]}, "new": 0, "same": "x"},
    }.items():
        with attempt_of(store, session, fails=True) as attempt:
            for name in results:
                attempt.step(name, functools.partial(operator.getitem, results, name))
    result = command("diff", "a", "b", "--format", "json")
    assert result.code == 1
    assert [tuple(each.values()) for each in parse("diff", result.out)["differences"]] == [
        ("$.convert.steps.one.rows[1]", "changed", 2, 3),
        ('$.convert.steps["two words"]', "only_a", 1, None),
        ("$.convert.steps.new", "only_b", None, 0),
    ]
    assert command("diff", "a", "a").code == 0
