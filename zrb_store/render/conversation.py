"""The conversation of an agent as text for a terminal, and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from zrb_store.inspect.conversation import Turn
from zrb_store.masking import one_line, printable
from zrb_store.render.document import Block, Lines
from zrb_store.render.format import TimeFormat

_FOLDED = ("system",)  # roles whose texts are long, and no part of what was said


def conversation_blocks(turns: Iterable[Turn], times: TimeFormat, *, full: bool) -> Iterator[Block]:
    for turn in turns:
        yield Lines([line.expandtabs() for line in _lines(turn, full)], one_line(_title(turn, times)))


def conversation_markdown(turns: Iterable[Turn], times: TimeFormat, *, full: bool) -> Iterator[str]:
    for turn in turns:
        yield f"### {one_line(_title(turn, times))}"
        yield ""
        # What was said may have headings of its own, or a fence.
        yield from (printable(f"> {line}".rstrip()) for line in _lines(turn, full))
        yield ""


def _title(turn: Turn, times: TimeFormat) -> str:
    facts = [f"{turn.agent}: " * (turn.agent is not None) + (f"{turn.role} {turn.tool}" if turn.tool else turn.role)]
    if turn.at is not None:
        facts.append(times.brief(turn.at))
    if turn.tokens is not None:
        facts.append("{:,} in / {:,} out tokens".format(*turn.tokens))
    if turn.from_store:
        facts.append("from the store")
    return ", ".join(facts)


def _lines(turn: Turn, full: bool) -> list[str]:
    """Return the lines of a turn: the arguments of a call, and what was said, which may be folded."""
    text = turn.text
    if turn.role in _FOLDED and not full:
        text = f"[{len(text):,} characters]"
    lines = text.splitlines()
    if turn.role == "tool call" and turn.arguments is not None:
        lines = [json.dumps(turn.arguments, ensure_ascii=False), *lines]
    if turn.live_context is not None:
        lines += (
            turn.live_context.splitlines() if full else [f"[{len(turn.live_context):,} characters of live context]"]
        )
    return lines
