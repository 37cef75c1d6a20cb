"""The names of consumers' sessions."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator


def free_names() -> Iterator[str]:
    """Yield the names that a consumer on this host may have, in the order in which it tries them: consume.HOST.N."""
    host = re.sub(r"[^A-Za-z0-9._:+-]", "-", socket.gethostname())[:100] or "localhost"
    number = 0
    while True:
        number += 1
        yield f"consume.{host}.{number}"
