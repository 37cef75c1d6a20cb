"""Who may see the live pages: a token on other hosts than this machine, and no foreign name on this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.page.pages import Answer, request
from zrb_store.page.access import OnThisMachine, WithToken, is_loopback, new_token

TOKEN = "a-secret_token"


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the sessions"})


def ask(target: str, scheme: str = "http", **headers: str) -> Answer:
    return request(WithToken(app, TOKEN, 21214), target, headers=headers, scheme=scheme)


@pytest.mark.promise(number=16)
@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/", {}),
        ("/session/etl?format=json", {}),
        ("/static/style.css", {}),
        ("/?token=", {}),
        ("/?token=wrong", {}),
        (f"/?token=wrong&token={TOKEN}", {}),
        (f"/?token={TOKEN}x", {}),
        ("/?token=%C3%A9", {}),
        ("/", {"Cookie": "zrb-store-21214=wrong"}),
        ("/", {"Cookie": f"zrb-store-1={TOKEN}"}),
        ("/", {"Cookie": "nonsense; =; \x80"}),
        ("/", {"Authorization": TOKEN}),
        ("/", {"Authorization": "Bearer wrong"}),
        ("/", {"Authorization": f"Basic {TOKEN}"}),
        ("/?token=wrong", {"Cookie": f"zrb-store-21214={TOKEN}"}),
    ],
)
def test_without_the_token_nothing_is_told(target: str, headers: dict[str, str]) -> None:
    answer = request(WithToken(app, TOKEN, 21214), target, headers=headers)
    assert answer.status == 401
    assert "open the whole address that the command printed" in answer.text
    assert "the sessions" not in answer.text
    assert TOKEN not in answer.text


def test_the_token_goes_from_the_address_into_a_cookie() -> None:
    answer = ask(f"/session/etl?name=a%26b&token={TOKEN}")
    assert (answer.status, answer.headers["location"]) == (303, "/session/etl?name=a%26b")
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
    assert "Secure" not in attributes
    assert ask("/session/etl", Cookie=f"other=1; {cookie}").text == "the sessions"


@pytest.mark.parametrize(
    "other", ['prefs={"a":1}', 'a="b', "a b=c", "a[]=1", "\xe9=\xe9", "flag", "zrb-store-21214=old"]
)
def test_cookies_of_other_programs_on_this_machine_do_not_hide_the_token(other: str) -> None:
    cookie = f"zrb-store-21214={TOKEN}"
    for cookies in (f"{other}; {cookie}", f"{cookie}; {other}", f"{other};{cookie} ;{other}"):
        assert ask("/session/etl", Cookie=cookies).text == "the sessions"


def test_over_https_the_cookie_never_travels_without_it() -> None:
    assert "Secure" in ask(f"/?token={TOKEN}", scheme="https").headers["set-cookie"]


def test_a_program_sends_the_token_in_a_header() -> None:
    assert ask("/?format=json", Authorization=f"Bearer {TOKEN}").text == "the sessions"


def test_the_address_after_the_token_stays_on_this_server() -> None:
    for path in ("//evil.example/", "///evil.example", "/\\evil.example"):
        location = ask(f"{path}?token={TOKEN}").headers["location"]
        assert location.startswith("/")
        assert not location.startswith(("//", "/\\"))


def test_tokens_cannot_be_guessed() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) >= 32


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:21214",
        "localhost",
        "localhost:8080",
        "LOCALHOST.",
        "[::1]:21214",
        "127.9.9.9",
        "a.localhost",
    ],
)
def test_this_machine_is_known_by_its_names(host: str) -> None:
    assert request(OnThisMachine(app), "/", headers={"Host": host}).text == "the sessions"


@pytest.mark.promise(number=16)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:21214",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "[::2]",
        "[::1].evil.example",
        "[::1]x:80",
        "localhost:80@evil.example",
        "localhost:evil.example",
        "",
        "::",
    ],
)
def test_a_name_that_was_rebound_to_this_machine_is_refused(host: str) -> None:
    answer = request(OnThisMachine(app), "/", headers={"Host": host})
    assert (answer.status, "the sessions" in answer.text) == (421, False)


def test_which_hosts_are_this_machine_alone() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "::1", "localhost", "127.0.0.2"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "", "192.168.0.1", "example.org"]))


def test_tokens_are_compared_in_constant_time() -> None:
    source = Path(WithToken.__module__.replace(".", "/") + ".py").read_text()
    assert source.count("hmac.compare_digest") == 1
    assert "== self._token" not in source
