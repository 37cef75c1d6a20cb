"""Finds root runs whose process died, of which nobody has been told (`ZRB_STORE_ON_FAILURE`)."""

from __future__ import annotations

import logging

from zrb_store.db.engine import Database
from zrb_store.errors import ZrbStoreError
from zrb_store.operations.on_failure import tell_death
from zrb_store.queries.clock import now_micros
from zrb_store.queries.lease import cause_of_death, is_live
from zrb_store.queries.on_failure import running_and_untold

_MOST = 20  # commands that are started at once: the next check tells of the others

_log = logging.getLogger("zrb_store")


def has_untold(database: Database) -> bool:
    """Whether there is a stale session of which nobody has been told."""
    moment = now_micros(database)
    return any(not is_live(database, run, moment) for _, run in running_and_untold(database))


def tell_stale(database: Database) -> None:
    """Tell of each root run whose process died, once, whichever process finds it first.

    A run whose process cannot be looked at counts as dead when its lease has expired and was not renewed in the 20 s
    after somebody has noticed that. An error of the store is logged, not raised.
    """
    told = 0
    try:
        for session, run in running_and_untold(database):
            died = None if run.damage else cause_of_death(database, run, now_micros(database))
            if died is not None and told < _MOST:
                tell_death(database, session, run, died)
                told += 1
    except ZrbStoreError as error:
        _log.warning("the command of ZRB_STORE_ON_FAILURE is not started for stale sessions: %s", error)
