"""The report: the page of a session as one file that needs no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from markupsafe import Markup

from zrb_store.db.engine import Database
from zrb_store.inspect.damage import Damage
from zrb_store.inspect.redact import redacted
from zrb_store.inspect.report import Budget, Plan, Report, ReportQueue, ReportValue, describe
from zrb_store.json_tree import JsonObject, JsonValue
from zrb_store.page.assets import GRAPHER, PLOTTER, SESSION_SCRIPTS, inlined
from zrb_store.page.flow_text import events, flow
from zrb_store.page.found import Context
from zrb_store.page.render import as_json, environment, measure, packed
from zrb_store.page.text import MOST_ATTEMPTS, MOST_ROWS, queues, rows
from zrb_store.render.messages import zrb_program

MOST_BYTES = 5_000_000
"""The size of the largest report."""


def report(
    database: Database, name: str, program: str, plan: Plan | None, damage: Damage, *, redact: bool = False
) -> bytes:
    """Return the report of a session, an HTML file.

    Args:
        database: Where the session is.
        name: Its full name.
        program: What a reader types before the name of a command.
        plan: What a resume would do; None if that is not known.
        damage: Collects damaged rows.
        redact: Whether it is for strangers: without values and whatever else was said.

    Raises:
        SessionNotFound: There is no such session.
    """
    budget = Budget(measure=measure)
    while True:
        described = replace(describe(database, name, budget=budget, damage=damage), plan=plan)
        described = redacted(described) if redact else described
        page = "".join(report_of(described, program, redact=redact)).encode()
        if len(page) <= MOST_BYTES or budget.values == 1:
            return page
        budget = budget.part(0.95 * MOST_BYTES / len(page))


def report_of(described: Report, program: str, *, redact: bool = False) -> Iterator[str]:
    """Yield the pieces of a report.

    Args:
        described: The session.
        program: What a reader types before the name of a command.
        redact: Whether to say that much is left out.
    """
    assets = inlined(_scripts(described))
    context = {
        **session_context(described, program),
        "is_redacted": redact,
        "policy": assets.policy,
        "style": Markup(assets.style),
        "scripts": [Markup(text) for text in assets.scripts],
    }
    yield from environment().get_template("report.html").generate(context)


def _scripts(described: Report) -> tuple[str, ...]:
    """Return the scripts that a report needs."""
    needed = {
        PLOTTER: any(_may_be_plotted(shown.value.content) for queue in described.queues for shown in queue.values),
        GRAPHER: bool(described.queues),
    }
    return tuple(name for name in SESSION_SCRIPTS if needed.get(name, True))


def _may_be_plotted(tree: JsonValue) -> bool:
    """Whether a value begins like a list of numbers."""
    items = tree.get("v") if type(tree) is dict else tree
    if type(items) is not list or len(items) < 2:
        return False
    first = items[0].get("$") if type(items[0]) is dict else items[0]
    return type(first) in (int, float) or first in ("Decimal", "int", "float")


def session_context(described: Report, program: str) -> Context:
    """Return what the templates of a session's page are given.

    Args:
        described: The session.
        program: What a reader types before the name of a command.
    """
    description: JsonObject = {"program": program, **described.to_json(_queue_with_numbers)}
    text = as_json(description)
    return {
        "session": described.session,
        "report": described,
        "is_redacted": False,
        "program": program,
        "zrb_program": zrb_program(program),
        "rows": rows(described),
        "queues": queues(described),
        "flow": flow(described),
        "events": events(described),
        "most_rows": MOST_ROWS,
        "most_attempts": MOST_ATTEMPTS,
        "json": text,
        "description": packed(text),
    }


def _queue_with_numbers(queue: ReportQueue) -> JsonObject:
    """Return a queue with the times of values in microseconds: reading 100,000 as texts takes a browser long."""
    return queue.to_json([_with_numbers(value) for value in queue.values])


def _with_numbers(shown: ReportValue) -> JsonObject:
    value, record = shown.value, shown.value.record
    return {
        **shown.to_json(),
        "pushed_at": record.pushed_at,
        "taken_at": value.taken_at,
        "ended_at": record.ended_at,
        "undone_at": shown.undone_at,
    }
