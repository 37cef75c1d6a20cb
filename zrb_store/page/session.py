"""The page of a session, which follows it while it runs."""

from __future__ import annotations

from dataclasses import replace

from zrb_store.db.engine import Database
from zrb_store.inspect import session_names
from zrb_store.inspect.report import Budget, describe
from zrb_store.inspect.show import open_session
from zrb_store.json_tree import whole
from zrb_store.page.addresses import address_of_session
from zrb_store.page.assets import SESSION_SCRIPTS
from zrb_store.page.found import Elsewhere, Found, Question
from zrb_store.page.render import measure
from zrb_store.page.report import session_context
from zrb_store.records import iso

# A page that is read again and again holds fewer values than a report: it says how many are left out.
_BUDGET = replace(Budget(measure=measure), most_values=5000)


def read_session(database: Database, question: Question) -> Found | Elsewhere:
    """Read a session. A unique beginning of its name, `@last` and `@last-failed` lead to its address.

    Raises:
        SessionNotFound: There is no such session.
        InvalidArgument: The beginning is not unique.
    """
    asked = question.path.get("name") or question.given.get("name", "")
    name = session_names.resolve(database, asked).name
    if question.as_json:
        with open_session(database, name) as document:
            return Found(tree=whole(document.to_json()))
    if name != asked:
        return Elsewhere(address_of_session(name))
    described = describe(database, name, budget=_BUDGET)
    context = {**session_context(described, question.program), "scripts": SESSION_SCRIPTS}
    if described.session.status in ("running", "stale"):
        return Found("live_session.html", context)
    # A session that does not run looks the same whenever it is read.
    return Found("live_session.html", context, unless=context["json"].replace(str(iso(described.read_at)), ""))
