"""What attempts printed and logged, as `log` prints it."""

from __future__ import annotations

import contextlib
import time

from zrb_store.cli.render.format import TimeFormat, counted, size
from zrb_store.cli.render.output import echo, echo_json, echo_raw, flush
from zrb_store.inspect.log import AttemptOutput, Follower, Printed, line_json
from zrb_store.json_tree import JsonObject
from zrb_store.output_text import OutputLine
from zrb_store.safe_text import one_line

_LAST = 20  # lines that are shown unless all are asked for
_INTERVAL = 0.5  # seconds between two looks at what is followed


def output_lines(output: AttemptOutput, times: TimeFormat, *, whole: bool) -> list[str]:
    """Return the lines that show the output of an attempt.

    Args:
        output: The output.
        whole: Whether all lines are shown, not only the last ones.
    """
    hidden = 0 if whole else max(len(output.lines) - _LAST, 0)
    shown = [_line(line, times) for line in output.lines[hidden:]]
    if hidden:
        return [f"[{counted(hidden, 'earlier line')}: --output shows all that is kept]", *shown]
    if output.truncated:
        return [f"[of {size(output.bytes)} that it printed, only the end is kept]", *shown]
    return shown


def _line(line: OutputLine, times: TimeFormat) -> str:
    return f"{times.brief(line.at)} {one_line(line.stream):<7} {line.text.expandtabs()}".rstrip()


def follow_output(follower: Follower, output_format: str, *, whole: bool) -> None:
    """Print what attempts print until the session has ended, or until the user has seen enough.

    Args:
        follower: Reads it.
        output_format: `table`, `jsonl` or `value`.
        whole: Whether to begin with all that was printed before, not only with the last lines of it.
    """
    with contextlib.suppress(KeyboardInterrupt):
        found = follower.read()
        times = TimeFormat(follower.started_at)
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
        shown: JsonObject = {"attempt": printed.attempt, **line_json(line)}
        echo_json(shown, one_line=True)
    elif output_format == "value":
        echo_raw(line.text)
    else:
        echo(f"{one_line(printed.attempt)} {_line(line, times)}")
