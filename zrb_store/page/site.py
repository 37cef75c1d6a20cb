"""The live pages as an ASGI app: `zrb-store page` serves it, and zrb's web server has it at `/xcom/`.

`Site` answers requests. `ResponseCache` keeps what was made a moment ago, for all pages that ask for the same.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from zrb_store.db.rows import leaving_out
from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.masking import mask_text, storable
from zrb_store.page import pages
from zrb_store.page.access import OnlyReading
from zrb_store.page.assets import STATIC, STYLES
from zrb_store.page.render import Context, environment
from zrb_store.page.watcher import Watcher
from zrb_store.records import JsonTree
from zrb_store.render.stderr import as_typed
from zrb_store.store import open_store
from zrb_store.wings import place_of

_HEARTBEAT = 15.0  # seconds after which an idle connection is written to, so that it is noticed if nobody reads it
_LONGEST = 20  # heartbeats after which a connection ends; the browser opens another one
_KINDS = {".css": "text/css", ".js": "text/javascript"}
_FILES = {file.relative_to(STATIC).as_posix(): file for file in STATIC.rglob("*") if file.suffix in _KINDS}
_MOST_BYTES = 32 * 1024 * 1024  # of all answers that are kept
_READERS = 4  # at the same time
_MAX_AGE = 4.0  # seconds: that a process has died, or how long it has run, is committed nowhere


class Site:
    """The pages of one store."""

    def __init__(self, watcher: Watcher, program: str, scripts: Sequence[str] = ()) -> None:
        """Prepare the pages for users of `program`, each with the scripts at these addresses besides its own."""
        self.watcher = watcher
        self._scripts = scripts
        self._readers = threading.Semaphore(_READERS)
        self._program = program
        self._answers = ResponseCache()

    def app(self) -> ASGIApp:
        """Return the app, which answers at the root of wherever it is mounted."""
        routes = [
            self._route("/", "list", pages.read_list),
            self._route("/session", "session", pages.read_session),
            self._route("/session/{name}", "session", pages.read_session),
            self._route("/compare", "compare", pages.read_comparison),
            self._route("/queues", "queues", pages.read_queues),
            *([self._route("/stats", "stats", pages.read_stats)] if place_of("figures") else []),
            Route("/events", self._events),
            Route("/static/{file:path}", _static),
        ]
        return OnlyReading(Starlette(routes=routes, exception_handlers={HTTPException: self._no_page}))

    def _route(self, path: str, page: str, reader: pages.Reader) -> Route:
        async def endpoint(request: Request) -> Response:
            watcher = self.watcher
            answer = await run_in_threadpool(
                self._answers.get,
                f"{request.url.path}?{request.url.query}",
                lambda: watcher.mark if watcher.is_watching else None,
                lambda: self._answer(request, reader, page),
            )
            return _response(request, answer)

        return Route(path, endpoint)

    def _answer(self, request: Request, reader: pages.Reader, page: str) -> PageResponse:
        """Read the store and show what was found, or what is the matter."""
        given = request.query_params
        question = pages.Question(
            given={name: storable(text) for name, text in {**given, **request.path_params}.items() if text},
            all_given={name: list(map(storable, given.getlist(name))) for name in given},
            as_json=given.get("format") == "json",
            program=self._program,
        )
        root, mark = _root(request), self.watcher.mark  # before reading: what is committed from now on is a change
        try:
            if given.get("format") not in (None, "", "json"):
                raise InvalidArgument(f"format={given['format'][:40]!r} is not known: leave it out, or use json")
            # Opened for each answer, so that pages recover by themselves when the store comes back or is replaced.
            with self._readers, open_store(self.watcher.location, read_only=True) as store, leaving_out():
                found = reader(store.database, question)
            if found.elsewhere is not None:
                return PageResponse(303, b"", "text/html", "", root + found.elsewhere)
            if question.as_json:
                return _json(found.tree)
            context: Context = {"root": root, "page": page, "mark": mark, "store": store.url, "program": self._program}
            context["others_scripts"] = self._scripts
            return _page(found.template, {**context, **found.context}, depends_on=found.unless)
        except ZrbStoreError as error:
            problem = error
        except Exception as error:  # noqa: BLE001 - a bug of ours, of which a traceback would not help the reader
            problem = ZrbStoreError(f"internal error, please report it: {type(error).__name__}: {error}")
        status = {2: 400, 3: 404, 69: 503}.get(problem.exit_code, 500)
        message = as_typed(mask_text(str(problem)), self._program)
        return _json({"error": message}, status) if question.as_json else _problem(root, page, status, message)

    async def _no_page(self, request: Request, error: Exception) -> Response:
        return _response(request, _problem(_root(request), "", 404, "There is no such page."))

    async def _events(self, request: Request) -> Response:
        mark = request.query_params.get("after") or ""
        return StreamingResponse(
            self._changes(request.headers.get("last-event-id") or mark),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _changes(self, mark: str) -> AsyncIterator[str]:
        """Yield an event for each change that a page has not seen: nothing but that there was one."""
        yield "retry: 1000\n\n"
        for _ in range(_LONGEST):
            now = await self.watcher.changed(mark, _HEARTBEAT)
            if now is None:
                return
            yield f"id: {now}\nevent: changed\ndata: {now}\n\n" if now != mark else ": still here\n\n"
            mark = now


def _root(request: Request) -> str:
    """Return the relative address of the list, from the page that is asked for."""
    path: str = request.scope["path"]
    return "../" * path.removeprefix(request.scope.get("root_path", "")).lstrip("/").count("/") or "./"


class PageResponse(NamedTuple):
    """An answer to a request, for as many as ask the same."""

    status: int
    body: bytes
    media_type: str
    tag: str  # differs if the page has to be drawn again
    location: str | None = None  # the address to which it leads, if it leads elsewhere


def tag_of(body: bytes) -> str:
    """Return a tag of what an answer depends on."""
    return f'"{hashlib.sha256(body).hexdigest()[:24]}"'


def _page(template: str, context: Context, status: int = 200, depends_on: str | None = None) -> PageResponse:
    text = environment().get_template(template).render({"styles": (*STYLES, "live.css"), **context})
    body = text.encode("utf-8", "backslashreplace")
    tag = tag_of(body if depends_on is None else depends_on.encode("utf-8", "surrogatepass"))
    return PageResponse(status, body, "text/html", tag)


def _problem(root: str, page: str, status: int, message: str) -> PageResponse:
    return _page("problem.html", {"root": root, "page": page, "status": status, "message": message}, status)


def _json(tree: JsonTree, status: int = 200) -> PageResponse:
    body = json.dumps(tree, indent=2).encode()
    return PageResponse(status, body, "application/json", tag_of(body))


def _response(request: Request, answer: PageResponse) -> Response:
    """Return what is sent to one who asks: nothing but headers if they have it already."""
    headers = {"Cache-Control": "no-store"}
    if answer.location is not None:
        return Response(status_code=answer.status, headers={**headers, "Location": answer.location})
    headers["ETag"] = answer.tag
    if answer.status == 503:
        headers["Retry-After"] = "2"
    elif answer.status == 200 and request.headers.get("if-none-match") == answer.tag:
        return Response(status_code=304, headers=headers)
    return Response(answer.body, answer.status, headers, answer.media_type)


async def _static(request: Request) -> Response:
    file = _FILES.get(request.path_params["file"])
    if file is None:
        raise HTTPException(404)
    return FileResponse(file, media_type=_KINDS[file.suffix], headers={"Cache-Control": "no-cache"})


class ResponseCache:
    """The newest answers. An answer is used again only as long as the store is being watched and has not changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mark: str | None = None
        self._made: dict[str, tuple[float, PageResponse]] = {}  # with when it began to be made, since this mark
        self._making: dict[str, threading.Lock] = {}

    def get(self, key: str, mark: Callable[[], str | None], make: Callable[[], PageResponse]) -> PageResponse:
        """Return an answer, made now or a moment ago; who asks for the same at the same time gets the same.

        `mark` returns the mark of the store's last change; None if nobody watches the store.
        """
        if mark() is None:
            return make()
        with self._lock:
            own = self._making.setdefault(key, threading.Lock())
        with own:
            now, began = mark(), time.monotonic()
            with self._lock:
                kept_at, kept = self._made.get(key, (0.0, None))
                if kept is not None and self._mark == now and began - kept_at < _MAX_AGE:
                    return kept
            answer = make()
            with self._lock:
                size = sum(len(each.body) for _, each in self._made.values())
                if now != self._mark or size > _MOST_BYTES or len(self._made) >= 100:
                    self._mark = now
                    self._made.clear()
                    self._making.clear()
                if now is not None and answer.status == 200:
                    self._made[key] = began, answer
            return answer
