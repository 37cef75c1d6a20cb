"""zrb's own web server: what a wing shows there, at /xcom/."""

from __future__ import annotations

import functools
import inspect
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyGroup, Patches
from zrb_store.plugin.messages import speaker, warn
from zrb_store.wings import load, place_of

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from zrb.config.web_auth_config import WebAuthConfig

P = ParamSpec("P")
App = Callable[..., Awaitable[None]]
"""An ASGI app."""

PATH = "/xcom"
# What a user of zrb's login must have among the accessible tasks to see the pages, unless it is the super admin.
RIGHT = "xcom-page"


def hook_web_server(patches: Patches) -> None:
    """Show the pages as soon as zrb's web server is started, if the task that starts it has the form that we know."""
    place = place_of("web_pages")
    start = getattr(sys.modules.get("zrb.runner.cli"), "start_server", None)
    action = getattr(start, "_action", None)
    if place is None or not inspect.iscoroutinefunction(action):
        return

    @functools.wraps(action)
    async def start_with_pages(*args: Any, **kwargs: Any) -> Any:
        from zrb.runner import web_app  # late: imports the web server's libraries

        if not hasattr(web_app.create_web_app, "__wrapped__"):
            patches.wrap(web_app, "create_web_app", functools.partial(_create_web_app, patches, place))
        return await action(*args, **kwargs)

    patches.put(start, "_action", start_with_pages)


def _create_web_app(
    patches: Patches,
    place: str,
    stock: Callable[Concatenate[AnyGroup, WebAuthConfig, P], FastAPI],
    root_group: AnyGroup,
    web_auth_config: WebAuthConfig,
    *args: P.args,
    **kwargs: P.kwargs,
) -> FastAPI:
    app = stock(root_group, web_auth_config, *args, **kwargs)
    try:
        app.mount(PATH, _pages(place, web_auth_config))
    except Exception as error:  # noqa: BLE001 - zrb's server runs without our pages
        warn(f"there are no pages at {PATH}/: {type(error).__name__}: {error}")
        return app
    scripts = inspect.getattr_static(type(compat.CFG), "WEB_JS_PATH")  # a property, which cannot be set in 1.21

    def with_ours(self: Any) -> list[str]:
        return [*scripts.__get__(self, type(self)), f"{PATH}/static/zrb-link.js"]

    patches.put(type(compat.CFG), "WEB_JS_PATH", property(with_ours, getattr(scripts, "__set__", None)))
    return app


def _pages(place: str, web_auth_config: WebAuthConfig) -> App:
    from zrb.runner.web_util.user import get_user_from_request

    right = compat.BaseTask(name=RIGHT)

    async def refusal(request: Request) -> tuple[str, str | None] | None:
        user = await get_user_from_request(web_auth_config, request)
        if user.can_access_task(right):
            return None
        text = f"The user {user.username} may not see the stored sessions: that needs the right {RIGHT}."
        return text, "/login" if user.is_guest else None

    has_login = web_auth_config.enable_auth
    app: App = load(place)(speaker.program, _web_server_is_ending, refusal, has_login=has_login)
    return app


def _web_server_is_ending() -> bool:
    """Whether zrb's web server has been asked to end. It waits for open connections, 1.21 for ever."""
    server = getattr(signal.getsignal(signal.SIGINT), "__self__", None)  # while it runs, uvicorn handles the signal
    return bool(getattr(server, "should_exit", False))
