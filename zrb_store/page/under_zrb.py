"""The live pages under zrb's own web server, at /xcom/."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.types import ASGIApp

from zrb_store.page.access import OnThisMachine, Refusal, UnderLogin
from zrb_store.page.site import Site
from zrb_store.page.watcher import Watcher


def pages(
    program: str,
    is_ending: Callable[[], bool],
    refusal: Callable[[Request], Awaitable[tuple[str, str | None] | None]],
    *,
    has_login: bool,
) -> ASGIApp:
    """Make the app.

    Args:
        program: What users type for our commands.
        is_ending: Whether the server has been asked to end.
        refusal: Returns why a request is refused, and where to log in; None if it is not refused.
        has_login: Whether users log in to the server.
    """
    # What keeps somebody logged in who looks at a page for hours.
    site = Site(Watcher(is_ending=is_ending), program, ["/refresh-token.js"] if has_login else [])

    async def refused(request: Request) -> Refusal | None:
        found = await refusal(request)
        return None if found is None else Refusal(*found)

    app = UnderLogin(site.app(), refused)
    # Where nobody logs in, a page of the internet could read the sessions under a name that leads here.
    return app if has_login else OnThisMachine(app)
