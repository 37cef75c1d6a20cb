"""The report: the page of a session as one file that needs no network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from zrb_store.db.engine import Database
from zrb_store.inspect.damage import Damage
from zrb_store.inspect.report import Budget, describe, redacted
from zrb_store.inspect.timeline import micros
from zrb_store.page.assets import GRAPHER, PLOTTER, SESSION_SCRIPTS, inlined
from zrb_store.page.flow_text import events, flow
from zrb_store.page.render import as_json, environment, measure, packed
from zrb_store.page.text import MOST_ATTEMPTS, MOST_ROWS, queues, rows
from zrb_store.render.messages import zrb_program

MOST_BYTES = 5_000_000
"""The size of the largest report."""


def report(
    database: Database, name: str, program: str, plan: dict[str, Any] | None, damage: Damage, *, redact: bool = False
) -> bytes:
    """Return the report of a session, an HTML file.

    Args:
        database: Where the session is.
        name: Its full name.
        program: What a reader types before the name of a command.
        plan: What a resume would do, in the shape of docs/schema/report.json; None if that is not known.
        damage: Collects damaged rows.
        redact: Whether it is for strangers: without values and whatever else was said.

    Raises:
        SessionNotFound: There is no such session.
    """
    budget = Budget(measure=measure)
    while True:
        described = {**describe(database, name, budget=budget, damage=damage), "plan": plan}
        described = redacted(described) if redact else described
        page = "".join(report_of(described, program, redact=redact)).encode()
        if len(page) <= MOST_BYTES or budget.values == 1:
            return page
        budget = budget.part(0.95 * MOST_BYTES / len(page))


def report_of(described: dict[str, Any], program: str, *, redact: bool = False) -> Iterator[str]:
    """Yield the pieces of a report.

    Args:
        described: The session, in the shape of docs/schema/report.json.
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


def _scripts(described: dict[str, Any]) -> tuple[str, ...]:
    """Return the scripts that a report needs."""
    queues = described["queues"].values()
    needed = {
        PLOTTER: any(_may_be_plotted(value["value"]) for queue in queues for value in queue["values"]),
        GRAPHER: bool(queues),
    }
    return tuple(name for name in SESSION_SCRIPTS if needed.get(name, True))


def _may_be_plotted(tree: Any) -> bool:
    """Whether a value begins like a list of numbers."""
    items = tree.get("v") if type(tree) is dict else tree
    if type(items) is not list or len(items) < 2:
        return False
    first = items[0].get("$") if type(items[0]) is dict else items[0]
    return type(first) in (int, float) or first in ("Decimal", "int", "float")


def session_context(described: dict[str, Any], program: str) -> dict[str, Any]:
    """Return what the templates of a session's page are given.

    Args:
        described: The session, in the shape of docs/schema/report.json.
        program: What a reader types before the name of a command.
    """
    text = as_json({"program": program, **described, "queues": _with_numbers(described["queues"])})
    return {
        "session": described,
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


_TIMES = ("pushed_at", "taken_at", "ended_at", "undone_at")


def _with_numbers(queues: dict[str, Any]) -> dict[str, Any]:
    """Return queues with the times of values in microseconds: reading 100,000 of them as texts takes a browser long."""
    return {
        name: {**queue, "values": [{**value, **_times(value)} for value in queue["values"]]}
        for name, queue in queues.items()
    }


def _times(value: dict[str, Any]) -> dict[str, int | None]:
    return {name: None if value[name] is None else micros(value[name]) for name in _TIMES}
