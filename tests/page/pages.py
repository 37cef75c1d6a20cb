"""The live pages without a server: the ASGI app is called as a server would call it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import sqlalchemy as sa
from starlette.types import ASGIApp

from tests.support.sessions import check
from zrb_store.db.engine import Database
from zrb_store.db.location import store_url
from zrb_store.db.migrate import engine_of
from zrb_store.page.content import describe
from zrb_store.page.site import Site
from zrb_store.page.watcher import Watcher


def description(database: Database, name: str, **options: Any) -> dict[str, Any]:
    """Return the description of a session that a report embeds, if it matches the schema."""
    found: dict[str, Any] = check("report", describe(database, name, **options).to_json())
    return found


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The answer as data."""
        return json.loads(self.text)

    @property
    def links(self) -> list[str]:
        """All addresses in the page."""
        return [value for _, name, value in self._attributes() if name in ("href", "src")]

    @property
    def rows(self) -> list[str]:
        """The keys of the rows of the page's table."""
        return [value for tag, name, value in self._attributes() if (tag, name) == ("tr", "data-key")]

    def next(self) -> str | None:
        """The address of the older sessions."""
        pairs = self._attributes()
        place = next((place for place, one in enumerate(pairs) if one == ("a", "rel", "next")), None)
        return None if place is None else pairs[place + 1][2]

    def _attributes(self) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []

        class Parser(HTMLParser):
            def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
                found.extend((tag, name, value or "") for name, value in attrs)

        Parser().feed(self.text)
        return found


def request(
    app: ASGIApp, target: str, method: str = "GET", headers: dict[str, str] | None = None, scheme: str = "http"
) -> Answer:
    """Ask an app for an address, and return its whole answer."""
    parts = urlsplit(target)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": parts.path,
        "raw_path": quote(parts.path).encode(),
        "root_path": "",
        "query_string": parts.query.encode(),
        "headers": [
            (name.lower().encode(), text.encode("latin-1"))
            for name, text in {"Host": "127.0.0.1:21214", **(headers or {})}.items()
        ],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 21214),
    }
    sent: list[Any] = []

    asked: list[Any] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if not asked:  # the client stays until it has its answer
            await asyncio.Event().wait()
        return asked.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    start = sent[0]
    named = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(start["status"], named, body.decode())


class Pages:
    """The pages of one store.

    Attributes:
        watcher: What notices changes of the store.
        app: The app.
    """

    def __init__(self, location: str | os.PathLike[str], program: str = "zrb-store") -> None:
        self.watcher = Watcher(location)
        self.app = Site(self.watcher, program).app()

    def __call__(self, target: str, status: int = 200, **headers: str) -> Answer:
        """Ask for a page, whose answer must have this status."""
        answer = request(self.app, target, headers={name.replace("_", "-"): text for name, text in headers.items()})
        assert answer.status == status, answer.text
        return answer

    def close(self) -> None:
        """End the watching."""
        self.watcher.close()


@contextlib.contextmanager
def raw(location: str) -> Iterator[Callable[[str], None]]:
    """Change rows past the API."""
    engine = engine_of(store_url(location))
    with engine.connect() as connection:

        def execute(sql: str) -> None:
            connection.execute(sa.text(sql))
            connection.commit()

        yield execute
