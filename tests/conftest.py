"""Fixtures for all tests: the location of a store on both databases, an open store. chosen.py says what runs."""

from __future__ import annotations

import gc
import itertools
import math
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import psutil
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from tests import chosen
from tests.support import next_release, pgbouncer, postgres
from tests.support.commands import Commands
from tests.support.programs import refuse, require
from tests.support.statements import built_again
from zrb_store import masking
from zrb_store.db import migrate, patience
from zrb_store.db.clock import Clock
from zrb_store.db.clock import clock as process_clock
from zrb_store.db.location import store_url
from zrb_store.db.schema import open_database
from zrb_store.db.tables import value
from zrb_store.queries import chunks, takes
from zrb_store.queries import chunks as db_chunks
from zrb_store.runtime import lease

if TYPE_CHECKING:
    import psycopg

    from zrb_store import Store

# The developer's own settings must not reach the tests or the processes that they start.
for name in [name for name in os.environ if name.startswith("ZRB_")]:
    del os.environ[name]

# Without bytecode every process that a test starts compiles all it imports, as no user's does.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell lets jobs started with & or nohup ignore these signals, and child processes inherit that.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# Tests whose examples are slow take a share of these. A long search: pytest -m hypothesis --hypothesis-profile=thorough
hypothesis.settings.register_profile("thorough", max_examples=5000, deadline=None)
hypothesis.settings.register_profile("usual", max_examples=50, deadline=None)
hypothesis.settings.load_profile("usual")

# Nothing of what is collected ever goes: looking for garbage among it takes two fifths of the time.
gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage among what comes from now on."""
    gc.freeze()
    gc.enable()


def in_memory() -> str | None:
    """Return a folder in memory with room for the files of all tests: each store that is closed waits for the disk."""
    folder = "/dev/shm"
    if not os.access(folder, os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return None
    room = min(shutil.disk_usage(folder).free, psutil.virtual_memory().available)
    return folder if room > 6 * 1024**3 else None


if folder := in_memory():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", folder)
    os.environ.setdefault("TMPDIR", folder)
    tempfile.tempdir = None  # in case it is known already

SERVER = pytest.StashKey[postgres.SharedServer]()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(chosen)
    if postgres.available() and not hasattr(config, "workerinput"):
        config.stash[SERVER] = postgres.SharedServer()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker where the server is."""
    if SERVER in node.config.stash:
        node.workerinput["postgres"] = str(node.config.stash[SERVER].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVER in config.stash:
        config.stash[SERVER].close()


@pytest.fixture(autouse=True)
def _no_remembered_secrets() -> None:
    """Forget the secrets of the tests before: a process remembers them until it ends."""
    masking._remembered.clear()


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> postgres.Server:
    """The PostgreSQL server of this test run."""
    if not postgres.available():
        refuse("PostgreSQL")
    if hasattr(pytestconfig, "workerinput"):
        return postgres.join_shared_server(Path(pytestconfig.workerinput["postgres"]))
    return postgres.join_shared_server(pytestconfig.stash[SERVER].folder)


@pytest.fixture(scope="session")
def postgres_admin(postgres_server: postgres.Server) -> Iterator[psycopg.Connection[Any]]:
    """A connection that creates and drops schemas."""
    with postgres_server.connect() as connection:
        # If a test leaves a transaction open, fail here instead of waiting for ever.
        connection.execute("SET lock_timeout = '10s'")
        yield connection


@pytest.fixture(scope="session")
def postgres_url(postgres_server: postgres.Server) -> str:
    """The URL by which tests reach the server: with `TEST_POOLED`, the URL of a PgBouncer in front of it."""
    prepared = os.environ.get(pgbouncer.POOLED)
    if prepared is None:
        return postgres_server.url
    require("pgbouncer")
    return pgbouncer.join_shared_pooler(postgres_server, prepared).url()


@pytest.fixture
def new_postgres(postgres_url: str, postgres_admin: psycopg.Connection[Any]) -> Iterator[str]:
    """The URL of an empty PostgreSQL schema."""
    schema = f"test_{os.getpid()}_{next(_numbers)}"
    postgres_admin.execute(f"CREATE SCHEMA {schema}")
    yield f"{postgres_url}&options=-csearch_path%3D{schema}"
    postgres_admin.execute(f"DROP SCHEMA {schema} CASCADE")


_numbers = itertools.count()


@pytest.fixture
def with_settings(postgres_admin: psycopg.Connection[Any]) -> Iterator[Callable[..., str]]:
    """Return a function that gives a PostgreSQL URL a role of its own, whose sessions have these settings.

    Behind a pooler a URL cannot set them.
    """
    roles: list[str] = []

    def with_settings(location: str, rights: str = "LOGIN SUPERUSER", **settings: str) -> str:
        name = f"role_{os.getpid()}_{next(_numbers)}"
        postgres_admin.execute(f"CREATE ROLE {name} {rights}".encode())
        roles.append(name)
        for setting, text in settings.items():
            postgres_admin.execute(f"ALTER ROLE {name} SET {setting} = '{text}'".encode())
        schema = location.rpartition("%3D")[2]
        for what in (f"SCHEMA {schema}", f"ALL TABLES IN SCHEMA {schema}", f"ALL SEQUENCES IN SCHEMA {schema}"):
            postgres_admin.execute(f"GRANT ALL ON {what} TO {name}".encode())
        return make_url(location).set(username=name).render_as_string(hide_password=False)

    yield with_settings
    for name in roles:
        postgres_admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


@pytest.fixture(params=chosen.DATABASES)
def new_location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A location without a store: the path of a missing file, or the URL of an empty PostgreSQL schema."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    url: str = request.getfixturevalue("new_postgres")
    return url


@pytest.fixture(params=chosen.DATABASES)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The path or URL of an empty, up-to-date store that no other test uses.

    It is a copy of a store that the migrations made.
    """
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "store.db")
        yield str(tmp_path / "store.db")
        return
    schemas: postgres.StoreSchemas = request.getfixturevalue("postgres_schemas")
    schema = schemas.take()
    yield f"{request.getfixturevalue('postgres_url')}&options=-csearch_path%3D{schema}"
    schemas.give_back(schema)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, to be copied."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    open_database(store_url(path), read_only=False, durability="normal").close()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: postgres.Server, postgres_admin: psycopg.Connection[Any]) -> str:
    """The statements that create a store in the current schema."""
    schema = f"template_{os.getpid()}"
    postgres_admin.execute(f"CREATE SCHEMA {schema}")
    engine = sa.create_engine(f"{postgres_server.url}&options=-csearch_path%3D{schema}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        return migrate.statements(connection).replace(f"{schema}.", "")


@pytest.fixture(scope="session")
def postgres_schemas(postgres_admin: psycopg.Connection[Any], postgres_template: str) -> postgres.StoreSchemas:
    """Schemas with an empty store, for one test after the other."""
    return postgres.StoreSchemas(postgres_admin, postgres_template)


@pytest.fixture
def store(location: str) -> Iterator[Store]:
    """An open, empty store."""
    from zrb_store import open_store

    with open_store(location) as opened:
        yield opened


@pytest.fixture
def command(location: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """The command `zrb-store` on an empty store."""
    return Commands(location, monkeypatch, capsys.readouterr)


@pytest.fixture
def sound(store: Store) -> Iterator[None]:
    """After the test no invariant of the rows is broken."""
    from tests.support.rows import faults

    yield
    assert faults(store) == []


@pytest.fixture
def inbox(store: Store) -> Any:
    """A queue that several processes share, with three values."""
    queue = store.session("inbox").xcom["files"]
    queue.extend(["a", "b", "c"])
    return queue


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with an inbox, a session that failed (etl-24), and a newer one that completed (etl-25)."""
    from tests.support.sessions import etl, inbox

    inbox(store, "a.csv", "b.csv", "c.csv")
    etl(store, "etl-24", broken=True)
    etl(store, "etl-25", broken=False)
    return store


@pytest.fixture
def night(store: Store) -> Store:
    """A store with a session that failed in a task with steps (night), and an inbox from which one of these took."""
    from tests.support import stepping

    stepping.night(store)
    return store


@pytest.fixture
def many_steps(store: Store) -> Store:
    """A store with a session that failed in a task with 57 steps (night)."""
    from tests.support import stepping

    stepping.many(store)
    return store


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The clock of this process, for tests that turn it. It stays turned, since no deadline may move away."""
    process_clock.ask_every = 0.01
    lease.set_duration(lease.duration_in_micros() / 1e6)  # wakes its thread, which now asks more often
    yield process_clock
    process_clock.ask_every = math.inf


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, patience.Backoff]]:
    """Each pause of an operation: the thread that made it, and the waiting that it belongs to."""
    found: list[tuple[int, patience.Backoff]] = []
    sleep = patience.Backoff.sleep

    def noted(wait: patience.Backoff) -> None:
        found.append((threading.get_ident(), wait))
        sleep(wait)

    monkeypatch.setattr(patience.Backoff, "sleep", noted)
    return found


@pytest.fixture
def add_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that adds a migration made of these statements."""

    def add(*statements: str) -> None:
        copy = next_release.add_migration(tmp_path / "more", *statements)
        monkeypatch.setattr(migrate, "folder", lambda: copy)

    return add


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that must stay empty."""
    from zrb_store import open_store

    with open_store(tmp_path_factory.mktemp("empty") / "store.db") as store:
        yield store


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Texts of three bytes and more are stored in chunks of four characters."""
    for dialect_name in db_chunks.LONG_FROM:
        monkeypatch.setitem(db_chunks.LONG_FROM, dialect_name, 3)
    monkeypatch.setattr(chunks, "LONGEST", 4)
    monkeypatch.setattr(takes, "_fits_chunk", lambda: value.c.size <= sa.literal_column("4"))
    with built_again():
        yield
