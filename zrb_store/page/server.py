"""The live pages as an ASGI app: what `zrb-store page` serves, and what zrb's web server has at `/xcom/`.

Answers that were made a moment ago, for all pages that ask for the same while nothing has changed.

The server of `zrb-store page`: uvicorn on one socket, for as long as nobody ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import html
import json
import socket
import tempfile
import threading
import time
import webbrowser
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.masking import mask_text, storable
from zrb_store.page.access import TOKEN, App, OnlyReading, OnThisMachine, WithToken, is_loopback, new_token
from zrb_store.page.assets import STATIC, STYLES
from zrb_store.page.found import Context, Elsewhere, Question, Reader
from zrb_store.page.pages import read_comparison, read_list, read_queues, read_session, read_stats
from zrb_store.page.render import environment
from zrb_store.page.stores import Stores, Watcher
from zrb_store.records import JsonTree
from zrb_store.render.format import as_typed

if TYPE_CHECKING:
    import uvicorn

    from zrb_store.page.stores import Watcher


_MOST_BYTES = 32 * 1024 * 1024
_MAX_AGE = 4.0  # seconds: that a process has died, or how long it has run, is committed nowhere


class Answer(NamedTuple):
    """An answer to a request.

    Attributes:
        status: Its status.
        body: What is sent.
        media_type: What that is.
        tag: What differs if the page has to be drawn again.
        location: The address to which it leads, if it leads elsewhere.
    """

    status: int
    body: bytes
    media_type: str
    tag: str
    location: str | None = None


def tag_of(text: str | bytes) -> str:
    """Return a tag of what an answer depends on."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return f'"{hashlib.sha256(raw).hexdigest()[:24]}"'


class Answers:
    """The newest answers. An answer is used again only as long as the store is being watched and has not changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[str, tuple[str, float, Answer]] = OrderedDict()
        self._under_way: dict[str, threading.Lock] = {}

    def get(self, key: str, mark: Callable[[], str | None], make: Callable[[], Answer]) -> Answer:
        """Return an answer, made now or a moment ago; who asks for the same at the same time gets the same.

        Args:
            key: What is asked for.
            mark: Returns the mark of the store's last change; None if nobody watches the store.
            make: Makes the answer.
        """
        if mark() is None:
            return make()
        with self._lock:
            own = self._under_way.setdefault(key, threading.Lock())
        with own:
            now = mark()
            with self._lock:
                before = self._made.get(key)
            if before is not None and before[0] == now and time.monotonic() - before[1] < _MAX_AGE:
                return before[2]
            began = time.monotonic()
            answer = make()
            if now is not None and answer.status == 200:
                self._keep(key, now, began, answer)
            return answer

    def _keep(self, key: str, mark: str, began: float, answer: Answer) -> None:
        with self._lock:
            self._made[key] = mark, began, answer
            self._made.move_to_end(key)
            size = sum(len(kept.body) for _, _, kept in self._made.values())
            while size > _MOST_BYTES or len(self._made) > 100:
                oldest, (_, _, dropped) = self._made.popitem(last=False)
                size -= len(dropped.body)
                self._under_way.pop(oldest, None)


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
            watcher: What notices its changes.
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


_WAIT = 3  # seconds for answers under way when the server ends
_HEADER = 10  # seconds that the header of a request may take
_MOST = 100  # connections: each takes a file descriptor, of which macOS allows 256
_BACKLOG = 50  # connections that are accepted before the first of them is looked at


def missing_parts() -> str | None:
    """Return what to do if the server's libraries are not installed."""
    from importlib.util import find_spec

    if all(find_spec(name) for name in ("starlette", "uvicorn")):
        return None
    return 'the page needs a web server: pip install "zrb-store[page]"'


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: A name or an address.
        port: The port; 0 for any that is free.

    Raises:
        ZrbStoreError: The port is in use or not allowed, or there is no such host.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ZrbStoreError(f"the host {host!r} is not known here: {_reason(error)}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ZrbStoreError(
                f"port {port} of {host} is in use: choose another one with --port, or 0 for any"
            ) from None
        raise ZrbStoreError(f"nothing can listen on port {port} of {host}: {_reason(error)}") from None
    return listener


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def address_of(listener: socket.socket, host: str) -> str:
    """Return the address of the page as a browser takes it."""
    port = listener.getsockname()[1]
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/"


def serve(
    listener: socket.socket, host: str, program: str, tell: Callable[[str], object], *, has_token: bool, opens: bool
) -> None:
    """Serve the pages until a signal ends that.

    Args:
        listener: A socket that listens.
        host: The host that was asked for.
        program: What the user types before the name of a command.
        tell: Tells the user the address, and if no browser can be started.
        has_token: Whether the address carries a token, without which nothing is shown.
        opens: Whether to open the address in the browser.
    """
    import uvicorn  # late, as all that follows: the command says before whether its libraries are missing

    from zrb_store.page.stores import Stores, Watcher

    stores = Stores()
    watcher = Watcher(stores)
    app: App = Site(stores, watcher, program).app()
    address = address_of(listener, host)
    if has_token:
        token = new_token()
        app = WithToken(app, token, listener.getsockname()[1])
        address += f"?{TOKEN}={token}"
    if is_loopback(host):
        app = OnThisMachine(app)
    config = uvicorn.Config(
        app,
        http=_protocol(),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_WAIT,
        server_header=False,
        ws="none",
        backlog=_BACKLOG,
    )
    server = _server(config, watcher)
    tell(f"{address}  (Ctrl-C ends it)")
    with contextlib.ExitStack() as ending:
        ending.callback(listener.close)
        ending.callback(stores.close)
        ending.callback(watcher.close)
        ending.enter_context(contextlib.suppress(KeyboardInterrupt))  # it is how the page is ended, and no failure
        if opens:
            folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="zrb-store-")))
            # The browser may not return before it is closed.
            Thread(target=_open, args=(folder / "page.html", address, tell), daemon=True).start()
        server.run(sockets=[listener])


def _open(file: Path, address: str, tell: Callable[[str], object]) -> None:
    """Open an address in the browser by a file that leads there: everybody may read the command line of the browser."""
    file.write_text(f'<meta http-equiv="refresh" content="0; url={html.escape(address)}">')
    if not webbrowser.open(file.as_uri()):
        tell("no browser could be started: open the address in one")


def _protocol() -> type[asyncio.Protocol]:
    """Return what uvicorn speaks HTTP with, for connections that hold nobody up."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    kept: dict[Connection, None] = {}  # the oldest first

    class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """Is closed if the header of a request takes too long, or if there are too many connections."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            kept[self] = None
            self._expect_header()
            if len(kept) > _MOST:
                # A page that is open keeps its connection, so the oldest of those that are not answered goes first.
                waiting = (each for each in kept if each is not self and not each.is_answering)
                next(waiting, next(iter(kept))).close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._expect_header()

        @property
        def is_answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def close(self) -> None:
            self._forget()
            self.transport.abort()

        def _expect_header(self) -> None:
            if self.is_answering:
                self._cancel()
            elif self._deadline is None and self in kept:
                self._deadline = asyncio.get_running_loop().call_later(_HEADER, self.close)

        def _forget(self) -> None:
            kept.pop(self, None)
            self._cancel()

        def _cancel(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Connection


def _server(config: uvicorn.Config, watcher: Watcher) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        """Lets open pages go before it waits for the answers under way."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            watcher.close()
            super().handle_exit(sig, frame)

    return Server(config)
