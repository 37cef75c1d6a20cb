"""How the URL of a store is shown."""

from __future__ import annotations

from sqlalchemy.engine import URL

from zrb_store.masking import mask_word


def shown_url(url: URL) -> str:
    """Where a store is, for people: every password in it is masked, those among its parameters too."""
    return mask_word(url.render_as_string(hide_password=True))
