"""What was stored of the output of an attempt."""

from __future__ import annotations

from tests.support.rows import query
from tests.support.sessions import logged
from zrb_store import Store


def lines_of(store: Store, attempt: str, session: str = "s") -> list[str]:
    """Return the lines of an attempt's output as `STREAM: TEXT`."""
    (found,) = (each for each in logged(store, session)["attempts"] if each["attempt"] == attempt)
    return [f"{line['stream']}: {line['text']}" for line in (found["output"] or {"lines": []})["lines"]]


def stored_pieces(store: Store) -> int:
    return int(query(store, "SELECT count(*) FROM zrb_output")[0][0])
