"""Reports of sessions: their document and what they say, and sessions for it that are large, or full of markup."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
from html.parser import HTMLParser
from typing import Any

from zrb_store import Store
from zrb_store.run import RunSpec

MARKUP = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&lt;"
NAME = MARKUP + "\x1b[31m\u202eevil\u2028\"'`{{7*7}}"
HOSTILE = NAME + "\x00\ud800"  # which the store refuses in a name


class Document(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.raw.append((self._inside, data))
        else:
            self.text += data

    @property
    def description(self) -> dict[str, Any]:
        """The data of the page."""
        (text,) = (text for tag, text in self.raw if text.startswith("H4sI"))  # gzip in base64
        found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(text)))
        return found


def plain(page: str) -> str:
    """Return what a report says, with its data, but without the scripts and styles that are the same in all."""
    packed = re.search(r'id="description">([^<]+)', page)
    page = re.sub(r"(?s)<(script|style)\b.*?</\1>", "", page)
    return page + (gzip.decompress(base64.b64decode(packed[1])).decode() if packed else "")


def hostile_session(store: Store) -> None:
    """Fill the session `s` with hostile names, values, errors, output, inputs and changes."""
    session = store.session("s")
    given: dict[str, Any] = {"task": NAME, "path": [HOSTILE], "inputs": {HOSTILE: HOSTILE}, "project": NAME}
    with contextlib.suppress(ValueError), session.prepare(RunSpec(**given)) as run, run.attempt(NAME) as attempt:
        attempt.xcom[NAME].extend([HOSTILE, {HOSTILE: [HOSTILE]}, [{HOSTILE: 1}], b"\xff<script>", [1, 2]])
        attempt.step(NAME, lambda: HOSTILE)
        raise ValueError(HOSTILE)


NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {}) ",
    "postgresql": "WITH numbers (n) AS (SELECT generate_series(1, {})) ",
}


def insert(store: Store, count: int, statement: str) -> None:
    numbers = NUMBERS[store.database.dialect_name].format(count)
    sql = statement.format(numbers=numbers)
    store.database.transact(lambda transaction: transaction.driver.execute(sql) and None)


VALUES = (
    "INSERT INTO zrb_value (queue_id, seq, type, size, pushed_at, pushed_tick, data, state, ended_at, ended_tick) "
    "{numbers} "
    "SELECT q.id, n, 'dict', 30, 1000 * n, 1000 * n, '{{\"order\":' || n || ',\"total\":' || n || '.25}}', "
    "CASE n % 3 WHEN 0 THEN 'taken' ELSE 'live' END, CASE n % 3 WHEN 0 THEN 1000 * n + 77 END, "
    "CASE n % 3 WHEN 0 THEN 1000 * n + 77 END "
    "FROM numbers CROSS JOIN zrb_queue q WHERE n > 1"
)

ATTEMPTS = (
    "INSERT INTO zrb_attempt (session_id, fence, task, number, kind, status, started_at, started_tick, "
    "ended_at, ended_tick, given_back_at, given_back_tick, "
    "error_type, error_message, error_traceback) {numbers} SELECT s.id, 0, 'load', n, 'task', 'failed', 1000 * n, "
    "1000 * n, 1000 * n + 900, 1000 * n + 900, 1000 * n + 950, 1000 * n + 950, "
    "'ValueError', 'no column <price> in row ' || n, 'Traceback: ' || n "
    "FROM numbers CROSS JOIN zrb_session s"
)

STEPS = (
    "INSERT INTO zrb_attempt (session_id, fence, task, number, kind, status, started_at, started_tick, "
    "ended_at, ended_tick, step_of, step, "
    "step_number, arguments, result) {numbers} SELECT s.id, 0, 'load/' || n, 1, 'step', 'completed', 1000 * n, "
    "1000 * n, 1000 * n + 900, 1000 * n + 900, 'load', 'page ' || n, n, '[[],{{}}]', '\"result ' || n || '\"' "
    "FROM numbers CROSS JOIN zrb_session s"
)
