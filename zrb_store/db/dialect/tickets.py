"""Finding out over a new connection whether PostgreSQL committed a transaction, after the old one was lost."""

from __future__ import annotations

from typing import Any

from zrb_store.errors import StoreUnavailable

# After a crash the server may give the number of a lost transaction to another one. Every crash resets its statistics,
# and a standby has statistics of its own. Restarting the server in an orderly way keeps them.
_LIFE = "extract(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time())::text"
# These two names exist in every supported release.
TICKET_SQL = f"pg_catalog.txid_current()::text || ' ' || coalesce({_LIFE}, '')"
# No row after a crash, when the number may not have been given yet, which would be an error.
_STATUS = f"SELECT pg_catalog.txid_status(%s) WHERE coalesce({_LIFE}, '') = %s"
# If the session was ended while it waited for a synchronous standby, its COMMIT is not there yet. This one is later.
_WAIT_FOR_STANDBY = "SELECT pg_catalog.pg_logical_emit_message(true, 'zrb_store', '')"


def was_committed(driver: Any, ticket: str, where: str) -> bool:
    """Whether a transaction was committed. If not, it never will be.

    Args:
        driver: psycopg's connection, to the server where the transaction ran, in autocommit mode.
        ticket: What `TICKET_SQL` gave in the transaction.
        where: The store, for messages.

    Raises:
        psycopg.OperationalError: The server is still committing it, or does not know yet that its client is lost.
        StoreUnavailable: The server has crashed since, or is another one, and cannot tell.
    """
    import psycopg

    number, life = ticket.split(" ")
    row = driver.execute(_STATUS, [int(number), life]).fetchone()
    status = row and row[0]
    if status is None:
        raise StoreUnavailable(
            f"the store {where} was lost during a COMMIT, and its server has since crashed or changed"
        )
    if status == "in progress":
        raise psycopg.OperationalError("the connection was lost during a COMMIT that has not ended")
    if status == "committed":
        driver.execute(_WAIT_FOR_STANDBY)
        return True
    return False
