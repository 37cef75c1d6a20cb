"""The URL of a store, as users give it and as it is shown; that of a file without SQLAlchemy, which loads slowly."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from zrb_store.errors import InvalidArgument
from zrb_store.masking import is_secret_name, mask_remembered, mask_word, remember
from zrb_store.settings import value_of

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


# A URL in its parts: up to the hosts, several of them, the database, and the parameters.
_SEVERAL_HOSTS = re.compile(
    r"(postgres\w*(?:\+\w+)?://(?:[^:/?@]*(?::[^@]*)?@)?)([^/?@]*,[^/?@]*)(/[^?]*)?(?:\?(.*))?", re.DOTALL
)
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?")


def with_hosts_as_parameters(location: str) -> str:
    """Return a PostgreSQL URL with its several hosts as the parameters `host=A,B&port=1,2`; another location as it is.

    SQLAlchemy reads only these, libpq also `//A:1,B:2/`.
    """
    match = _SEVERAL_HOSTS.fullmatch(location)
    texts = match[2].split(",") if match else []
    pairs = [(host[1].strip("[]"), host[2] or "") for text in texts if (host := _HOST.fullmatch(text))]
    if match is None or len(pairs) < len(texts):
        return location
    hosts, ports = (",".join(parts) for parts in zip(*pairs, strict=True))
    port = f"&port={ports}" if ports.strip(",") else ""
    return f"{match[1]}{match[3] or '/'}?host={hosts}{port}{(match[4] and f'&{match[4]}') or ''}"


StoreUrl: TypeAlias = "URL"
"""The URL of a store, for modules that do not import SQLAlchemy."""

_MALFORMED = "the store's URL is malformed: use a file path, sqlite:///PATH or postgresql://USER@HOST/NAME"
_STRAY_AT = "the store's URL has an unescaped @ in its user, password or database name: write it as %40"
# A URL that lacks its beginning, or a connection string of libpq. If it were taken for the name of a file, messages
# would show its password.
_NO_PATH = re.compile(
    r"(?![./~])(?:(?:postgres|sqlite)\w*(\+\w+)?:|[\w.%+-]+:(?![\\/]).*@|.*\bpassword\s*=)", re.IGNORECASE | re.DOTALL
)
_USER_AND_PASSWORD = re.compile(r"[\w+]+://([^:/]*(:[^@]*)?@)?")  # as SQLAlchemy splits a URL
# What SQLAlchemy neither quotes in a URL nor reads as something else.
_PLAIN_PATH = re.compile(r"[\w.~/ +-]*", re.ASCII)
_PLAIN_FILE = re.compile(rf"sqlite(?:\+pysqlite)?:///({_PLAIN_PATH.pattern[:-1]}+)", re.ASCII)
_PARAMETER = re.compile(r"[?&][\w.]+=[^&]*")


class _FileUrl(NamedTuple):
    """As much of a URL of SQLAlchemy as is asked of one that names a file."""

    database: str
    drivername: str = "sqlite"
    password: None = None
    query: tuple[()] = ()

    def render_as_string(self, hide_password: bool = True) -> str:
        if _PLAIN_PATH.fullmatch(self.database):
            return f"sqlite:///{self.database}"
        from sqlalchemy.engine import URL

        return URL.create("sqlite", database=self.database).render_as_string(hide_password)

    def difference_update_query(self, names: Sequence[str]) -> _FileUrl:
        return self


def _file_url(path: str) -> URL:
    try:
        return cast("URL", _FileUrl(str(Path(path).expanduser().resolve())))
    except (RuntimeError, OSError, ValueError) as error:  # no home folder, a loop of links, no working directory, NUL
        raise InvalidArgument(f"no file can be at {path!r} ({error}): set ZRB_STORE_URL to an absolute path") from None


def store_url(location: str | os.PathLike[str] | None = None) -> URL:
    """Return the URL of the store: the location if it is given, else `ZRB_STORE_URL`, else `~/.zrb/xcom.db`.

    A store has the same URL, however it was named: the path of a file is absolute, so that a child process in another
    folder finds it too, and without links; the driver for PostgreSQL is psycopg, and several hosts are parameters.
    """
    text = os.fspath(location) if location is not None else str(value_of("ZRB_STORE_URL"))
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = ascii(mask_word(text))
        raise InvalidArgument(f"the store's URL {shown} has bytes that are not UTF-8: name another file") from None
    if text == ":memory:":
        text = "sqlite://"
    if text.startswith("postgres://"):  # libpq takes it, SQLAlchemy does not
        text = text.replace("postgres", "postgresql", 1)
    if "://" not in text:
        if _NO_PATH.match(text):
            raise InvalidArgument(_MALFORMED)
        return _file_url(text)
    if match := _PLAIN_FILE.fullmatch(text):
        return _file_url(match[1])
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(with_hosts_as_parameters(text))
    except (ArgumentError, ValueError):
        # The message does not quote the text, which may contain a password.
        raise InvalidArgument(_MALFORMED) from None
    if url.drivername.startswith("sqlite"):
        if url.database and url.database != ":memory:":
            if not url.query:
                return _file_url(url.database)
            url = url.set(drivername="sqlite", database=_file_url(url.database).database)
        return url
    # After an unescaped @ in the password, its end would be taken for the host, which every message would name.
    if "@" in _PARAMETER.sub("", _USER_AND_PASSWORD.sub("", text, count=1)):
        raise InvalidArgument(_STRAY_AT)
    _remember_passwords(url)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return url


def missing(place: str, path: str | os.PathLike[str] | None) -> str:
    """Say that there is no store at a place, and if it is the default one, that `ZRB_STORE_URL` is not set.

    A job of cron has another home folder and few variables, and so another store than the terminal.
    """
    is_default = not os.environ.get("ZRB_STORE_URL") and path is not None and os.fspath(path) == store_url().database
    why = " (the default, because ZRB_STORE_URL is not set)" * is_default
    return f"there is no store {place}{why}; the first run or push creates it"


_SIDE_FILE = re.compile(r"(.+)-(?:wal|shm|journal)(?:\.replaced)?")
_HEADER = b"SQLite format 3\0"


def refuse_side_file(path: Path) -> None:
    """Raise an error if a file is one that SQLite keeps beside a database."""
    found = _SIDE_FILE.fullmatch(path.name)
    if found and _is_database(path.with_name(found[1])):
        raise InvalidArgument(f"{path} is a file of the database {found[1]}: name another file")


def refuse_database(path: Path) -> None:
    """Raise an error if the output of a command would replace a database, or a file that SQLite keeps beside one."""
    path = path.resolve()
    if _is_database(path):
        raise InvalidArgument(f"{path} is a database, which no output replaces: name another file")
    refuse_side_file(path)


def _is_database(path: Path) -> bool:
    """Whether a file is the store, or another SQLite database."""
    url = store_url()
    if url.drivername == "sqlite" and url.database and _is_same(path, Path(url.database)):
        return True  # it must not be opened here: closing it would drop SQLite's locks
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_HEADER)) == _HEADER
    except OSError:  # nobody can replace what is in a folder that cannot be read
        return False


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def is_same_store(one: StoreUrl, other: StoreUrl) -> bool:
    """Whether two URLs lead to the same database, as whoever they do so."""
    if "sqlite" in (one.drivername, other.drivername):
        return one.drivername == other.drivername and one.database == other.database

    def place(url: StoreUrl) -> tuple[object, ...]:
        parameters = {name: value for name, value in url.query.items() if not is_secret_name(name)}
        return url.drivername, url.host, url.port, url.database, parameters

    return place(one) == place(other)


def _remember_passwords(url: URL) -> None:
    """Have passwords masked where messages and tracebacks quote them, in a URL or in a connection string of libpq."""
    # Not the bare password: it may be a common word such as `postgres`, which would then be masked everywhere.
    if url.password:
        remember(f":{url.password}@", f"password={url.password}")
    for name, values in url.normalized_query.items():
        if is_secret_name(name):
            remember(*(f"{name}={value}" for value in values))


def shown_url(url: URL) -> str:
    """Return the URL of a store as text in which every password is masked, also those among its parameters."""
    text = url.render_as_string(hide_password=True)
    # What is no plain path takes a tenth of a quick command's time: the patterns have to be compiled.
    text = mask_remembered(text) if _PLAIN_FILE.fullmatch(text) else mask_word(text)
    return text.replace("%2C", ",").replace("%3A", ":") if "host" in url.query else text


def url_for_commands(url: URL) -> str:
    """Return the URL of a store as a command that this process starts gets it.

    It has a password only if `ZRB_STORE_URL`, which every command inherits, has it too.
    """
    try:
        if store_url() == url:
            return url.render_as_string(hide_password=False)
    except InvalidArgument:
        pass
    secret = [name for name in url.query if is_secret_name(name)]
    return url.difference_update_query(secret)._replace(password=None).render_as_string(hide_password=False)
