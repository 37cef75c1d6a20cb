"""A store with rows in each table, and what damages one of them."""

from __future__ import annotations

import sqlalchemy as sa

from tests.support.rows import allow_damage
from zrb_store import Store, codec
from zrb_store.operations.values import push, replace

_SESSION = "(SELECT id FROM zrb_session WHERE name = 'etl-24')"
_QUEUES = f"(SELECT id FROM zrb_queue WHERE session_id = {_SESSION})"
FAR = 2**62
DAMAGE = {
    "zrb_session": "UPDATE zrb_session SET status = 'done' WHERE name = 'etl-24'",
    "zrb_run": f"UPDATE zrb_run SET lease_expires_at = {FAR} WHERE session_id = {_SESSION}",
    "zrb_attempt": f"UPDATE zrb_attempt SET started_at = {FAR} WHERE session_id = {_SESSION} AND task = 'load'",
    "zrb_output": "UPDATE zrb_output SET data = '[[1]]'",
    "zrb_queue": f"UPDATE zrb_queue SET max_deliveries = -1 WHERE session_id = {_SESSION} AND name = 'rows'",
    "zrb_value": f"UPDATE zrb_value SET state = 'lost' WHERE seq = 1 AND queue_id IN {_QUEUES}",
    "zrb_chunk": f"UPDATE zrb_chunk SET number = -1 WHERE number = 0 AND queue_id IN {_QUEUES}",
    "zrb_return": f"UPDATE zrb_return SET taken_at = {FAR} WHERE queue_id IN {_QUEUES}",
    "zrb_replaced": f"UPDATE zrb_replaced SET size = 0 WHERE queue_id IN {_QUEUES}",
    "zrb_change": f"UPDATE zrb_change SET at = {FAR} WHERE session = 'etl-24'",
}


def fill_all_tables(filled: Store) -> None:
    """Add rows of the session etl-24 to the tables that have none yet."""
    push(filled.database, "etl-24", "by hand", codec.encode(1), None)
    push(filled.database, "etl-24", "long", codec.encode("a long text"), None)
    replace(filled.database, "etl-24/by hand#1", codec.encode(2), None)
    attempt = f"(SELECT min(id) FROM zrb_attempt WHERE session_id = {_SESSION} AND task = 'load')"
    line = f'INSERT INTO zrb_output VALUES ({attempt}, 1, 0, 2, \'[[1, "print", "x"]]\')'
    filled.database.execute(sa.text(line))


def damage(store: Store, table: str) -> None:
    """Damage a row of a table."""
    allow_damage(store)
    assert store.database.execute(sa.text(DAMAGE[table] + " RETURNING 1"))
