"""The queues of all sessions that somebody may have to look at."""

from __future__ import annotations

from zrb_store.db.engine import Database
from zrb_store.inspect.queue_overview import MOST, queue_overview
from zrb_store.page.addresses import address_of_session
from zrb_store.page.found import Found, Question


def read_queues(database: Database, question: Question) -> Found:
    """Read the queues with dead or held values, and those of sessions that have had no run."""
    overview = queue_overview(database)
    if question.as_json:
        return Found(tree=overview.queues)
    queues = [{**shape, "address": address_of_session(shape["session"])} for shape in overview.queues]
    context = {
        "queues": queues,
        "dead": sum(shape["dead"] for shape in queues),
        "held": sum(shape["held"] for shape in queues),
        "live": sum(shape["live"] for shape in queues if shape["status"] == "open"),
        "most": None if overview.are_all else MOST,
    }
    return Found("queues.html", context)
