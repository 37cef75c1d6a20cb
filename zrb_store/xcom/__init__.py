"""Durable queues: `Xcom`, and the mapping of a session's queues by name."""

from zrb_store.xcom.mapping import Xcoms
from zrb_store.xcom.queue import Xcom
from zrb_store.xcom.session_queues import current_attempt, leave

__all__ = ["Xcom", "Xcoms", "current_attempt", "leave"]
