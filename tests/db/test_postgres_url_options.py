"""Options of libpq in the URL of a store reach every connection to it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest

from tests.support import postgres
from tests.support.pgbouncer import pooler
from tests.support.postgres import DEADLINE, Server, private_server, wait_until
from zrb_store import InvalidArgument, StoreUnavailable, open_store
from zrb_store.db.dialect.postgresql import PostgreSQL
from zrb_store.db.engine import Database
from zrb_store.db.location import shown_url, store_url
from zrb_store.runtime import lease

pytestmark = [pytest.mark.parametrize("location", ["postgresql"], indirect=True), pytest.mark.unpooled]


def test_every_connection_has_the_application_name(location: str, postgres_admin: psycopg.Connection[Any]) -> None:
    """The connection of the tasks, and the one that renews their leases."""

    def sessions() -> int:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'nightly etl'"
        found = postgres_admin.execute(sql).fetchone()
        assert found is not None
        return int(found[0])

    with (
        open_store(f"{location}&application_name=nightly%20etl") as store,
        store.session("flow").run() as run,
        run.attempt("load"),
    ):
        lease.set_duration(60.0)  # renews all leases now
        wait_until(lambda: sessions() == 2, lambda: f"{sessions()} connections have the name")


@pytest.mark.parametrize("options", ["connect_timeout=2", "connect_timeout=2&host=127.0.0.1:{port}"])
def test_a_server_that_accepts_and_says_nothing(location: str, options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "timeout", 0.0)
    connect, timeouts = psycopg.connect, set()

    def noting(**parameters: Any) -> Any:
        timeouts.add(int(parameters["connect_timeout"]))
        return connect(**parameters)

    monkeypatch.setattr(psycopg, "connect", noting)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=r"^[^\n]*timeout expired[^\n]*$"):
            open_store(f"postgresql+psycopg://postgres@127.0.0.1:{port}/jobs?{options.format(port=port)}")
    assert timeouts == {2}  # the default is ten seconds for each host


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def several(*servers: Path, attributes: str) -> str:
    hosts = "&".join(f"host={folder}" for folder in servers)
    return f"postgresql+psycopg://postgres@/postgres?{hosts}&target_session_attrs={attributes}"


def test_of_several_hosts_the_one_that_can_be_written_is_used(location: str, tmp_path: Path) -> None:
    """The first does not answer, and the second is read-only, as a standby is."""
    with private_server() as primary, ExitStack() as stack:
        with mock.patch.dict(postgres.SETTINGS, default_transaction_read_only="on"):
            standby = stack.enter_context(private_server())
        hosts = (tmp_path, standby.folder, primary.folder)
        with open_store(several(*hosts, attributes="read-write")) as store:
            store.session("s").xcom["q"].push(1)
            primary.restart()
            store.session("s").xcom["q"].push(2)
            assert list(store.session("s").xcom["q"]) == [1, 2]
        with pytest.raises(
            StoreUnavailable, match=r"does not allow this: cannot execute.*add target_session_attrs=read-write"
        ):
            open_store(several(*hosts, attributes="any"))
        with open_store(primary.url) as same:
            assert list(same.session("s").xcom["q"]) == [1, 2]


def test_no_host_that_can_be_written_is_waited_for_and_is_one_line(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby may be promoted."""
    monkeypatch.setattr(Database, "timeout", 0.3)
    with mock.patch.dict(postgres.SETTINGS, default_transaction_read_only="on"), private_server() as standby:
        url = several(standby.folder, standby.folder, attributes="read-write")
        with pytest.raises(StoreUnavailable, match=r"^[^\n]*cannot be reached: [^\n]*session is read-only[^\n]*$"):
            open_store(url)


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("disable", "SSL required|TLS required|requires"),
        ("require", None),
        ("verify-full&sslrootcert={folder}/cert.pem", None),
        ("verify-full&sslrootcert=/nowhere.pem", "does not exist"),
        ("verify-full&sslrootcert={folder}/other.pem", "certificate"),
    ],
)
def test_ssl_is_used_as_the_url_asks_or_refused_at_once(
    location: str,
    postgres_server: Server,
    mode: str,
    error: str | None,
    certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PgBouncer plays the server with SSL, which that of the tests lacks. An error is told at once, in one line."""
    folder = certificates
    port = free_port()
    tls = {"client_tls_sslmode": "require", "client_tls_key_file": folder / "key.pem"}
    settings = {**tls, "client_tls_cert_file": folder / "cert.pem", "listen_addr": "127.0.0.1", "listen_port": port}
    monkeypatch.setattr(Database, "timeout", DEADLINE)
    with pooler(postgres_server, **{name: str(text) for name, text in settings.items()}):
        options = location.partition("&")[2]
        url = f"postgresql+psycopg://postgres@localhost:{port}/postgres?{options}&sslmode={mode.format(folder=folder)}"
        began = time.monotonic()
        if error is None:
            with open_store(url) as store:
                store.session("s").xcom["q"].push(1)
                assert store.database.operate(lambda t: t.driver.pgconn.ssl_in_use)
        else:
            with pytest.raises(StoreUnavailable, match=rf"^[^\n]*({error})[^\n]*$"):
                open_store(url)
            assert time.monotonic() - began < DEADLINE / 2


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    """Two keys and certificates for `localhost`, which PgBouncer's account may read."""
    folder = postgres.new_folder()
    for key, cert in (("key.pem", "cert.pem"), ("other-key.pem", "other.pem")):
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        files = ["-keyout", str(folder / key), "-out", str(folder / cert)]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
        subprocess.run(command, check=True, capture_output=True)
        (folder / key).chmod(0o644)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


SEVERAL = {
    "postgresql://u:p%40w@h1:5433,h2:5434/db?target_session_attrs=read-write": (
        "postgresql+psycopg://u:***@/db?host=h1,h2&port=5433,5434&target_session_attrs=read-write"
    ),
    "postgresql+psycopg://u:a,b@h1,h2:5434/db": "postgresql+psycopg://u:***@/db?host=h1,h2&port=,5434",
    "postgresql://[::1]:5433,h2/db": "postgresql+psycopg:///db?host=::1,h2&port=5433,",
    "postgresql://u@/db?host=h1:5433&host=h2:5434": "postgresql+psycopg://u@/db?host=h1:5433&host=h2:5434",
    "postgres://u@h1/db": "postgresql+psycopg://u@h1/db",
    "postgresql://u:a,b@h1/db": "postgresql+psycopg://u:***@h1/db",
}


@pytest.mark.parametrize(("given", "shown"), SEVERAL.items())
def test_several_hosts_in_any_form(location: str, given: str, shown: str) -> None:
    url = store_url(given)
    assert shown_url(url) == shown
    assert store_url(url.render_as_string(hide_password=False)) == url  # as commands get it


def test_several_hosts_reach_the_driver(location: str) -> None:
    given = "postgresql://u@h1:5433,h2:5434/db"
    for text in (given, "postgresql://u@/db?host=h1:5433&host=h2:5434"):
        engine = PostgreSQL(store_url(text)).engine
        _, parameters = engine.dialect.create_connect_args(engine.url)
        assert (parameters["host"], parameters["port"]) == ("h1,h2", "5433,5434")


@pytest.mark.parametrize("hosts", ["host=a:1&host=b:x", "host=a:1&host=b:2&port=3"])
def test_hosts_that_make_no_sense_are_one_line(location: str, hosts: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^the store's URL [^\n]* is not understood: [^\n]*$"):
        open_store(f"postgresql://u@/db?{hosts}")


def test_no_host_is_left_out_because_its_port_is_no_number(location: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^the store's URL is malformed"):
        store_url("postgresql://u@h1:x,h2:5434/db")
