"""What each shell asks, and how it is answered. The other side is in `scripts.py`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from zrb_store.cli.tab import bash_words
from zrb_store.cli.tab.candidates import Answer


class Question(NamedTuple):
    """A line up to the cursor, whatever the shell.

    Attributes:
        words: The words before the last one, and those that name the program first.
        typed: What is typed of the last word.
        write: Writes an answer as the shell reads it.
    """

    words: list[str]
    typed: str
    write: Callable[[Answer], str]


def bash(args: list[str]) -> Question:
    """Read a question of bash: COMP_WORDBREAKS, and COMP_LINE up to the cursor.

    bash inserts a candidate as it is, so it is quoted here. It replaces only what follows the last break of the word.
    """
    breaks, text = args
    line = bash_words.split(text, breaks)

    def write(answer: Answer) -> str:
        quoted = (bash_words.quoted(one.text[line.start :], line.quote) for one in answer.candidates)
        return "".join(f"{one}\n" for one in (answer.kind, *(text for text in quoted if text is not None)))

    return Question(line.words, line.typed, write)


def zsh(args: list[str]) -> Question:
    """Read a question of zsh: the words up to the cursor, which it has unquoted. It quotes the candidates too."""

    def write(answer: Answer) -> str:
        is_described = any(one.help for one in answer.candidates)
        described = (f"{one.text.replace(':', chr(92) + ':')}:{one.help}" for one in answer.candidates)
        texts = described if is_described else (one.text for one in answer.candidates)
        return "".join(f"{one}\0" for one in ("described" if is_described else answer.kind, *texts))

    return Question(args[:-1], args[-1], write)


def fish(args: list[str]) -> Question:
    """Read a question of fish: the words up to the cursor, of which only the last one is as it was typed."""

    def write(answer: Answer) -> str:
        return "".join(f"{one}\n" for one in (answer.kind, *_fish_lines(answer)))

    return Question(args[:-1], _unquoted_in_fish(args[-1]), write)


def _fish_lines(answer: Answer) -> Iterator[str]:
    if answer.kind == "files":
        yield answer.before
    for one in answer.candidates:
        # fish takes a line for a candidate, and what follows a tabulator for its description.
        if "\n" not in one.text and "\t" not in one.text:
            yield f"{one.text}\t{one.help}" if one.help else one.text


def _unquoted_in_fish(word: str) -> str:
    """Return a word without its quotation marks, the last of which may not be closed."""
    parts = re.findall(r"'((?:[^'\\]|\\.?)*)'?|\"((?:[^\"\\]|\\.?)*)\"?|\\(.?)|([^'\"\\]+)", word, re.DOTALL)
    return "".join(
        re.sub(r"\\(['\\])", r"\1", single) + re.sub(r'\\(["$\\])', r"\1", double) + escaped + plain
        for single, double, escaped, plain in parts
    )


READERS: dict[str, Callable[[list[str]], Question]] = {"bash": bash, "zsh": zsh, "fish": fish}
