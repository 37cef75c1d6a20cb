"""What a resume runs, decided without zrb."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.support.sessions import attempt_record
from zrb_store.errors import InvalidArgument, TaskNotFound
from zrb_store.inspect.resume import Changed, Decision, PlannedResume, ResumeOptions, decide, reruns
from zrb_store.inspect.workflow import Node, Workflow
from zrb_store.records import AttemptRecord

Steps = Sequence[tuple[str, Sequence[str] | None]]


def history(*ended: str) -> list[AttemptRecord]:
    """Return attempts, oldest first, each written as `TASK STATUS [ROLE | given-back | opaque]...`."""
    records = []
    for number, text in enumerate(ended, 1):
        task, status, *words = text.split()
        kind = next((word for word in words if word in ("check", "server", "fallback", "manual")), "task")
        records.append(
            attempt_record(
                id=number,
                task=task,
                number=number,
                kind=kind,
                status=status,
                restorable="opaque" not in words,
                given_back_at=number if "given-back" in words else None,
            )
        )
    return records


def shown(decisions: Sequence[Decision]) -> list[str]:
    return [f"{decision.task}: {decision.action} {decision.reason}" for decision in decisions]


# In the order in which zrb registers tasks: the main task, then what it starts, then what comes before it.
CHAIN = Workflow(
    [Node("report", ["load"]), Node("load", ["clean"]), Node("clean", ["extract"]), Node("extract")], "report"
)
SERVED = Workflow(
    [
        Node("main", ["api", "seed"]),
        Node("api", checks=["ready"], upstreams=["build"]),
        Node("ready"),
        Node("build"),
        Node("seed", fallbacks=["undo"], successors=["tell"]),
        Node("tell"),
        Node("undo"),
    ],
    "main",
)


def test_a_chain_in_the_order_in_which_it_runs() -> None:
    assert shown(decide(CHAIN, history("extract completed", "clean failed", "clean failed"))) == [
        "extract: skip completed",
        "clean: run failed",
        "load: run never-started",
        "report: run never-started",
    ]


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        ("failed", "failed"),
        ("failed given-back", "failed"),
        ("interrupted given-back", "interrupted"),
        ("running", "lost"),
        ("lost given-back", "lost"),
        ("completed given-back", "lost"),
    ],
)
def test_how_the_last_attempt_ended(ended: str, reason: str) -> None:
    records = history("clean completed given-back", f"clean {ended}")
    assert Decision("clean", "run", reason) in decide(CHAIN, records)


def test_an_earlier_attempt_that_stands_counts() -> None:
    # On older releases of zrb, a failing successor makes a completed task run again.
    assert Decision("clean", "skip", "completed") in decide(CHAIN, history("clean completed", "clean failed"))


@pytest.mark.promise(number=2)
def test_servers_checks_and_fallbacks() -> None:
    done = [
        "build completed", "api completed server", "ready completed check",
        "seed completed", "undo completed fallback", "tell completed",
    ]  # fmt: skip
    assert shown(decide(SERVED, history(*done, "main failed"))) == [
        "build: skip completed",
        "api: run readiness",
        "ready: run readiness",
        "seed: skip completed",
        "tell: skip completed",
        "undo: skip fallback",
        "main: run failed",
    ]
    # They are given back only when they start, since a condition may prevent that.
    records = history(*done, "main failed")
    assert reruns(decide(SERVED, records), records).attempts == []
    # The server runs again, so the result that it needs must be restorable.
    assert Decision("build", "run", "not-restorable") in decide(SERVED, history("build completed opaque", *done[1:]))


def test_what_was_marked_by_hand_does_not_run_whatever_it_is() -> None:
    decisions = decide(SERVED, history("api completed manual", "ready completed manual", "build completed manual"))
    assert {decision.task for decision in decisions if decision.action == "skip"} == {"api", "ready", "build", "undo"}
    assert Decision("api", "run", "forced", starts_over=True) in decide(SERVED, history("api completed manual"), "api")


@pytest.mark.promise(number=2)
def test_what_cannot_be_restored_runs_if_something_needs_it() -> None:
    records = history("extract completed opaque", "clean completed opaque", "load completed", "report failed")
    assert shown(decide(CHAIN, records)) == [
        "extract: run not-restorable",
        "clean: run not-restorable",
        "load: skip completed",
        "report: run failed",
    ]
    assert reruns(decide(CHAIN, records), records).attempts == [(2, "not-restorable"), (1, "not-restorable")]
    # Nothing comes after the last task.
    assert all(decision.action == "skip" for decision in decide(CHAIN, history("report completed opaque"))[3:])
    # A completed successor is not enough: only one that runs needs the result.
    fan = Workflow([Node("main", ["one", "two"]), Node("one"), Node("two")], "main")
    only = decide(fan, history("one completed opaque", "main completed"))
    assert shown(only) == ["one: skip completed", "two: run never-started", "main: skip completed"]


@pytest.mark.promise(number=2)
def test_a_forced_task_runs_with_all_that_follows() -> None:
    done = history("extract completed", "clean completed", "clean completed", "load completed", "report completed")
    decisions = decide(CHAIN, done, "clean", finished=True)
    assert shown(decisions) == [
        "extract: skip completed",
        "clean: run forced",
        "load: run downstream-of:clean",
        "report: run downstream-of:clean",
    ]
    # Every standing attempt, newest first.
    assert reruns(decisions, done).attempts == [
        (5, "downstream-of:clean"), (4, "downstream-of:clean"), (3, "forced"), (2, "forced"),
    ]  # fmt: skip
    # A task that waits for a server waits for its check. A successor comes after its owner.
    assert {"api", "main"} == {
        decision.task for decision in decide(SERVED, [], "ready") if "downstream" in decision.reason
    }
    assert {"tell", "main"} == {
        decision.task for decision in decide(SERVED, [], "seed") if "downstream" in decision.reason
    }


def test_what_cannot_be_run_again_is_refused() -> None:
    with pytest.raises(TaskNotFound, match="there is no task 'claen' here; did you mean clean"):
        decide(CHAIN, [], "claen")
    with pytest.raises(TaskNotFound, match="there is no task 'zzz' here; the tasks are extract, clean, load"):
        decide(CHAIN, [], "zzz")
    with pytest.raises(InvalidArgument, match="no resume runs undo: it is a fallback, and runs only if seed fails"):
        decide(SERVED, [], "undo")
    idle = Workflow([Node("main", successors=["never"]), Node("never", ["other"]), Node("other", ["never2"]),
                     Node("never2", condition=False)], "main")  # fmt: skip
    with pytest.raises(InvalidArgument, match="no resume runs never: nothing starts it"):
        decide(idle, [], "never")
    with pytest.raises(InvalidArgument, match="no resume runs never2: its condition never holds"):
        decide(idle, [], "never2")


def test_a_finished_session_runs_nothing() -> None:
    decisions = decide(
        SERVED, history("main completed", "api interrupted server", "ready completed check"), finished=True
    )
    assert {decision.action for decision in decisions} == {"skip"}
    assert {decision.task: decision.reason for decision in decisions} == {
        "build": "never-started", "api": "interrupted", "ready": "completed", "seed": "never-started",
        "tell": "never-started", "undo": "fallback", "main": "completed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "runs"),
    [
        # A fallback with an upstream starts after that upstream: zrb does not check that it is a fallback.
        ([Node("main", ["a"], fallbacks=["f"]), Node("f", ["a"]), Node("a")], "main f a"),
        # A successor waits for its own upstreams, which nothing starts here.
        ([Node("main", successors=["s"]), Node("s", ["u"]), Node("u")], "main"),
        # Success skips the fallback, so that tasks that wait for the fallback start.
        ([Node("main", successors=["s"], fallbacks=["f"]), Node("s", ["f"]), Node("f")], "main s"),
        # If a condition never holds, tasks that wait for the task start, but not its successors and checks.
        (
            [Node("main", ["x"]), Node("x", successors=["s"], checks=["c"], condition=False), Node("s"), Node("c")],
            "main",
        ),
        ([Node("main", successors=["s"]), Node("s", ["main"], successors=["t"]), Node("t")], "main s t"),
    ],
)
def test_what_zrb_would_start_is_planned(nodes: list[Node], runs: str) -> None:
    assert Workflow(nodes, "main").reachable() == set(runs.split())
    decisions = decide(Workflow(nodes, "main"), [])
    assert {decision.task for decision in decisions if decision.action == "run"} == set(runs.split())


def test_a_long_chain_is_no_recursion() -> None:
    nodes = [Node(f"t{n}", [f"t{n + 1}"]) for n in range(3000)] + [Node("t3000")]
    decisions = decide(Workflow(nodes, "t0"), history("t3000 completed", "t2999 failed"))
    assert [decision.task for decision in decisions] == [f"t{n}" for n in range(3000, -1, -1)]
    assert sum(decision.action == "run" for decision in decisions) == 3000


CONDITIONS = Workflow(
    [
        Node("main", ["often", "never", "ready"], condition=None),
        Node("often", condition=None, successors=["after"]),
        Node("after"),
        Node("never", condition=False, successors=["lost"], checks=["check"]),
        Node("lost", condition=None),
        Node("check"),
        Node("ready", checks=["sometimes"], fallbacks=["undo"]),
        Node("sometimes", condition=None),
        Node("undo", condition=False),
    ],
    "main",
)


def test_a_condition_decides_for_what_has_never_started() -> None:
    assert shown(decide(CONDITIONS, [])) == [
        # The condition is evaluated when the task's turn comes, whatever it was in an earlier run.
        "often: run condition",
        "after: run never-started",
        "never: skip condition",
        "check: skip never-started",
        "lost: skip never-started",
        "ready: run readiness",
        "sometimes: run readiness",
        "undo: skip condition",
        "main: run condition",
    ]
    # The condition held before, or the task has a result.
    decisions = decide(CONDITIONS, history("often failed", "lost completed", "main completed"))
    assert {"often: run failed", "lost: skip completed", "main: skip completed"} < set(shown(decisions))
    # A condition that never holds any more prevents the task from running again.
    assert "never: skip condition" in shown(decide(CONDITIONS, history("never failed")))
    assert "often: run forced" in shown(decide(CONDITIONS, history("often completed"), "often"))
    # The session completed without this task.
    ended = decide(CONDITIONS, history("main completed"), finished=True)
    assert {"often: skip condition", "never: skip condition", "after: skip never-started"} < set(shown(ended))


def read(task: str, names: str | None, status: str = "completed", kind: str = "task") -> AttemptRecord:
    """Return an attempt that has read these inputs; None if that is not known."""
    inputs = None if names is None else json.dumps(names.split())
    return attempt_record(id=1, task=task, number=1, kind=kind, status=status, inputs_read=inputs)


@pytest.mark.promise(number=19)
def test_what_has_read_a_changed_input_runs_again() -> None:
    def planned(workflow: Workflow, *records: AttemptRecord, steps: Steps = ()) -> dict[str, str]:
        decisions = decide(workflow, records, finished=True, changed=Changed(["day"], steps))
        given_back = [reason for _, reason in reruns(decisions, records).attempts]
        completed = [each for each in decisions if each.task in {one.task for one in records if one.in_effect}]
        again = [each.reason for each in completed if each.starts_over or each.reason not in ("completed", "fallback")]
        assert sorted(given_back) == sorted(again)
        return {each.task: f"{each.action} {each.reason}{' over' * each.starts_over}" for each in decisions}

    done = [read("extract", ""), read("clean", "size day"), read("load", ""), read("report", None)]
    assert planned(CHAIN, *done) == {
        "extract": "skip completed",
        "clean": "run input:day over",
        "load": "run downstream-of:clean over",
        "report": "run downstream-of:clean over",
    }
    assert planned(CHAIN, *done[:1], read("clean", "*"), *done[2:])["clean"] == "run inputs-unknown over"
    # What has read it, before the task was killed, may be in the result of a step.
    killed = [*done[:1], read("clean", None, "lost")]
    assert planned(CHAIN, *killed, steps=[("clean", ["size"])])["clean"] == "run lost"
    assert planned(CHAIN, *killed, steps=[("clean", ["day"])])["clean"] == "run input:day over"
    assert planned(CHAIN, *killed, steps=[("clean", None)])["clean"] == "run inputs-unknown over"
    # An agent compares its requests, and keeps its steps.
    agent = Workflow([Node("main", ["ask"]), Node("ask", compares_steps=True)], "main")
    assert planned(agent, read("ask", "day"), read("main", "")) == {
        "ask": "run input:day",
        "main": "run downstream-of:ask over",
    }
    # A fallback has run because of what its owner read, and so has what it started: nothing may start it now.
    failed = [read("seed", "day", "failed"), read("undo", "", kind="fallback"), read("build", "")]
    found = planned(SERVED, *failed)
    assert (found["undo"], found["build"]) == ("skip fallback over", "skip completed")
    # A server was interrupted at the end, and what it has read counts for those that it served.
    server = read("api", "day", "interrupted", "server")
    assert planned(SERVED, server, read("main", ""))["main"] == "run downstream-of:api over"
    assert planned(SERVED, read("api", "size", "interrupted", "server"), read("main", ""))["main"] == "skip completed"
    # A task that its condition kept from starting may start now.
    conditional = Workflow([Node("main", ["maybe"]), Node("maybe", condition=None)], "main")
    assert planned(conditional, read("main", "")) == {"maybe": "run condition", "main": "run downstream-of:maybe over"}


def test_reasons_of_a_plan_are_in_other_words_if_inputs_change() -> None:
    def why(reason: str, changed: dict[str, tuple[str, str]]) -> str:
        decision = Decision("load", "run", reason)
        return PlannedResume("etl", None, changed, [decision]).why(decision)

    changed = {"region": ("us", "eu")}
    assert why("input:region", changed) == "input region: us -> eu"
    assert why("completed", changed) == "reads no changed input"
    assert why("completed", {}) == "completed"
    assert why("inputs-unknown", changed) == "not known: runs"
    assert why("downstream-of:clean", changed) == "downstream of clean"
    assert why("forced", changed) == "forced"
    assert why("downstream-of:clean", {}) == "downstream-of:clean"


@pytest.mark.parametrize(
    ("options", "repeats", "are_of_one_session"),
    [
        (ResumeOptions(), False, False),
        (ResumeOptions(repeat_once=True), False, False),
        (ResumeOptions(forced=""), True, True),
        (ResumeOptions(changes={"region": "eu"}), True, True),
        (ResumeOptions(inputs={"password": "x"}), False, True),
        (ResumeOptions(takes_over=True), False, True),
    ],
)
def test_what_options_of_a_resume_ask_for(options: ResumeOptions, repeats: bool, are_of_one_session: bool) -> None:
    assert (options.repeats, options.are_of_one_session) == (repeats, are_of_one_session)
