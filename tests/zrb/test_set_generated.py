"""After `resume --set`, the queues of any workflow equal those of a full run with the new inputs."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.zrb.conftest import Zrb
from tests.zrb.environments import environment

NAMES = st.sampled_from(["a", "b-c", "made"])
GIVEN = st.sampled_from(["a", "b-c"])
HOW = st.sampled_from(["name", "name", "item", "get", "template", "whole", "session"])


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    """Describe a workflow as `generated_changes.py` reads it. Each result is taken by one task at most."""
    tasks: list[dict[str, Any]] = []
    free: set[int] = set()
    for number in range(draw(st.integers(1, 7))):
        upstreams = draw(st.lists(st.integers(0, number - 1), unique=True, max_size=3)) if number else []
        takes = [other for other in upstreams if other in free and draw(st.booleans())]
        free = {*free, number} - {*takes}
        fails = draw(st.none() | GIVEN)
        tasks.append(
            {
                "upstreams": upstreams,
                "takes": takes,
                "reads": draw(st.lists(NAMES, unique=True, max_size=2)),
                "how": draw(HOW),
                "in_step": draw(st.booleans()),
                "condition": draw(st.none() | st.none() | NAMES),
                "fails": fails,
                "fallback": fails is not None and draw(st.booleans()),
            }
        )
    values = st.sampled_from(["0", "1", "2", "fails"])
    before = {name: draw(values) for name in ("a", "b-c")}
    changed = {name for name in before if before[name] == "fails" or draw(st.booleans())} or {"a"}
    others = {name: draw(st.sampled_from([one for one in "012" if one != before[name]])) for name in sorted(changed)}
    return {
        "tasks": tasks,
        "before": before,
        "now": before | others,
        "deadly": draw(st.none() | st.none() | st.integers(0, 6)),
        "resumed": draw(st.booleans()),
        "dies_again": draw(st.sampled_from([False, False, True])),
    }


@pytest.fixture(params=["sqlite", "postgresql"])
def answer(zrb: Zrb, request: pytest.FixtureRequest) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """Returns what becomes of a workflow, in a process that has loaded zrb."""
    if request.param == "postgresql":
        zrb.url = request.getfixturevalue("new_postgres")
    program = [str(environment(zrb.release) / "bin" / "python"), str(Path(__file__).with_name("generated_changes.py"))]
    with subprocess.Popen(
        program,
        cwd=zrb.folder,
        env=zrb.environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(workflow: dict[str, Any]) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(workflow) + "\n")
            process.stdin.flush()
            found: dict[str, Any] = json.loads(process.stdout.readline() or '{"error": "it died"}')
            return found

        yield ask
        process.stdin.close()


@pytest.mark.slow
@pytest.mark.newest
@pytest.mark.promise(number=19)
@pytest.mark.long_on_postgresql
def test_queues_equal_those_of_a_full_run(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    counts: Counter[str] = Counter()

    # 20, or 2,000 in a thorough search
    @settings(max_examples=settings().max_examples * 2 // 5, suppress_health_check=list(HealthCheck))
    @given(workflow=workflows())
    def check(workflow: dict[str, Any]) -> None:
        found = answer(workflow)
        assert not found.get("error"), found["error"]
        assert found["differing"] == {}
        counts.update({name: found[name] for name in ("again", "needless", "kept")})
        event(f"ran again: {min(found['again'], 5)}")

    check()
    print(f"{counts['again']} tasks ran again, {counts['needless']} of them needlessly, and {counts['kept']} did not")
    assert counts["again"] > counts["needless"]
    assert counts["kept"]
