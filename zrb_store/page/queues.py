"""The queues of all sessions that somebody may have to look at."""

from __future__ import annotations

from zrb_store.db.engine import Database
from zrb_store.inspect.queues import MOST, queue_overview
from zrb_store.page.addresses import address_of_session
from zrb_store.page.found import Found, Question


def read_queues(database: Database, question: Question) -> Found:
    """Read the queues with dead or held values, and those of sessions that have had no run."""
    overview = queue_overview(database)
    if question.as_json:
        return Found(tree=[each.to_json() for each in overview.queues])
    queues = overview.queues
    context = {
        "queues": [(each, address_of_session(each.state.session)) for each in queues],
        "dead": sum(each.state.dead for each in queues),
        "held": sum(each.held_count for each in queues),
        "live": sum(each.state.live for each in queues if each.state.status == "open"),
        "most": None if overview.are_all else MOST,
    }
    return Found("queues.html", context)
