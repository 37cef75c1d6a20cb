"""What do traces cost?

The same push, step and task run in a process without OpenTelemetry, in one whose SDK is configured and where
`ZRB_STORE_TRACES` is `off`, in one that only passes on the `TRACEPARENT` it was started with, and in one that makes
spans. Its exporter does nothing: what an exporter costs depends on it, and it works in a thread of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import ExitStack

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race, timed
from benchmarks.queues import SMALL
from benchmarks.report import Answer, at_most, ratios
from zrb_store import open_store
from zrb_store.observe import Observer
from zrb_store.traces.choice import PassedOn
from zrb_store.traces.spans import Traces

NONE, OFF, PASSED_ON, ON = "no OpenTelemetry", "off", "passed on", "on"
OPERATIONS = {"push": "push", "step": "step", "task": "`run.task`"}
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class _Nothing(SpanExporter):
    """Exports nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def turn(stack: ExitStack, observer: Observer | None, times: int) -> Contestant:
    """Return a turn of pushes and steps of one attempt, and of tasks of a run."""
    store = stack.enter_context(open_store(new_folder(stack) / "store.db"))
    store.database.observer = observer
    run = stack.enter_context(store.session("steps").run())
    tasks = stack.enter_context(store.session("tasks").run())
    attempt = run.begin("work")
    queue, numbers = attempt.xcom["values"], itertools.count()

    def take_turn() -> dict[str, float]:
        return {
            "push": timed(lambda: queue.push(SMALL), times),
            "step": timed(lambda: attempt.step(f"step {next(numbers)}", lambda: SMALL), times),
            "task": timed(lambda: tasks.task(f"task {next(numbers)}", lambda: SMALL), times),
        }

    return take_turn


def run(effort: Effort) -> Answer:
    """Run one race on SQLite, where an operation takes the least time."""
    answer = Answer()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Nothing()))
    observers: dict[str, Observer | None] = {
        NONE: None,
        OFF: None,
        PASSED_ON: PassedOn(TRACEPARENT),
        ON: Traces(with_values=False, provider=provider),
    }
    with ExitStack() as stack:
        contestants = {name: turn(stack, observer, 20) for name, observer in observers.items()}
        race = Race(contestants, effort(25, 9), effort(20, 5))
    answer.add(*ratios(race, OPERATIONS, NONE))
    for operation, shown in OPERATIONS.items():
        answer.goals.append(at_most(f"{shown} with traces off", 1.02, race.ratio(operation, OFF, NONE)))
    provider.shutdown()
    return answer
