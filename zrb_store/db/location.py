"""The location of a store as users give it, read without SQLAlchemy, which takes a fifth of a second to import."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

DEFAULT_PATH = "~/.zrb/xcom.db"

_SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///([^?]*)(?:\?.*)?")
_POSTGRESQL = re.compile(r"postgresql(?:\+psycopg)?(://.*)", re.DOTALL)
# A URL in its parts: up to the hosts, several of them, the database, and the parameters.
_SEVERAL_HOSTS = re.compile(
    r"(postgres\w*(?:\+\w+)?://(?:[^:/?@]*(?::[^@]*)?@)?)([^/?@]*,[^/?@]*)(/[^?]*)?(?:\?(.*))?", re.DOTALL
)
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?")
_HOST_PARAMETER = re.compile(r"(?:^|&)host=([^&]*)")


def location_text() -> str:
    """Return where the store is: `ZRB_STORE_URL`, else `~/.zrb/xcom.db`."""
    return os.environ.get("ZRB_STORE_URL") or DEFAULT_PATH


def file_of(location: str) -> Path | None:
    """Return the file of a SQLite store, or None if the location names something else."""
    match = _SQLITE.fullmatch(location)
    path = match[1] if match else location
    if "://" in path or path in ("", ":memory:"):
        return None
    return Path(path).expanduser()


def with_hosts_as_parameters(location: str) -> str:
    """Return a PostgreSQL URL with its several hosts as the parameters `host=A,B&port=1,2`; another location as it is.

    SQLAlchemy reads only these, libpq also `//A:1,B:2/`.
    """
    match = _SEVERAL_HOSTS.fullmatch(location)
    hosts = [_HOST.fullmatch(host) for host in match[2].split(",")] if match else []
    if match is None or None in hosts:
        return location
    return f"{match[1]}{match[3] or '/'}?{_parameters(hosts)}{(match[4] and f'&{match[4]}') or ''}"


def libpq_uri_of(location: str) -> str | None:
    """Return the URI of a PostgreSQL store as libpq reads it, or None if the location names something else."""
    match = _POSTGRESQL.fullmatch(location)
    if match is None:
        return None
    beginning, mark, query = match[1].partition("?")
    found = _HOST_PARAMETER.findall(query)
    if len(found) > 1:  # SQLAlchemy's `host=A:1&host=B:2`, of which libpq would read the last
        from urllib.parse import unquote  # late: who has a file does not need it

        hosts = [_HOST.fullmatch(unquote(host)) for host in found]
        if None not in hosts:
            query = f"{_parameters(hosts)}&{_HOST_PARAMETER.sub('', query).lstrip('&')}".rstrip("&")
    return f"postgresql{beginning}{mark}{query}"


def _parameters(hosts: Sequence[re.Match[str] | None]) -> str:
    """Return the parameters of libpq that name hosts, each of which has matched `_HOST`."""
    pairs = [(match[1].strip("[]"), match[2] or "") for match in hosts if match]
    ports = ",".join(port for _, port in pairs)
    return "host=" + ",".join(host for host, _ in pairs) + (f"&port={ports}" if ports.strip(",") else "")
