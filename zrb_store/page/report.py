"""The report: the page of a session as one file that needs no network.

Live pages show a session by the same context. `picture` is the card at the head of the page, as a file of its own.
"""

from __future__ import annotations

from dataclasses import replace

from markupsafe import Markup

from zrb_store.db.engine import Database
from zrb_store.page.assets import CARD_STYLES, GRAPHER, PLOTTER, SESSION_SCRIPTS, inlined, style_of
from zrb_store.page.card import Card
from zrb_store.page.content import Plan, Report, ReportLimits, describe
from zrb_store.page.redaction import redacted
from zrb_store.page.render import MOST_ROWS, Context, as_json, environment, errors, packed, queues
from zrb_store.records import JsonObject, JsonValue

_MOST_BYTES = 5_000_000  # of a report


def report(database: Database, name: str, program: str, plan: Plan | None, *, redact: bool = False) -> bytes:
    """Return the report of a session, an HTML file, which says what a resume would do if a plan is given."""
    limits = ReportLimits()
    while True:
        described = replace(describe(database, name, limits=limits), plan=plan)
        page = _page(redacted(described) if redact else described, program, redact).encode()
        if len(page) <= _MOST_BYTES or limits.values == 1:
            return page
        limits = limits.part(0.95 * _MOST_BYTES / len(page))


def picture(database: Database, name: str, program: str, plan: Plan | None, *, redact: bool) -> bytes:
    described = replace(describe(database, name), plan=plan)
    described = redacted(described) if redact else described
    context = {"session": described.session, "card": Card(described, program), "style": Markup(style_of(*CARD_STYLES))}
    return environment().get_template("card.svg").render(context).encode()


def _page(described: Report, program: str, is_redacted: bool) -> str:
    needed = {
        PLOTTER: any(_may_be_plotted(value.content) for each in described.queues for value in each.values),
        GRAPHER: bool(described.queues),
    }
    assets = inlined(tuple(name for name in SESSION_SCRIPTS if needed.get(name, True)))
    context = {**session_context(described, program), "is_redacted": is_redacted, **assets}
    return environment().get_template("report.html").render(context)


def _may_be_plotted(tree: JsonValue) -> bool:
    """Whether a value begins like a list of numbers."""
    items = tree.get("v") if type(tree) is dict else tree
    if type(items) is not list or len(items) < 2:
        return False
    first = items[0].get("$") if type(items[0]) is dict else items[0]
    return type(first) in (int, float) or first in ("Decimal", "int", "float")


def session_context(described: Report, program: str) -> Context:
    """Return what the templates of a session's page are given."""
    description: JsonObject = {"program": program, **described.to_json()}
    text = as_json(description)
    return {
        "session": described.session,
        "report": described,
        "is_redacted": False,
        "program": program,
        "again": described.start.again(program),
        "card": Card(described, program),
        **queues(described),
        **errors(described),
        "more_values": None,
        "most_rows": MOST_ROWS,
        "json": text,
        "description": packed(text),
    }
