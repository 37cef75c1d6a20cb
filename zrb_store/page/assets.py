"""The scripts and the style of the pages, as files that a server sends or as text inside a report."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

STATIC = Path(__file__).parent / "static"

SESSION_SCRIPTS = (
    "vendor/uPlot.iife.min.js",
    "vendor/dagre.min.js",
    "page.js",
    "tips.js",
    "bars.js",
    "timeline.js",
    "lives.js",
    "contents.js",
    "happenings.js",
    "axis.js",
    "lanes.js",
    "flow_graph.js",
    "flow.js",
    "moment.js",
    "readable.js",
    "views.js",
    "values.js",
    "start.js",
)
"""The scripts of the page of a session, in the order in which they run."""
STYLES = ("vendor/uPlot.min.css", "tokens.css", "style.css", "card.css", "flow.css", "moment.css", "print.css")

CARD_STYLES = ("tokens.css", "card.css")
"""The style of the card alone."""

PLOTTER, GRAPHER = SESSION_SCRIPTS[:2]
"""The libraries, which a report without plots, or without queues, leaves out."""

_LICENCES = {PLOTTER: "uPlot 1.6.32", GRAPHER: "dagre 3.1.3"}


@functools.cache
def inlined(scripts: tuple[str, ...]) -> Mapping[str, object]:
    """Return scripts and the style for a page that is one file, and the Content-Security-Policy that allows these."""
    texts = tuple(_script(name) for name in scripts)
    style = style_of(*STYLES)
    sources = " ".join(f"'{_digest(text)}'" for text in texts)
    policy = (
        f"default-src 'none'; script-src {sources}; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"policy": policy, "style": Markup(style), "scripts": list(map(Markup, texts))}


def style_of(*names: str) -> str:
    """Return the text of style sheets."""
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names)


def marks() -> dict[str, str]:
    """Return the mark of each status, as the style has it; in a picture, a style cannot write text."""
    return dict(re.findall(r'^\[data-status="(.+?)"].*--mark: "(.)"', style_of("tokens.css"), re.MULTILINE))


def _script(name: str) -> str:
    text = (STATIC / name).read_text(encoding="utf-8")
    if name not in _LICENCES:
        return text
    licence = (STATIC / name).with_name(f"{_LICENCES[name].split()[0]}.LICENSE").read_text(encoding="utf-8")
    return f"/*! {_LICENCES[name]}\n{licence}*/\n{text}"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
