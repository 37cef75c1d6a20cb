"""The addresses of the pages, relative to where all of them are (`root` in the templates)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode


def address_of_session(name: str) -> str:
    """Return the address of a session's page."""
    if name.strip("."):
        return f"session/{quote(name, safe=':+')}"
    return f"session?{urlencode({'name': name})}"  # a browser would take the path `..` for the folder above


def address_of_comparison(a: str, b: str) -> str:
    """Return the address of the page that compares two sessions."""
    return f"compare?{urlencode({'a': a, 'b': b})}"


def with_words(page: str, words: Mapping[str, str | None]) -> str:
    """Return an address with words after `?`, those that are not empty."""
    query = urlencode({name: text for name, text in words.items() if text})
    return f"{page}?{query}" if query else page
