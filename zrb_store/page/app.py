"""The live pages as an ASGI app: what `zrb-store page` serves, and what zrb's web server has at `/xcom/`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.json_tree import JsonTree
from zrb_store.page.access import App, OnlyReading
from zrb_store.page.answers import Answer, Answers, tag_of
from zrb_store.page.assets import STATIC, STYLES
from zrb_store.page.compare import read_comparison
from zrb_store.page.found import Context, Elsewhere, Question, Reader
from zrb_store.page.list import read_list
from zrb_store.page.queues import read_queues
from zrb_store.page.render import environment
from zrb_store.page.session import read_session
from zrb_store.page.stats import read_stats
from zrb_store.page.stores import Stores
from zrb_store.page.watcher import Watcher
from zrb_store.render.messages import as_typed
from zrb_store.safe_text import mask_text, storable

_HEARTBEAT = 15.0  # seconds after which an idle connection is written to, so that it is noticed if nobody reads it
_LONGEST = 20  # heartbeats after which a connection ends; the browser opens another one
_KINDS = {".css": "text/css", ".js": "text/javascript"}
_FILES = {file.relative_to(STATIC).as_posix(): file for file in STATIC.rglob("*") if file.suffix in _KINDS}


class Site:
    """The pages of one store.

    Attributes:
        watcher: What notices changes of the store.
    """

    def __init__(self, stores: Stores, watcher: Watcher, program: str, scripts: Sequence[str] = ()) -> None:
        """Prepare the pages.

        Args:
            stores: The store.
            watcher: What notices its changes.
            program: What a reader types before the name of a command.
            scripts: Addresses of more scripts for every page.
        """
        self._scripts = scripts
        self._stores = stores
        self.watcher = watcher
        self._program = program
        self._answers = Answers()

    def app(self) -> App:
        """Return the app, which answers at the root of wherever it is mounted."""
        routes = [
            self._route("/", "list", read_list),
            self._route("/session", "session", read_session),
            self._route("/session/{name}", "session", read_session),
            self._route("/compare", "compare", read_comparison),
            self._route("/queues", "queues", read_queues),
            self._route("/stats", "stats", read_stats),
            Route("/events", self._events),
            Route("/static/{file:path}", _static),
        ]
        return OnlyReading(Starlette(routes=routes, exception_handlers={HTTPException: self._no_page}))

    def _route(self, path: str, page: str, reader: Reader) -> Route:
        root = "../" * (path.count("/") - 1) or "./"

        async def endpoint(request: Request) -> Response:
            key = f"{request.url.path}?{request.url.query}"
            watcher = self.watcher
            answer = await run_in_threadpool(
                self._answers.get,
                key,
                lambda: watcher.mark if watcher.is_watching else None,
                lambda: self._answer(request, reader, page, root),
            )
            return _response(request, answer)

        return Route(path, endpoint)

    def _answer(self, request: Request, reader: Reader, page: str, root: str) -> Answer:
        """Read the store and show what was found, or what is the matter."""
        given = request.query_params
        question = Question(
            path={name: storable(text) for name, text in request.path_params.items()},
            given={name: storable(text) for name, text in given.items() if text},
            all_given={name: list(map(storable, given.getlist(name))) for name in given},
            as_json=given.get("format") == "json",
            program=self._program,
        )
        mark = self.watcher.mark  # before reading: what is committed from now on is a change
        try:
            if given.get("format") not in (None, "", "json"):
                raise InvalidArgument(f"format={given['format'][:40]!r} is not known: leave it out, or use json")
            with self._stores.database() as database:
                found = reader(database, question)
                store = database.shown_url
            if isinstance(found, Elsewhere):
                return Answer(303, b"", "text/html", "", root + found.address)
            if question.as_json:
                return _json(found.tree)
            context: Context = {
                "root": root,
                "page": page,
                "mark": mark,
                "store": store,
                "program": self._program,
            }
            context["others_scripts"] = self._scripts
            body = self._render(found.template, {**context, **found.context})
        except ZrbStoreError as error:
            return self._problem(question, error, page, root)
        except Exception as error:  # noqa: BLE001 - a bug of ours, of which a traceback would not help the reader
            told = ZrbStoreError(f"internal error, please report it: {type(error).__name__}: {error}")
            return self._problem(question, told, page, root)
        return Answer(200, body, "text/html", tag_of(body if found.unless is None else found.unless))

    def _problem(self, question: Question, error: ZrbStoreError, page: str, root: str) -> Answer:
        status = {2: 400, 3: 404, 69: 503}.get(error.exit_code, 500)
        message = as_typed(mask_text(str(error)), self._program)
        if question.as_json:
            return _json({"error": message}, status)
        body = self._render("problem.html", {"root": root, "page": page, "status": status, "message": message})
        return Answer(status, body, "text/html", tag_of(body))

    def _render(self, template: str, context: Context) -> bytes:
        text = environment().get_template(template).render({"styles": (*STYLES, "live.css"), **context})
        return text.encode("utf-8", "backslashreplace")

    async def _no_page(self, request: Request, error: Exception) -> Response:
        root = (
            "../" * request.scope["path"].removeprefix(request.scope.get("root_path", "")).lstrip("/").count("/")
            or "./"
        )
        body = self._render(
            "problem.html", {"root": root, "page": "", "status": 404, "message": "There is no such page."}
        )
        return Response(body, 404, media_type="text/html")

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


def _json(tree: JsonTree, status: int = 200) -> Answer:
    body = json.dumps(tree, indent=2).encode()
    return Answer(status, body, "application/json", tag_of(body))


def _response(request: Request, answer: Answer) -> Response:
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
