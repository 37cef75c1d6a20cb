"""Durable queues: `Xcom`, and the mapping of a session's queues by name."""

from zrb_store.xcom.mapping import Xcoms
from zrb_store.xcom.owner import Owner, current_attempt
from zrb_store.xcom.queue import Xcom

__all__ = ["Owner", "Xcom", "Xcoms", "current_attempt"]
