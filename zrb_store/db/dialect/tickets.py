"""Finding out over a new connection whether PostgreSQL committed a transaction, after the old one was lost.

A number alone does not name a transaction: after a crash, or after a standby has taken over, the server may give the
number of a lost transaction to another one. So a ticket also says which server gave it, and when; and a record with the
transaction's number is written to the server's log, whose place in the log the ticket has too.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from zrb_store.db.dialect.answer import answer
from zrb_store.errors import StoreUnavailable

# When the server's statistics began. Every crash resets them, and a standby has its own. Restarting the server in an
# orderly way keeps them.
_SINCE = "pg_catalog.pg_stat_get_bgwriter_stat_reset_time()"
_LIFE = f"coalesce(extract(epoch FROM {_SINCE})::text, '')"
# Each takeover by a standby begins a timeline, which is part of the names of the log's files.
_TIMELINE = "left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)"
RECORD = "pg_catalog.pg_logical_emit_message(true, 'zrb_store', '')"
# These two names exist in every supported release.
TICKET_SQL = f"pg_catalog.txid_current()::text || ' ' || {_LIFE} || ' ' || {_TIMELINE} || ' ' || {RECORD}::text"
_SYSTEM = "SELECT system_identifier FROM pg_catalog.pg_control_system()"
_MARGIN = 0.2  # seconds by which two clocks may go apart meanwhile

# A standby that has taken over knows what it had replayed last, until it is restarted.
_ABOUT_SERVER = f"""
    SELECT pg_catalog.pg_is_in_recovery() AS is_standby,
        {_LIFE} AS life,
        coalesce(extract(epoch FROM clock_timestamp() - {_SINCE}), 0)::float8 AS age,
        CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN {_TIMELINE} END AS timeline,
        pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_replay_lsn(), %(record)s::pg_lsn) >= 0 AS has_record
    OFFSET 0"""
_STATUS = f"""
    SELECT is_standby, age, timeline > %(timeline)s AND NOT has_record, timeline = %(timeline)s AND life = %(life)s,
        CASE WHEN timeline = %(timeline)s AND life = %(life)s OR timeline = %(following)s AND has_record
            THEN pg_catalog.txid_status(%(number)s) END
    FROM ({_ABOUT_SERVER}) AS server"""
# If the session was ended while it waited for a synchronous standby, its COMMIT is not there yet. This one is later.
_WAIT_FOR_STANDBY = f"SELECT {RECORD}"


class Ticket(NamedTuple):
    """What a transaction is found by.

    Attributes:
        text: What `TICKET_SQL` gave in it.
        system: What `system_of` gave.
        taken_at: A moment before it began, by `time.monotonic`.
    """

    text: str
    system: str
    taken_at: float


def system_of(driver: Any) -> str:
    """Return what a server has in common with its standbys, and with no other server; empty if that is not told."""
    import psycopg

    try:
        return answer(driver, _SYSTEM)[0].decode()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
        return ""


def was_committed(driver: Any, ticket: Ticket, where: str) -> bool:
    """Whether a transaction was committed. If not, it never will be.

    The server where it ran tells, unless it has crashed since. A standby that has taken over tells by what it had
    replayed of the log. If the transaction's first record is not there, nothing of it is. If that is there, the number
    was not given to another transaction, provided that nothing was replayed once more since; so the standby must have
    been running, without a crash, since before the transaction began.

    Args:
        driver: psycopg's connection, to the server where the transaction ran or to one that has taken over, in
            autocommit mode.
        ticket: The transaction's.
        where: The store, for messages.

    Raises:
        psycopg.OperationalError: The server is still committing it, does not know yet that its client is lost, or is a
            standby that has not taken over.
        StoreUnavailable: The server has crashed since, or is another one, and cannot tell.
    """
    import psycopg

    number, life, timeline, record = ticket.text.split(" ")
    params: dict[str, Any] = {"number": int(number), "life": life, "timeline": timeline, "record": record}
    params["following"] = f"{int(timeline, 16) + 1:08X}"
    system = system_of(driver)
    is_standby, age, is_lost, is_same_server, status = driver.execute(_STATUS, params).fetchone()
    if is_standby:
        raise psycopg.OperationalError("the server is a standby, and the connection was lost during a COMMIT")
    # The time is taken after the answer, since the question may have been under way for a while.
    was_standby = age > time.monotonic() - ticket.taken_at + _MARGIN
    knows = is_same_server or (system and (is_lost or was_standby))
    if system != ticket.system or not knows or (status is None and not is_lost):
        raise StoreUnavailable(
            f"the store {where} was lost during a COMMIT, and its server has since crashed or changed"
        )
    if status == "in progress":
        raise psycopg.OperationalError("the connection was lost during a COMMIT that has not ended")
    if status == "committed":
        driver.execute(_WAIT_FOR_STANDBY)
        return True
    return False
