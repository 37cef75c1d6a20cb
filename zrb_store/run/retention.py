"""Pruning at the end of a run, as `ZRB_STORE_RETENTION` says."""

from __future__ import annotations

import logging

from zrb_store import settings
from zrb_store.db.clock import clock
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import ZrbStoreError
from zrb_store.operations.prune import Policy, prune
from zrb_store.queries.by_hand import last_of_store, record_change
from zrb_store.queries.clock import now_micros
from zrb_store.records import Damage

_TELL_AFTER = 2.0  # seconds
_DAY = 24 * 60 * 60 * 1_000_000

_log = logging.getLogger("zrb_store")


def apply_retention(database: Database) -> None:
    """Prune the store as `ZRB_STORE_RETENTION` says, at most once a day. An error is logged, not raised."""
    try:
        rule = settings.retention()
        if rule is not None and _is_due(database) and database.transact(_claim_the_day):
            damage = Damage("not pruned, because they are damaged")
            _prune(database, Policy(rule.older_than, rule.keep_last), damage)
            if damage:
                _log.warning("%s", damage)
    except ZrbStoreError as error:
        _log.warning("the store was not pruned: %s", error)


def _prune(database: Database, policy: Policy, damage: Damage) -> None:
    """Prune until all is done or the process has to end. Log a message if that takes long."""
    tell_at: float | None = clock.monotonic() + _TELL_AFTER
    for _ in prune(database, policy, damage=damage):
        if database.is_stopping:
            return
        if tell_at is not None and clock.monotonic() > tell_at:
            tell_at = None
            _log.warning(
                "old sessions are being deleted, as ZRB_STORE_RETENTION says; the rest is deleted tomorrow "
                "if you end this process"
            )


def _is_due(executor: Executor) -> bool:
    last = last_of_store(executor, "retention")
    return last is None or now_micros(executor) - last >= _DAY


def _claim_the_day(transaction: Transaction) -> bool:
    """Record that this process prunes today. Return False if another process does."""
    is_due = _is_due(transaction)
    if is_due:
        record_change(transaction, "retention", None)
    return is_due
