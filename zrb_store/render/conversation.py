"""The conversation of an agent as text for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zrb_store.inspect.conversation import Turn, folded
from zrb_store.masking import one_line, printable
from zrb_store.render.document import Block, Lines
from zrb_store.render.format import TimeFormat


def conversation_blocks(turns: Iterable[Turn], times: TimeFormat, *, full: bool) -> Iterator[Block]:
    for title, lines in _shown(turns, times, full):
        yield Lines([line.expandtabs() for line in lines], title)


def conversation_markdown(turns: Iterable[Turn], times: TimeFormat, *, full: bool) -> Iterator[str]:
    for title, lines in _shown(turns, times, full):
        yield f"### {title}"
        yield ""
        # What was said may have headings of its own, or a fence.
        yield from (printable(f"> {line}".rstrip()) for line in lines)
        yield ""


def _shown(turns: Iterable[Turn], times: TimeFormat, full: bool) -> Iterator[tuple[str, list[str]]]:
    for turn in turns if full else folded(turns):
        at = [] if turn.at is None else [times.brief(turn.at)]
        yield one_line(", ".join([turn.name, *at, *turn.notes])), turn.said(full=full).splitlines()
