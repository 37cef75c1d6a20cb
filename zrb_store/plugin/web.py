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
    from zrb_store.page.access import App

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
    from zrb_store.page.access import OnThisMachine, Refusal, UnderLogin
    from zrb_store.page.app import Site
    from zrb_store.page.stores import Stores
    from zrb_store.page.watcher import Watcher

    stores = Stores()
    watcher = Watcher(stores, compat_web.web_server_is_ending)
    # What keeps somebody logged in who looks at a page for hours.
    scripts = ["/refresh-token.js"] if web_auth_config.enable_auth else []
    site = Site(stores, watcher, speaker.program, scripts=scripts)
    right = compat.BaseTask(name=RIGHT)

    async def refusal(request: Any) -> Refusal | None:
        user = await compat_web.web_user(web_auth_config, request)
        if user.can_access_task(right):
            return None
        text = f"The user {user.username} may not see the stored sessions: that needs the right {RIGHT}."
        return Refusal(text, "/login" if user.is_guest else None)

    pages = UnderLogin(site.app(), refusal)
    # Where nobody logs in, a page of the internet could read the sessions under a name that leads here.
    return pages if web_auth_config.enable_auth else OnThisMachine(pages)
