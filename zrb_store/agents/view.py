"""The conversation of an agent as text for a terminal, as Markdown, and for a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zrb_store.agents.conversation import Turn, conversation, folded, has_agent
from zrb_store.agents.conversation import turns as all_turns
from zrb_store.inspect.show import SessionDocument
from zrb_store.masking import one_line, printable
from zrb_store.render.document import Block, Lines
from zrb_store.render.format import TimeFormat
from zrb_store.render.printing import echo, echo_json, echo_records, print_document


def print_conversation(document: SessionDocument, task: str | None, output_format: str, *, full: bool) -> None:
    """Print what an agent of a task and its model said: by default of the only task that has one."""
    name, turns = conversation(document, task)
    times = TimeFormat(document.runs[0].started_at if document.runs else None)
    if output_format == "json":
        echo_json({"session": document.session.name, "task": name, "turns": [turn.to_json() for turn in turns]})
    elif output_format == "jsonl":
        echo_records((turn.to_json() for turn in turns), output_format)
    elif output_format == "markdown":
        for line in conversation_markdown(turns, times, full=full):
            echo(line)
    else:
        print_document(conversation_blocks(turns, times, full=full), full=full)


def texts(document: SessionDocument) -> list[tuple[str, Iterable[Turn]]]:
    """Return the turns of each task that has an agent."""
    return [(task.name, folded(all_turns(task))) for task in document.tasks if has_agent(task)]


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
