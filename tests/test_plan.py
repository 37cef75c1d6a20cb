"""What a resume runs, decided without zrb."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from zrb_store.errors import InvalidName, TaskNotFound
from zrb_store.plan import Node, Step, Workflow, decide, to_give_back
from zrb_store.records import AttemptRecord


def history(*ended: str) -> list[AttemptRecord]:
    """Attempts, oldest first, each written as `TASK STATUS [ROLE | given-back | opaque]...`."""
    records = []
    for number, text in enumerate(ended, 1):
        task, status, *words = text.split()
        role = next((word for word in words if word in ("check", "server", "fallback", "manual")), "task")
        records.append(
            AttemptRecord(
                id=number, session_id=1, session="s", run_id=1, run=1, fence=1, task=task, number=number, role=role,
                status=status, restorable="opaque" not in words, arguments=None, result_queue_id=None, result_seq=None,
                error_type=None, error_message=None, error_traceback=None, started_at=number, ended_at=number,
                given_back_at=number if "given-back" in words else None,
            )
        )  # fmt: skip
    return records


def shown(steps: Sequence[Step]) -> list[str]:
    return [f"{step.task}: {step.action} {step.reason}" for step in steps]


# As zrb registers them: the main task, then what it starts, then what comes before it.
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
    assert Step("clean", "run", reason) in decide(CHAIN, records)


def test_an_earlier_attempt_that_stands_counts() -> None:
    # A successor that fails makes older releases run a completed task once more.
    assert Step("clean", "skip", "completed") in decide(CHAIN, history("clean completed", "clean failed"))


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
    # Given back only when they start: a condition may keep them from it.
    records = history(*done, "main failed")
    assert to_give_back(decide(SERVED, records), records) == []
    # The server runs again, so that what it needs must be there.
    assert Step("build", "run", "not-restorable") in decide(SERVED, history("build completed opaque", *done[1:]))


def test_what_was_marked_by_hand_does_not_run_whatever_it_is() -> None:
    steps = decide(SERVED, history("api completed manual", "ready completed manual", "build completed manual"))
    assert {step.task for step in steps if step.action == "skip"} == {"api", "ready", "build", "undo"}
    assert Step("api", "run", "forced") in decide(SERVED, history("api completed manual"), "api")


def test_what_cannot_be_restored_runs_if_something_needs_it() -> None:
    records = history("extract completed opaque", "clean completed opaque", "load completed", "report failed")
    assert shown(decide(CHAIN, records)) == [
        "extract: run not-restorable",
        "clean: run not-restorable",
        "load: skip completed",
        "report: run failed",
    ]
    assert to_give_back(decide(CHAIN, records), records) == [(2, "not-restorable"), (1, "not-restorable")]
    # Nothing comes after the last one.
    assert all(step.action == "skip" for step in decide(CHAIN, history("report completed opaque"))[3:])
    # What comes after it is not enough: that must run.
    fan = Workflow([Node("main", ["one", "two"]), Node("one"), Node("two")], "main")
    only = decide(fan, history("one completed opaque", "main completed"))
    assert shown(only) == ["one: skip completed", "two: run never-started", "main: skip completed"]


def test_from() -> None:
    done = history("extract completed", "clean completed", "clean completed", "load completed", "report completed")
    steps = decide(CHAIN, done, "clean", finished=True)
    assert shown(steps) == [
        "extract: skip completed",
        "clean: run forced",
        "load: run downstream-of:clean",
        "report: run downstream-of:clean",
    ]
    # Newest first, each attempt that stands.
    assert to_give_back(steps, done) == [
        (5, "downstream-of:clean"), (4, "downstream-of:clean"), (3, "forced"), (2, "forced"),
    ]  # fmt: skip
    # What waits for a server waits for its check; a successor comes after its owner.
    assert {"api", "main"} == {step.task for step in decide(SERVED, [], "ready") if "downstream" in step.reason}
    assert {"tell", "main"} == {step.task for step in decide(SERVED, [], "seed") if "downstream" in step.reason}


def test_what_cannot_be_run_again_is_refused() -> None:
    with pytest.raises(TaskNotFound, match="there is no task 'claen' here; did you mean clean"):
        decide(CHAIN, [], "claen")
    with pytest.raises(InvalidName, match="no resume runs undo: it is a fallback, and runs only if seed fails"):
        decide(SERVED, [], "undo")
    idle = Workflow([Node("main", successors=["never"]), Node("never", ["other"]), Node("other", ["never2"]),
                     Node("never2", condition=False)], "main")  # fmt: skip
    with pytest.raises(InvalidName, match="no resume runs never: nothing starts it"):
        decide(idle, [], "never")
    with pytest.raises(InvalidName, match="no resume runs never2: its condition never holds"):
        decide(idle, [], "never2")


def test_a_finished_session_runs_nothing() -> None:
    steps = decide(SERVED, history("main completed", "api interrupted server", "ready completed check"), finished=True)
    assert {step.action for step in steps} == {"skip"}
    assert {step.task: step.reason for step in steps} == {
        "build": "never-started", "api": "interrupted", "ready": "completed", "seed": "never-started",
        "tell": "never-started", "undo": "fallback", "main": "completed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "runs"),
    [
        # A fallback with an upstream starts when that is done: zrb does not ask what it is for.
        ([Node("main", ["a"], fallbacks=["f"]), Node("f", ["a"]), Node("a")], "main f a"),
        # A successor waits for its own upstreams, which nothing starts here.
        ([Node("main", successors=["s"]), Node("s", ["u"]), Node("u")], "main"),
        # Success skips the fallback, which lets what waits for it start.
        ([Node("main", successors=["s"], fallbacks=["f"]), Node("s", ["f"]), Node("f")], "main s"),
        # A condition that cannot hold lets pass what waits for the task, but starts no successor and no check.
        (
            [Node("main", ["x"]), Node("x", successors=["s"], checks=["c"], condition=False), Node("s"), Node("c")],
            "main",
        ),
        ([Node("main", successors=["s"]), Node("s", ["main"], successors=["t"]), Node("t")], "main s t"),
    ],
)
def test_what_is_reached(nodes: list[Node], runs: str) -> None:
    assert Workflow(nodes, "main").reached() == set(runs.split())
    steps = decide(Workflow(nodes, "main"), [])
    assert {step.task for step in steps if step.action == "run"} == set(runs.split())


def test_a_long_chain_is_no_recursion() -> None:
    nodes = [Node(f"t{n}", [f"t{n + 1}"]) for n in range(3000)] + [Node("t3000")]
    steps = decide(Workflow(nodes, "t0"), history("t3000 completed", "t2999 failed"))
    assert [step.task for step in steps] == [f"t{n}" for n in range(3000, -1, -1)]
    assert sum(step.action == "run" for step in steps) == 3000


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
        # Asked when its turn comes, whether it was false in an earlier run or not asked yet.
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
    # It held before, or the task has a result.
    steps = decide(CONDITIONS, history("often failed", "lost completed", "main completed"))
    assert {"often: run failed", "lost: skip completed", "main: skip completed"} < set(shown(steps))
    # A condition that never holds now keeps a task from running again.
    assert "never: skip condition" in shown(decide(CONDITIONS, history("never failed")))
    assert "often: run forced" in shown(decide(CONDITIONS, history("often completed"), "often"))
    # The session completed without it.
    ended = decide(CONDITIONS, history("main completed"), finished=True)
    assert {"often: skip condition", "never: skip condition", "after: skip never-started"} < set(shown(ended))
