"""The environment of all templates, the filters they use, and the text of a session's page.

All text from the store is escaped, and what cannot be printed is shown by its escape. The text is complete without
JavaScript: the card of a session, rows of attempts, and the lives of values.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from zrb_store.inspect.show import Queue, Task
from zrb_store.inspect.trace import took
from zrb_store.masking import printable
from zrb_store.page.assets import marks
from zrb_store.page.content import Report, cut_text
from zrb_store.queries.history import Value
from zrb_store.queries.queues import QueueRules, QueueState
from zrb_store.queries.runs import acknowledged_at
from zrb_store.records import UNSUCCESSFUL, ErrorRecord, JsonTree, iso, to_datetime
from zrb_store.render.attempts import (
    AttemptRow,
    row_of_costs,
    row_of_step,
    rows_of_attempts,
    title_of,
    title_of_run,
    why_it_ended,
)
from zrb_store.render.format import (
    NOTHING,
    counted,
    error_details,
    error_note,
    format_duration,
    preview,
    process,
    project_name,
    pusher,
    queue_limits,
    run_by,
    setting_text,
    size,
    versions,
)
from zrb_store.render.life import fate_now, past
from zrb_store.render.plan import plan_rows
from zrb_store.render.sessions import row_of_session
from zrb_store.wings import place_of

Context: TypeAlias = dict[str, Any]
"""What a template is given: its own names, of any type."""
MOST_ROWS = 300
"""How many rows a table of attempts, runs or changes has in the text."""
_MOST_ATTEMPTS = 50  # with errors or output that stand there one by one; those before open together
_MOST_QUEUES = 40  # that the text has
_MOST_VALUES = 200  # of all queues together; each queue shows its last ones
_CONTENT = 300  # characters of a value
_STRING_OR_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*+"|-?\d++(?:\.\d++)?(?:e[+-]?\d++)?')
# Most pages have none, and this finds that out in a tenth of the time. It may find one in a string, too.
# The first inexact integer has 16 digits and begins with a 9, so times in microseconds are not found.
_PERHAPS_INEXACT = re.compile(r"[:,\[]-?(?:(?:9|\d\d)\d{15}|\d[\d.]*(?:e|\.0[,\]}]))|^-?\d")
_FIRST_INEXACT = 2**53
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


@functools.cache
def environment() -> Environment:
    """Return the environment in which all templates are rendered."""
    made = Environment(
        loader=PackageLoader("zrb_store.page"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"address": address, "has_stats": place_of("figures") is not None}
    made.globals |= {"marks": marks(), "unsuccessful": UNSUCCESSFUL}
    named = (project_name, size, counted, process, content, life, rows, row_of_session, pusher, iso, acknowledged_at)
    titles = (title_of, title_of_run, why_it_ended, error_details, run_by, versions, plan_rows)
    made.filters |= {each.__name__: each for each in (*named, *titles)}
    made.filters |= {
        "session_address": address_of_session,
        "time": _format_time,
        "moment": _format_moment,
        "short_moment": _short_moment,
        "limits": _queue_limits,
        "took": lambda each, now: format_duration(took(each, now)),
        "cut": cut_text,
        "error": error_note,
        "setting": setting_text,
        "clock": lambda at: to_datetime(at).strftime("%H:%M:%S"),
        "thousands": "{:,}".format,
        "quote": shlex.quote,
        "shell": shlex.join,
    }
    return made


def _finalize(value: Any) -> Any:
    """Escape what cannot be printed in everything that a template writes; Jinja then escapes markup."""
    if isinstance(value, Markup):
        return value
    return printable(value if isinstance(value, str) else str(value), keep="\n\t")


def address(page: str, /, **words: str | None) -> str:
    """Return the address of a page, with those words after `?` that are not empty, relative to where all pages are."""
    query = urlencode({name: text for name, text in words.items() if text})
    return f"{page}?{query}" if query else page


def address_of_session(name: str) -> str:
    """Return the address of a session's page."""
    # A browser would take the path `..` for the folder above.
    return f"session/{quote(name, safe=':+')}" if name.strip(".") else address("session", name=name)


def _format_time(at: int | None) -> str:
    """Format a time, as all below in microseconds, in UTC to the second."""
    return NOTHING if at is None else to_datetime(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def _format_moment(at: int | None, how: str = "", zone: str = " UTC") -> Markup:
    """Return an element with a time, which scripts rewrite in the reader's own zone, or as how long ago it is."""
    text = _format_time(at).removesuffix(" UTC") + zone
    return Markup("-") if at is None else Markup('<time datetime="{}"{}>{}</time>').format(iso(at), Markup(how), text)


_short_moment = functools.partial(_format_moment, how=' data-how="ago"', zone="")


def _queue_limits(of: QueueRules | QueueState, *, is_short: bool = False) -> list[Markup]:
    """Return what a queue does not allow, with elements for times."""
    moment = _short_moment if is_short else _format_moment
    return [Markup(text) for text in queue_limits(of.max_deliveries, of.paused_at, moment)]


def as_json(tree: JsonTree) -> Markup:
    """Write data as JSON that can stand in a script element: nothing in it can be taken for markup.

    A number that JavaScript would read or write otherwise than Python becomes `{"$": "number", "v": TEXT}`.
    """
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    if _PERHAPS_INEXACT.search(text):
        text = _STRING_OR_NUMBER.sub(_exact, text)
    return Markup(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def _exact(found: re.Match[str]) -> str:
    """Return a text or a number as it is, or what stands for a number that JavaScript would change."""
    text = found[0]
    if text[0] == '"':
        return text
    if text.lstrip("-").isdecimal():
        is_exact = len(text) < 16 or abs(int(text)) < _FIRST_INEXACT
    else:
        is_exact = "e" not in text and not text.endswith(".0")
    if is_exact:
        return text
    return f'{{"$":"number","v":"{text}"}}'


def packed(text: str) -> str:
    """Return a text for a script element as base64 of gzip, in which it takes a fifth of the room; page.js reads it."""
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()


def queues(report: Report) -> Context:
    """Return the queues that the text has, and apart from them those with nothing but one result, which is live."""
    alone = [each for each in report.queues if each.count == 1 and each.now.name in report.results]
    results = [(each.now.name, value) for each in alone for value in each.values if value.is_live]
    names = {name for name, _ in results}
    found = [each for each in report.queues if each.now.name not in names]
    share = max(5, _MOST_VALUES // max(1, len(found)))
    shown = [each.cut(list(each.values)[-share:]) for each in found[:_MOST_QUEUES]]
    return {"results": results, "queues": shown}


def content(value: Value) -> str:
    """Return the beginning of a value as a person reads it."""
    if value.beginning is not None:
        return f"{value.beginning[:_CONTENT]} […] {size(value.record.size)}"
    return cut_text(preview(value.content), _CONTENT)


def life(value: Value, report: Report, queue: Queue) -> Iterator[str]:
    """Yield what became of a value of a queue, in order."""
    for line in past(value, None, ErrorRecord.text):
        yield cut_text(line, _CONTENT)
    yield fate_now(value, None, report.states, queue.now.rules.max_deliveries, report.read_at)


def rows(task: Task, most: int, program: str, costs: Mapping[str, str]) -> Iterator[AttemptRow]:
    """Yield the rows of the last attempts of a task, of what it has cost, and of its last steps."""
    yield from rows_of_attempts(task, list(task.attempts)[-most:], program)
    if task.name in costs:
        yield row_of_costs(task.name, costs[task.name])
    for step in list(task.steps)[-most:]:
        yield row_of_step(step, program)


def errors(report: Report) -> Context:
    """Return the attempts that are shown with errors and output, and those before, which open together.

    What made the session fail comes first, and leaves last where there are too many; then what was only interrupted,
    and what was tried again, each the newest first. What only printed something stands below in its order.
    """
    ranked = sorted(report.logged, key=lambda each: (each.is_final, each.record.status != "interrupted"))
    logged = ranked[-_MOST_ATTEMPTS:]
    failed = [each for each in reversed(logged) if each.has_failed]
    return {
        "earlier": ranked[:-_MOST_ATTEMPTS],
        "logged": [*failed, *(each for each in logged if not each.has_failed)],
    }
