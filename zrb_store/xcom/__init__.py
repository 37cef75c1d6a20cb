"""Durable queues: `Xcom`, and the mapping of a session's queues by name."""

from zrb_store.xcom.current import current_attempt, leave
from zrb_store.xcom.mapping import Xcoms
from zrb_store.xcom.queue import Xcom

__all__ = ["Xcom", "Xcoms", "current_attempt", "leave"]
