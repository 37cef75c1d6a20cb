"""The live pages under zrb's own web server: at `/xcom/`, behind its login, and linked from its pages.

Nothing of a web server is imported before zrb's is started.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from zrb_store.plugin import compat, compat_web
from zrb_store.plugin.messages import speaker, warn
from zrb_store.plugin.patches import Patches

if TYPE_CHECKING:
    from zrb_store.page.access import App, Receive, Scope, Send

PATH = "/xcom"
RIGHT = "xcom-page"
"""What a user of zrb's login must have among the accessible tasks to see the pages, unless it is the super admin."""


def hook_web_server(patches: Patches) -> None:
    """Show the pages as soon as zrb's web server is started."""
    start = compat_web.web_server_task()
    if start is None:
        return
    action = start._action

    @functools.wraps(action)
    async def start_with_pages(*args: Any, **kwargs: Any) -> Any:
        _hook_app(patches)
        return await action(*args, **kwargs)

    patches.put(start, "_action", start_with_pages)


def _hook_app(patches: Patches) -> None:
    web_app = compat_web.web_app_module()
    create = web_app.create_web_app
    if hasattr(create, "__wrapped__"):
        return

    @functools.wraps(create)
    def create_web_app(root_group: Any, web_auth_config: Any, *args: Any, **kwargs: Any) -> Any:
        app = create(root_group, web_auth_config, *args, **kwargs)
        try:
            app.mount(PATH, _pages(web_auth_config))
        except Exception as error:  # noqa: BLE001 - zrb's server runs without our pages
            warn(f"there are no pages at {PATH}/: {type(error).__name__}: {error}")
        else:
            compat_web.add_web_script(patches, f"{PATH}/static/zrb-link.js")
        return app

    patches.put(web_app, "create_web_app", create_web_app)


def _pages(web_auth_config: Any) -> App:
    from zrb_store.page.app import Site
    from zrb_store.page.stores import Stores
    from zrb_store.page.watcher import Watcher

    stores = Stores()
    watcher = Watcher(stores, compat_web.web_server_is_ending)
    site = Site(stores, watcher, speaker.program, scripts=["/refresh-token.js"])
    return UnderLogin(site.app(), web_auth_config)


class UnderLogin:
    """Lets those see the pages whom zrb's login allows it, and sends all others there."""

    def __init__(self, app: App, web_auth_config: Any) -> None:
        """Protect an app.

        Args:
            app: What is protected.
            web_auth_config: zrb's configuration of its login, which may be off.
        """
        self._app = app
        self._config = web_auth_config
        self._right = compat.BaseTask(name=RIGHT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        from starlette.requests import Request

        from zrb_store.page.access import answer
        from zrb_store.page.plain import plain_page

        path = str(scope.get("path", "")).removeprefix(scope.get("root_path", ""))
        # zrb's pages load the script with the link before anybody has logged in.
        if scope["type"] != "http" or path.removeprefix(PATH).startswith("/static/"):
            await self._app(scope, receive, send)
            return
        user = await compat_web.web_user(self._config, Request(scope, receive))
        if user.can_access_task(self._right):
            await self._app(scope, receive, send)
        elif user.is_guest:
            await answer(send, 303, "", [("Location", "/login")])
        else:
            text = f"The user {user.username} may not see the stored sessions: that needs the right {RIGHT}."
            await answer(send, 403, plain_page("Not allowed", text))
