"""`zrb-store page` as a process: it starts, is refused a port in use, needs a token for others, and ends at once."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.page.server import Server
from tests.support.commands import Commands
from tests.support.postgres import DEADLINE, private_server, wait_until
from zrb_store import Store, open_store

pytestmark = pytest.mark.long_on_postgresql


@pytest.fixture
def start(location: str) -> Iterator[Any]:
    """Return a function that starts a server on the store."""
    servers: list[Server] = []

    def start(*options: str, **settings: Any) -> Server:
        servers.append(Server(location, *options, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.mark.slow
def test_it_serves_until_ctrl_c_which_open_pages_do_not_delay(filled: Store, start: Any) -> None:
    server = start()
    assert server.get("/session/etl-24")[0] == 200
    assert [shape["name"] for shape in json.loads(server.get("/?format=json")[1])] == ["etl-25", "etl-24", "inbox"]
    with server.events() as one, server.events() as other:
        assert next(line for line in one if line.startswith("event")) == "event: changed"
        assert next(line for line in other if line.startswith("event")) == "event: changed"
        assert server.end() == (0, ""), "or it waits for the open pages"


@pytest.mark.slow
def test_a_change_is_told_to_an_open_page(filled: Store, start: Any) -> None:
    with start().events() as lines:
        marks = (line for line in lines if line.startswith("data: "))
        first = next(marks)
        filled.session("inbox").xcom["files"].push("late.csv")
        assert next(marks) != first


@pytest.mark.slow
def test_a_page_that_connects_again_is_told_what_it_missed(filled: Store, start: Any) -> None:
    server = start()
    with server.events() as lines:
        mark = next(line for line in lines if line.startswith("data: ")).removeprefix("data: ")
    filled.session("inbox").xcom["files"].push("late.csv")
    with server.events(after=mark) as lines:
        assert next(line for line in lines if line.startswith("event")) == "event: changed"


@pytest.mark.on_sqlite
def test_sigterm_ends_it_too(start: Any) -> None:
    code, err = start().end(signal.SIGTERM)
    assert (code, err) == (-signal.SIGTERM, "")


@pytest.mark.slow
@pytest.mark.promise(number=16)
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_it_needs_the_token_that_it_prints(filled: Store, start: Any, host: str) -> None:
    server = start("--host", host)
    query = urlsplit(server.address).query
    assert query.startswith("token=")
    for target in ("/", "/session/etl-24?format=json", "/events", "/static/style.css"):
        assert server.get(target, Authorization="")[0] == 401
    with contextlib.closing(server.connect()) as connection:
        connection.request("GET", f"/?{query}")
        answer = connection.getresponse()
        cookie = str(answer.getheader("Set-Cookie")).partition(";")[0]
    assert cookie.startswith(f"zrb-store-{server.port}=")  # pages on other ports of this machine have other cookies
    assert (answer.status, answer.getheader("Location")) == (303, "/")
    assert server.get("/", Authorization="", Cookie=cookie)[0] == 200
    foreign = server.get("/", Authorization="", Cookie=cookie, Host="this-machine.example")[0]
    assert foreign == (421 if host == "127.0.0.1" else 200)


@pytest.mark.slow
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_without_a_token_it_refuses_foreign_names(start: Any, command: Commands) -> None:
    server = start("--no-token")
    assert "token" not in server.address
    assert server.get("/")[0] == 200
    assert server.get("/", Host="evil.example")[0] == 421
    refused = command("page", "--no-token", "--host", "0.0.0.0")
    assert (refused.code, "--no-token is for this machine alone" in refused.err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_a_browser_is_led_to_the_address_and_nobody_else(start: Any, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {asked}.new && mv {asked}.new {asked}\n')
    browser.chmod(0o700)
    server = start("--open", before=f"import os; os.environ['BROWSER'] = '{browser}'")
    wait_until(asked.exists, lambda: "no browser was started")
    opened = asked.read_text().strip()
    assert "token" not in opened  # everybody may read the command line of a browser
    file = Path(opened.removeprefix("file://"))
    assert server.address in file.read_text()
    assert file.parent.stat().st_mode & 0o777 == 0o700
    server.end()
    assert not file.exists()


@pytest.mark.promise(number=16)
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
@pytest.mark.slow
def test_half_requests_keep_nobody_from_the_page(filled: Store, start: Any) -> None:
    server = start(descriptors=256)
    with server.events() as lines, contextlib.ExitStack() as stack:
        marks = (line for line in lines if line.startswith("data: "))
        next(marks)
        for _ in range(400):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE))
            with contextlib.suppress(OSError):  # it may be closed already
                half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        assert server.get("/")[0] == 200
        filled.session("inbox").xcom["files"].push("late.csv")
        next(marks)  # a page that is open goes on
    assert server.end()[1] == ""


@pytest.mark.slow
@pytest.mark.promise(number=16)
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
@pytest.mark.parametrize("half", [b"", b"GET / HT", b"GET /nix HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT"])
def test_a_request_that_does_not_come_is_not_waited_for(start: Any, half: bytes) -> None:
    server = start(before="import zrb_store.page.server as server; server._HEADER = 0.1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as connection:
        connection.sendall(half)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(65536):
                pass
    assert server.get("/")[0] == 200


@pytest.mark.on_sqlite
def test_a_port_in_use_is_one_line(command: Commands) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = command("page", "--port", str(port))
    advice = "choose another one with --port, or 0 for any"
    assert (result.code, result.err) == (1, f"zrb-store: port {port} of 127.0.0.1 is in use: {advice}\n")


@pytest.mark.on_sqlite
@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.7"])
def test_a_host_that_is_not_this_machine_is_one_line(command: Commands, host: str) -> None:
    result = command("page", "--port", "0", "--host", host)
    assert result.code == 1
    assert host in result.err


@pytest.mark.on_sqlite
def test_without_its_libraries_it_says_what_to_install(command: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = [each for each in sys.modules if each.startswith("zrb_store.page.")]
    for name in loaded:  # so that other tests find the same modules in their package
        package, _, part = name.rpartition(".")
        monkeypatch.setattr(sys.modules[package], part, sys.modules[name])
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    result = command("page", "--port", "0")
    assert (result.code, result.err) == (1, 'zrb-store: the page needs a web server: pip install "zrb-store[page]"\n')


@pytest.mark.slow
@pytest.mark.usefixtures("postgres_server")  # which is skipped where PostgreSQL cannot be had
def test_a_server_that_goes_away_is_one_sentence_until_it_is_back() -> None:
    with private_server() as database:
        with open_store(database.url) as store:
            store.session("one").xcom["q"].push(1)
        server = Server(database.url)
        try:
            with server.events() as lines:
                marks = (line for line in lines if line.startswith("data: "))
                next(marks)
                database.kill()
                next(marks)  # an open page is told to look
                status, text = server.get("/")
                assert status == 503
                assert "cannot be reached" in text
                database.start()
                wait_until(lambda: server.get("/")[0] == 200, lambda: "the page does not recover")
                with open_store(database.url) as store:
                    store.session("two").xcom["q"].push(1)
                next(mark for mark in marks if ">two</a>" in server.get("/")[1])
        finally:
            server.close()
