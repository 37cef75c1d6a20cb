"""Answer one TAB."""

from __future__ import annotations

import os
import threading

from zrb_store.cli.tab import grammar
from zrb_store.cli.tab.candidates import answer_at
from zrb_store.cli.tab.place import place_of
from zrb_store.cli.tab.shells import READERS

DEADLINE = 1.5
"""Seconds after which there is no answer: the database does not respond, and the user is waiting."""


def answer(args: list[str]) -> int:
    """Print the candidates for a word. Whatever goes wrong, nothing else is printed: the user is amid a line.

    Args:
        args: The shell, how many words name the program, and the line as `shells.py` reads it.

    Returns:
        The exit code, always 0.
    """
    watchdog = threading.Timer(DEADLINE, os._exit, (0,))
    watchdog.daemon = True
    watchdog.start()
    try:
        shell, count, *line = args
        question = READERS[shell](line)
        place = place_of(grammar.load(), question.words[int(count) :], question.typed)
        text = "" if place is None else question.write(answer_at(place))
        os.write(1, text.encode())
    except Exception:  # noqa: BLE001 - no candidates are an answer too
        pass
    finally:
        watchdog.cancel()
    return 0
