"""Who may see the pages: the checks before each request, and the headers of each answer.

A page that says one thing, and needs neither the store nor a template.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Awaitable, Callable
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from zrb_store.masking import printable

if TYPE_CHECKING:
    from starlette.requests import Request


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
</head>
<body>
<main>
<h1>{title}</h1>
<p>{text}</p>
</main>
</body>
</html>
"""


def plain_page(title: str, text: str) -> str:
    """Return a page with a title and a sentence."""
    return _PAGE.format(title=escape(printable(title)), text=escape(printable(text)))


Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN = "token"
_MONTH = 30 * 24 * 3600

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
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


class OnlyReading:
    """Refuses every method but GET and HEAD, and adds the headers that protect a page to every answer."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_protected(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message.get("headers", [])}
                extra = [
                    (name.lower().encode(), text.encode())
                    for name, text in HEADERS.items()
                    if name.lower().encode() not in given
                ]
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        if scope["method"] not in ("GET", "HEAD"):
            refusal = plain_page("This page only reads", "Only GET and HEAD are answered here.")
            await answer(send_protected, 405, refusal, [("Allow", "GET, HEAD")])
            return
        await self._app(scope, receive, send_protected)


class OnThisMachine:
    """Refuses requests from this machine that name another host, as those of a page whose name was rebound to it.

    Other machines know it by other names, so their requests are left to other checks.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        came_to = (scope.get("server") or ("",))[0]
        if scope["type"] == "http" and is_loopback(came_to) and not is_loopback(_host(_header(scope, b"host"))):
            text = "On this machine, this page is open under the name localhost and under addresses such as 127.0.0.1."
            await answer(send, 421, plain_page("Another host", text))
            return
        await self._app(scope, receive, send)


class WithToken:
    """Asks for a token: once in the address, from where it goes into a cookie; or in the header `Authorization`."""

    def __init__(self, app: App, token: str, port: int) -> None:
        """Protect an app.

        Args:
            token: The secret.
            port: The server's port. Cookies do not know ports, so it is part of their name.
        """
        self._app = app
        self._token = token.encode()
        self._cookie = f"zrb-store-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        tokens = [text for name, text in given if name == TOKEN]
        if tokens and self._is_right(tokens[0]):
            # The token must not stay in the address, which is shown, kept and sent to others.
            rest = urlencode([(name, text) for name, text in given if name != TOKEN])
            path = "/" + quote(scope["path"].lstrip("/"), safe="/:@+~")  # never `//host`
            cookie = f"{self._cookie}={tokens[0]}; Path=/; Max-Age={_MONTH}; HttpOnly; SameSite=Lax"
            secure = "; Secure" if scope.get("scheme") == "https" else ""
            headers = [("Location", path + (f"?{rest}" if rest else "")), ("Set-Cookie", cookie + secure)]
            await answer(send, 303, "", headers)
        elif not tokens and any(map(self._is_right, self._shown(scope))):
            await self._app(scope, receive, send)
        else:
            text = "This page asks for a token: open the whole address that the command printed when it started."
            await answer(send, 401, plain_page("A token is needed", text), [("WWW-Authenticate", "Bearer")])

    def _is_right(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token)

    def _shown(self, scope: Scope) -> list[str]:
        scheme, _, bearer = _header(scope, b"authorization").partition(" ")
        # By hand: Python's parser drops the cookies after one that it does not understand, of whichever program.
        cookies = (each.partition("=") for each in _header(scope, b"cookie").split(";"))
        shown = [text.strip() for name, _, text in cookies if name.strip() == self._cookie]
        return [bearer.strip()] * (scheme.lower() == "bearer") + shown


class Refusal(NamedTuple):
    """Why a login does not let somebody see the pages.

    Attributes:
        text: A sentence that says so.
        login: The address at which they can log in; None if they have.
    """

    text: str
    login: str | None


class UnderLogin:
    """Lets those see the pages whom the login of another server allows it. Scripts and style are for everybody."""

    def __init__(self, app: App, refusal: Callable[[Request], Awaitable[Refusal | None]]) -> None:
        """Protect an app.

        Args:
            refusal: Tells of a request why it is refused; None if it is not.
        """
        self._app = app
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        from starlette.requests import Request  # late: `server.py` says what to do if it is not installed

        path = str(scope.get("path", "")).removeprefix(scope.get("root_path", ""))
        # The pages of the other server load the script with the link before anybody has logged in.
        is_public = scope["type"] != "http" or path.startswith("/static/")
        refusal = None if is_public else await self._refusal(Request(scope, receive))
        if refusal is None:
            await self._app(scope, receive, send)
        elif refusal.login is not None:
            await answer(send, 303, "", [("Location", refusal.login)])
        else:
            await answer(send, 403, plain_page("Not allowed", refusal.text))


async def answer(send: Send, status: int, text: str, headers: list[tuple[str, str]] | None = None) -> None:
    """Send a page."""
    named = [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store"), *(headers or [])]
    body = text.encode()
    named.append(("Content-Length", str(len(body))))
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in named]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _header(scope: Scope, name: bytes) -> str:
    found = next((value for key, value in scope["headers"] if key == name), b"")
    return str(found.decode("latin-1"))


def _host(header: str) -> str:
    """Return the host of a header `Host`; nothing if it is not one with or without a port."""
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:]+))(?::[0-9]*)?", header)
    return "" if found is None else found[1] or found[2]
