"""The environment of the commands that a task starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zrb_store.safe_text import mask_word

if TYPE_CHECKING:
    from zrb.context.any_context import AnyContext


def export_attempt(ctx: AnyContext, url: str, token: str) -> None:
    """Tell the commands of a CmdTask which attempt they belong to. A zrb among them runs a session of its own."""
    ctx.env["ZRB_STORE_URL"] = url
    hide_url(ctx)
    ctx.env["ZRB_STORE_ATTEMPT"] = token
    drop_session(ctx)


def drop_session(ctx: AnyContext) -> None:
    """Drop the name of the session that this process runs, so that a zrb among the commands does not run it too."""
    ctx.env.pop("ZRB_STORE_SESSION", None)


def hide_url(ctx: AnyContext) -> None:
    """Keep the store's password out of zrb's debug output, which shows the whole environment of a command."""
    url = ctx.env.get("ZRB_STORE_URL", "")
    if "://" in url and mask_word(url) != url:
        ctx.env["ZRB_STORE_URL"] = _StoreUrl(url)


class _StoreUrl(str):
    """The URL as commands get it. Its repr, which zrb prints, has no password."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(mask_word(str(self)))
