"""The live pages under zrb's own web server, on every release: at /xcom/, linked, and under its login."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.zrb.conftest import DEADLINE, Process, Zrb, is_up, until

pytestmark = pytest.mark.slow

TASKS = """
from zrb.config.web_auth_config import web_auth_config
from zrb.runner.web_schema.user import User

@make_task(name="load", group=cli, retries=0)
def load(ctx):
    return 7

if exists("users"):
    add_user = getattr(web_auth_config, "add_user", None) or web_auth_config.append_user  # up to 2.45
    add_user(User(username="reader", password="r", accessible_tasks=["xcom-page"]))
    add_user(User(username="runner", password="r", accessible_tasks=["load", "page"]))
"""
LOGIN = {
    "ZRB_WEB_AUTH_ENABLED": "on",
    "ZRB_WEB_ENABLE_AUTH": "on",  # its name in 1.21
    "ZRB_WEB_SECRET_KEY": "0123456789abcdef0123456789abcdef",
    "ZRB_WEB_SUPER_ADMIN_PASSWORD": "a-long-password",
    "ZRB_WEB_AUTH_SECURE_COOKIES": "off",
}


class Web:
    """A running web server of zrb, as one browser sees it."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self._cookie = ""

    def get(self, path: str, data: dict[str, str] | None = None, **headers: str) -> tuple[int, str, str]:
        """Return the status, the address after all redirections, and the text of a page."""
        body = None if data is None else urllib.parse.urlencode(data).encode()
        try:
            question = urllib.request.Request(self.address + path, body, {"Cookie": self._cookie, **headers})
            with urllib.request.urlopen(question, timeout=DEADLINE) as answer:
                return answer.status, answer.url.removeprefix(self.address), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, path, error.read().decode()

    def log_in(self, name: str, password: str) -> None:
        status, _, text = self.get("/api/v1/login", {"username": name, "password": password})
        assert status == 200, text
        # 2.45 gives its cookie only to encrypted connections.
        self._cookie = f"access_token={json.loads(text)['access_token']}"


@contextmanager
def web_server(zrb: Zrb, **env: Any) -> Iterator[tuple[int, Process]]:
    """Start zrb's web server, and yield its port and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = zrb.start("server", "start", ZRB_WEB_HTTP_PORT=str(port), **env)
    until(lambda: is_up(port) or server.ended())
    yield port, server


@pytest.mark.promise(number=16)
@pytest.mark.oldest
def test_the_pages_are_there_and_linked(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    zrb.run("load", ZRB_STORE_SESSION="first")
    with web_server(zrb) as (port, server):
        web = Web(port)
        assert '<script src="/xcom/static/zrb-link.js"></script>' in web.get("/")[2]
        assert 'link.href = "/xcom/"' in web.get("/xcom/static/zrb-link.js")[2]
        status, address, text = web.get("/xcom")
        assert (status, address) == (200, "/xcom/")
        assert 'href="./session/first"' in text
        assert "refresh-token" not in text
        assert ">first</h1>" in web.get("/xcom/session/first")[2]
        shapes: list[Any] = json.loads(web.get("/xcom/?format=json")[2])
        assert [shape["name"] for shape in shapes] == ["first"]
        assert web.get("/xcom/session/nix")[0] == 404
        assert web.get("/xcom/", {"any": "thing"})[0] == 405
        for target in ("/xcom/", "/xcom/session/first", "/xcom/events"):  # as under a name that was rebound
            assert web.get(target, Host=f"evil.example:{port}")[0] == 421
        assert web.get("/ui/load/")[0] == 200  # zrb's own pages are as they were
        assert server.signal(signal.SIGINT).done().code is not None


@pytest.mark.oldest
def test_ctrl_c_ends_the_server_although_a_page_is_open(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    with web_server(zrb) as (port, server), urllib.request.urlopen(f"http://127.0.0.1:{port}/xcom/events") as events:
        assert events.readline() == b"retry: 1000\n"
        server.signal(signal.SIGINT)
        lines = events.read()  # ends when the server lets the page go
        assert b"event: changed" in lines
        server.done()


@pytest.mark.oldest
@pytest.mark.promise(number=16)
def test_zrbs_login_decides_who_sees_the_pages(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    zrb.mark("users")
    zrb.run("load", ZRB_STORE_SESSION="first")
    with web_server(zrb, **LOGIN) as (port, server):
        guest, admin, reader, runner = (Web(port) for _ in range(4))
        for path in ("/xcom/", "/xcom/session/first", "/xcom/?format=json", "/xcom/events"):
            status, address, text = guest.get(path)
            assert (status, address) == (200, "/login")
            assert "first" not in text
        assert guest.get("/xcom/static/zrb-link.js")[0] == 200
        admin.log_in("admin", "a-long-password")
        reader.log_in("reader", "r")
        runner.log_in("runner", "r")
        assert 'href="./session/first"' in admin.get("/xcom/")[2]
        assert '<script src="/refresh-token.js"></script>' in admin.get("/xcom/")[2]  # as zrb's own pages do
        assert 'href="./session/first"' in reader.get("/xcom/")[2]
        assert reader.get("/xcom/", Host="sessions.example")[0] == 200  # as by a proxy
        status, _, text = runner.get("/xcom/")
        assert status == 403
        assert "The user runner may not see the stored sessions: that needs the right xcom-page." in text
        server.signal(signal.SIGINT).done()
