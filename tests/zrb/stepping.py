"""What the tests of steps under zrb share."""

from __future__ import annotations

from tests.zrb.conftest import Done, Zrb, lines
from zrb_store.queries import attempts
from zrb_store.records import AttemptRecord

PAGES = """
from zrb_store import step

def fetch(ctx, page):
    ran(f"fetch{page}")
    ctx.xcom["pages"].push(page)
    return ctx.xcom["todo"].pop()

@make_task(name="feed", retries=0)
def feed(ctx):
    ctx.xcom["todo"].extend(f"row{n}" for n in range(25))
"""


def steps_of(zrb: Zrb, task: str, session: str | None = None) -> dict[str, list[str]]:
    """Return the statuses of the attempts of each step of a task, saying which completed ones were given back."""
    found: dict[str, list[str]] = {}
    for one in step_attempts(zrb, task, session):
        given_back = ", given back" if one.status == "completed" and one.given_back_at else ""
        found.setdefault(str(one.step), []).append(one.status + given_back)
    return found


def step_attempts(zrb: Zrb, task: str, session: str | None = None) -> list[AttemptRecord]:
    """Return the attempts of all steps of a task, the oldest first."""
    from zrb_store.db.tables import attempt

    name = session or zrb.stored().record.name
    with zrb.store() as store:
        found = store.session(name).record()
        mine = (attempt.c.session_id == found.id, attempt.c.step_of == task)
        rows = store.database.execute(attempts.selection().where(*mine).order_by(attempt.c.id))
        return [attempts.record(row) for row in rows]


def told(done: Done) -> list[str]:
    """Return what the plugin printed, but for what a resume runs and skips."""
    found = [line for line in lines(done.err) if line.startswith(("zrb-store: ", "zrb xcom: "))]
    return [line for line in found if " is resumed: runs " not in line]
