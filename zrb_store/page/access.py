"""Who may see the pages: apps around the pages that refuse requests, and the headers that protect each answer."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zrb_store.page.render import environment

TOKEN = "token"
_MONTH = 30 * 24 * 3600
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether a host is this machine and nothing else, by an address or as `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return re.fullmatch(r"(?i)([a-z0-9-]+\.)*localhost\.?", host) is not None


def new_token() -> str:
    """Return a secret that nobody can guess."""
    return secrets.token_urlsafe(24)


class _Guard:
    """An app around another one, which answers in its place what it refuses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._refusal_of(scope, receive) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)

    async def _refusal_of(self, scope: Scope, receive: Receive) -> ASGIApp | None:
        raise NotImplementedError


class OnlyReading(_Guard):
    """Refuses every method but GET and HEAD, and adds the headers that protect a page to every answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, text in HEADERS.items():
                    headers.setdefault(name, text)
            await send(message)

        await super().__call__(scope, receive, send_protected)

    async def _refusal_of(self, scope: Scope, receive: Receive) -> ASGIApp | None:
        if scope["method"] in ("GET", "HEAD"):
            return None
        return _plain_page(405, "This page only reads", "Only GET and HEAD are answered here.", {"Allow": "GET, HEAD"})


class OnThisMachine(_Guard):
    """Refuses requests from this machine that name another host, as those of a page whose name was rebound to it.

    Other machines know it by other names, so their requests are left to other checks.
    """

    async def _refusal_of(self, scope: Scope, receive: Receive) -> ASGIApp | None:
        came_to = (scope.get("server") or ("",))[0]
        if not is_loopback(came_to) or is_loopback(_host(scope)):
            return None
        text = "On this machine, this page is open under the name localhost and under addresses such as 127.0.0.1."
        return _plain_page(421, "Another host", text)


class WithToken(_Guard):
    """Asks for a token: once in the address, from where it goes into a cookie; or in the header `Authorization`."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        """Protect an app by a secret. Cookies do not know ports, so the server's port is part of their name."""
        super().__init__(app)
        self._token = token.encode()
        self._cookie = f"zrb-store-{port}"

    async def _refusal_of(self, scope: Scope, receive: Receive) -> ASGIApp | None:
        given = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        tokens = [text for name, text in given if name == TOKEN]
        if tokens and self._is_right(tokens[0]):
            # The token must not stay in the address, which is shown, kept and sent to others.
            rest = urlencode([(name, text) for name, text in given if name != TOKEN])
            path = "/" + quote(scope["path"].lstrip("/"), safe="/:@+~")  # never `//host`
            cookie = f"{self._cookie}={tokens[0]}; Path=/; Max-Age={_MONTH}; HttpOnly; SameSite=Lax"
            secure = "; Secure" if scope.get("scheme") == "https" else ""
            return _elsewhere(path + (f"?{rest}" if rest else ""), {"Set-Cookie": cookie + secure})
        if not tokens and any(map(self._is_right, self._shown(scope))):
            return None
        text = "This page asks for a token: open the whole address that the command printed when it started."
        return _plain_page(401, "A token is needed", text, {"WWW-Authenticate": "Bearer"})

    def _is_right(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token)

    def _shown(self, scope: Scope) -> list[str]:
        headers = Headers(scope=scope)
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        # By hand: Python's parser drops the cookies after one that it does not understand, of whichever program.
        cookies = (each.partition("=") for each in headers.get("cookie", "").split(";"))
        shown = [text.strip() for name, _, text in cookies if name.strip() == self._cookie]
        return [bearer.strip()] * (scheme.lower() == "bearer") + shown


class Refusal(NamedTuple):
    """Why a login does not let somebody see the pages."""

    text: str
    login: str | None  # the address at which they can log in; None if they have


class UnderLogin(_Guard):
    """Lets those see the pages whom the login of another server allows it. Scripts and style are for everybody."""

    def __init__(self, app: ASGIApp, refusal: Callable[[Request], Awaitable[Refusal | None]]) -> None:
        super().__init__(app)
        self._refusal = refusal

    async def _refusal_of(self, scope: Scope, receive: Receive) -> ASGIApp | None:
        # The pages of the other server load the script with the link before anybody has logged in.
        if str(scope.get("path", "")).removeprefix(scope.get("root_path", "")).startswith("/static/"):
            return None
        refusal = await self._refusal(Request(scope, receive))
        if refusal is None:
            return None
        return _elsewhere(refusal.login) if refusal.login else _plain_page(403, "Not allowed", refusal.text)


def _plain_page(status: int, title: str, text: str, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """Return an answer that says one thing, and needs neither the store nor a style."""
    page = environment().get_template("refusal.html").render({"title": title, "text": text})
    return HTMLResponse(page, status, {"Cache-Control": "no-store", **(headers or {})})


def _elsewhere(address: str, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    return HTMLResponse("", 303, {"Cache-Control": "no-store", "Location": address, **(headers or {})})


def _host(scope: Scope) -> str:
    """Return the host of the header `Host`; nothing if it is not one with or without a port."""
    header = Headers(scope=scope).get("host", "")
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:]+))(?::[0-9]*)?", header)
    return "" if found is None else found[1] or found[2]
