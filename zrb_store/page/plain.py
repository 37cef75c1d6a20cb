"""A page that says one thing, and needs neither the store nor a template."""

from __future__ import annotations

from html import escape

from zrb_store.safe_text import printable

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
</head>
<body>
<main>
<h1>{title}</h1>
<p>{text}</p>
</main>
</body>
</html>
"""


def plain_page(title: str, text: str) -> str:
    """Return a page with a title and a sentence."""
    return _PAGE.format(title=escape(printable(title)), text=escape(printable(text)))
