"""The templates of the pages: all text from the store is escaped, and what cannot be printed is shown by its escape."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import re
import shlex
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from zrb_store.json_tree import JsonTree
from zrb_store.page.story import story
from zrb_store.page.text import content, life
from zrb_store.records import iso, to_datetime
from zrb_store.render.format import (
    NOTHING,
    counted,
    deliveries,
    error_summary,
    format_duration,
    length,
    process,
    pusher,
    setting_text,
    size,
)
from zrb_store.safe_text import printable

_STRING_OR_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*+"|-?\d++(?:\.\d++)?(?:e[+-]?\d++)?')
_FIRST_INEXACT = 2**53
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


@functools.cache
def environment() -> Environment:
    """Return the environment in which all templates are rendered."""
    made = Environment(
        loader=PackageLoader("zrb_store.page"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "story": story,
        "time": format_time,
        "moment": format_moment,
        "short_moment": format_short_moment,
        "exact": format_exact,
        "duration": format_duration,
        "between": length,
        "size": size,
        "counted": counted,
        "error": error_summary,
        "setting": setting_text,
        "deliveries": deliveries,
        "process": process,
        "content": content,
        "life": life,
        "pusher": pusher,
        "clock": format_clock,
        "thousands": "{:,}".format,
        "quote": shlex.quote,
        "shell": shlex.join,
    }
    return made


def _finalize(value: Any) -> Any:
    """Escape what cannot be printed in everything that a template writes; Jinja then escapes markup."""
    if isinstance(value, Markup):
        return value
    return printable(value if isinstance(value, str) else str(value), keep="\n\t")


def format_time(at: int | None) -> str:
    """Format a time, as all below in microseconds, in UTC to the second."""
    return NOTHING if at is None else to_datetime(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def _exact(found: re.Match[str]) -> str:
    text = found[0]
    if text[0] == '"':
        return text
    if text.lstrip("-").isdecimal():
        is_exact = len(text) < 16 or abs(int(text)) < _FIRST_INEXACT
    else:
        is_exact = "e" not in text and not text.endswith(".0")
    if is_exact:
        return text
    return f'{{"$":"number","v":"{text}"}}'


def format_clock(at: int) -> str:
    """Format the time of day in UTC."""
    return to_datetime(at).strftime("%H:%M:%S")


def format_moment(at: int | None) -> Markup:
    """Return an element with a time, which scripts rewrite in the reader's own zone."""
    return Markup("-") if at is None else Markup('<time datetime="{}">{}</time>').format(iso(at), format_time(at))


def format_short_moment(at: int | None) -> Markup:
    """Return an element with a time, whose zone stands elsewhere (in an element of class `zone`)."""
    text = format_time(at).removesuffix(" UTC")
    return Markup("-") if at is None else Markup('<time datetime="{}" data-how="short">{}</time>').format(iso(at), text)


def format_exact(at: int) -> Markup:
    """Return an element with a time to the microsecond, as `format_moment` does."""
    text = to_datetime(at).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
    return Markup('<time datetime="{}" data-how="exact">{}</time>').format(iso(at), text)


def as_json(tree: JsonTree) -> Markup:
    """Write data as JSON that can stand in a script element: nothing in it can be taken for markup.

    A number that JavaScript would read or write otherwise than Python becomes `{"$": "number", "v": TEXT}`.
    """
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    text = _STRING_OR_NUMBER.sub(_exact, text)
    return Markup(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def packed(text: str) -> str:
    """Return a text for a script element as base64 of gzip, in which it takes a fifth of the room; page.js reads it."""
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()


def measure(tree: JsonTree) -> int:
    """Return how many bytes data takes as `as_json` writes it."""
    return len(as_json(tree).encode())
