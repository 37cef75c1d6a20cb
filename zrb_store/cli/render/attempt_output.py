"""What attempts printed and logged, as `log` prints it."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from zrb_store.cli.render.format import TimeFormat, counted, size
from zrb_store.cli.render.output import echo, echo_json, echo_raw, flush
from zrb_store.inspect.output import Follower, Printed, line_shape
from zrb_store.records import iso
from zrb_store.safe_text import one_line

_LAST = 20  # lines that are shown unless all are asked for
_INTERVAL = 0.5  # seconds between two looks at what is followed


def output_lines(output: dict[str, Any], times: TimeFormat, *, whole: bool) -> list[str]:
    """Return the lines that show the output of an attempt, which is in the shape of `log --format json`.

    Args:
        output: The output.
        times: The format of times.
        whole: Whether all lines are shown, not only the last ones.
    """
    lines = output["lines"]
    hidden = 0 if whole else max(len(lines) - _LAST, 0)
    shown = [_line(line["at"], line["stream"], line["text"], times) for line in lines[hidden:]]
    if hidden:
        return [f"[{counted(hidden, 'earlier line')}: --output shows all that is kept]", *shown]
    if output["truncated"]:
        return [f"[of {size(output['bytes'])} that it printed, only the end is kept]", *shown]
    return shown


def _line(at: str | None, stream: str, text: str, times: TimeFormat) -> str:
    return f"{times.brief(at)} {one_line(stream):<7} {text.expandtabs()}".rstrip()


def follow_output(follower: Follower, output_format: str, *, whole: bool) -> None:
    """Print what attempts print until the session has ended, or until the user has seen enough.

    Args:
        follower: Reads it.
        output_format: `table`, `jsonl` or `value`.
        whole: Whether to begin with all that was printed before, not only with the last lines of it.
    """
    with contextlib.suppress(KeyboardInterrupt):
        found = follower.read()
        times = TimeFormat(iso(follower.started_at))
        found = found if whole else found[-_LAST:]
        while True:
            for printed in found:
                _echo(printed, output_format, times)
            flush()
            if follower.status != "running":
                break
            time.sleep(_INTERVAL)
            found = follower.read()
        if output_format == "table":
            echo(f"The session is {follower.status}.")


def _echo(printed: Printed, output_format: str, times: TimeFormat) -> None:
    line = printed.line
    if output_format == "jsonl":
        echo_json({"attempt": printed.attempt, **line_shape(line)}, one_line=True)
    elif output_format == "value":
        echo_raw(line.text)
    else:
        echo(f"{one_line(printed.attempt)} {_line(iso(line.at), line.stream, line.text, times)}")
