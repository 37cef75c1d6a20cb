"""The location of a store as users give it, read without SQLAlchemy, which takes a fifth of a second to import."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

DEFAULT_PATH = "~/.zrb/xcom.db"

# A URL in its parts: up to the hosts, several of them, the database, and the parameters.
_SEVERAL_HOSTS = re.compile(
    r"(postgres\w*(?:\+\w+)?://(?:[^:/?@]*(?::[^@]*)?@)?)([^/?@]*,[^/?@]*)(/[^?]*)?(?:\?(.*))?", re.DOTALL
)
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?")


def location_text() -> str:
    """Return where the store is: `ZRB_STORE_URL`, else `~/.zrb/xcom.db`."""
    return os.environ.get("ZRB_STORE_URL") or DEFAULT_PATH


def with_hosts_as_parameters(location: str) -> str:
    """Return a PostgreSQL URL with its several hosts as the parameters `host=A,B&port=1,2`; another location as it is.

    SQLAlchemy reads only these, libpq also `//A:1,B:2/`.
    """
    match = _SEVERAL_HOSTS.fullmatch(location)
    hosts = [_HOST.fullmatch(host) for host in match[2].split(",")] if match else []
    if match is None or None in hosts:
        return location
    return f"{match[1]}{match[3] or '/'}?{_parameters(hosts)}{(match[4] and f'&{match[4]}') or ''}"


def _parameters(hosts: Sequence[re.Match[str] | None]) -> str:
    """Return the parameters of libpq that name hosts, each of which has matched `_HOST`."""
    pairs = [(match[1].strip("[]"), match[2] or "") for match in hosts if match]
    ports = ",".join(port for _, port in pairs)
    return "host=" + ",".join(host for host, _ in pairs) + (f"&port={ports}" if ports.strip(",") else "")
