"""`completion`: TAB completes commands and options, which click knows, and the names in the store.

A shell asks by its script, `completion.SHELL`, with the word `__complete`, which no program takes for a command,
and gives the words of its line. It gets lines back: what kind of words they are (`words`; `part`, if more follows in
the same word; `files` or `commands`, which the shell knows itself), then one for each candidate.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, ShellComplete

from zrb_store.cli.command import command
from zrb_store.errors import ZrbStoreError
from zrb_store.inspect.session_names import resolve
from zrb_store.queries import sessions as session_queries

if TYPE_CHECKING:
    from zrb_store.db.engine import Database
    from zrb_store.queries.history import Only

DEADLINE = 1.5
"""Seconds after which a store that does not respond is given up: the user is waiting."""
_SESSIONS = 50
_VALUES = 100  # the newest of a queue
_ATTEMPTS = 10  # the newest of a task

SHELLS = ("bash", "zsh", "fish")


@command(
    "completion",
    'eval "$({} bash)"     # in ~/.bashrc',
    "source <({} zsh)      # in ~/.zshrc, after compinit",
    "{} fish | source      # in ~/.config/fish/config.fish",
    details="With this script, TAB completes commands, options, sessions, queues, tasks, steps, the ids of values, "
    "statuses, formats and files. It only reads the store, and prints nothing if there is none.",
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    from zrb_store.render.format import program_name
    from zrb_store.render.printing import echo_raw

    echo_raw(script(shell, program_name()))


def script(shell: str, program: str) -> str:
    """Return the script for one of `SHELLS` and a program, `zrb-store` or `zrb xcom`."""
    words = program.split()
    text = Path(__file__).with_suffix(f".{shell}").read_text(encoding="utf-8").rstrip("\n")
    function = f"_{'_'.join(words)}_completion".replace("-", "_")
    names = {"NAME": program, "FUNCTION": function, "COMMAND": words[0], "COUNT": str(len(words))}
    for name, value in names.items():
        text = text.replace(f"@{name}@", value)
    return text


def answer(args: Sequence[str]) -> int:
    """Print the candidates for a word, and return 0. Whatever goes wrong, nothing else is printed: the user is typing.

    Asked with the shell, how many words name the program, and the line: of bash as text and with what readline would
    replace of it; of others as words.
    """
    with suppress(Exception):  # no candidates are an answer too
        shell, count, *line = args
        os.write(1, _ANSWERS[shell](line, int(count)).encode())
    return 0


def candidates(words: Sequence[str], typed: str) -> list[CompletionItem[str]]:
    """Return what the word that is being typed may become, after those between the program and it."""
    from zrb_store.cli.command import app  # late: it imports this module by its name

    found = ShellComplete(app, {}, "zrb-store", "").get_completions([*words], typed)
    if option := re.match(r"--[^=]*=", typed):  # click leaves it out
        for item in found:
            item.value = option[0] + item.value
    return found


def _kind(items: Iterable[CompletionItem[str]]) -> str:
    found = next((item.type for item in items if item.type != "plain"), "words")
    return "files" if found in ("file", "dir") else found  # click's own words


def _answer_bash(line: Sequence[str], count: int) -> str:
    text, replaced = line
    words, typed, quote = _split(text)
    kept = len(_split(text.removesuffix(replaced))[1])  # `:` and `=` begin a word for readline
    items = candidates(words[count:], typed)
    quoted = (_quoted(item.value[kept:], quote) for item in items if item.value.isprintable())
    kind = _kind(items)
    return "\n".join([kind, *(quoted if kind in ("words", "part") else ())]) + "\n"


def _answer_zsh(line: Sequence[str], count: int) -> str:
    items = candidates(line[count:-1], line[-1])
    if any(item.help for item in items):
        described = (f"{item.value.replace(':', chr(92) + ':')}:{item.help or ''}" for item in items)
        return "".join(f"{one}\0" for one in ("described", *described))
    return "".join(f"{one}\0" for one in (_kind(items), *(item.value for item in items)))


def _answer_fish(line: Sequence[str], count: int) -> str:
    items = candidates(line[count:-1], _split(line[-1])[1])
    # fish takes a line for a candidate, and what follows a tabulator for its description.
    lines = (f"{item.value}\t{item.help or ''}".rstrip("\t") for item in items if not {"\n", "\t"} & {*item.value})
    return "".join(f"{one}\n" for one in (_kind(items), *lines))


_ANSWERS = {"bash": _answer_bash, "zsh": _answer_zsh, "fish": _answer_fish}


def _split(line: str) -> tuple[list[str], str, str]:
    """Return the words before the last one, the last one as far as it is typed, and the quotation mark open in it."""
    lexer = shlex.shlex(f"{line}x", posix=True, punctuation_chars=False)  # the x makes it end with a word
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    quote = ""
    try:
        for word in lexer:
            words.append(word)
    except ValueError:  # no closing quotation mark
        words.append(lexer.token)
        quote = str(vars(lexer)["state"])
    return words[:-1], words[-1][:-1], quote


def _quoted(text: str, quote: str) -> str:
    """Return how bash reads a text inside a quotation mark, or without any."""
    if quote == "'":
        return text.replace("'", r"'\''")
    if quote == '"':
        # An exclamation mark would call the history, also after a backslash.
        return re.sub(r'([$`"\\])', r"\\\1", text).replace("!", "\"'!'\"")
    return re.sub(r"([^\w@%+=:,./#-]|^#)", r"\\\1", text)


_Find = Callable[["Database", click.Context, str], Iterable[str]]


def from_store(find: _Find) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]:
    """Make a function that finds names in a store the `shell_complete` of a parameter.

    It gets the store, what the line gives before the word, and what is typed of the word.
    """

    def complete(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
        from zrb_store.store import open_store

        given = ctx.params.get(param.name or "")
        before = given if isinstance(given, tuple) else ()
        found: dict[str, None] = {}
        watchdog = threading.Timer(DEADLINE, os._exit, (0,))
        watchdog.daemon = True
        watchdog.start()
        with suppress(ZrbStoreError), open_store(ctx.params.get("source"), read_only=True) as store:  # of `copy`
            found = dict.fromkeys(find(store.database, ctx, typed))
        watchdog.cancel()
        names = [name for name in found if name.startswith(typed) and name not in before]
        is_part = bool(names) and all(name.endswith(("/", ":")) for name in names)
        return [CompletionItem(name, type="part" if is_part else "plain") for name in names]

    return complete


def _session_names(database: Database, typed: str) -> Iterator[str]:
    """Yield the newest names, or those that begin so, and the first and the last of all.

    A shell inserts what all candidates begin with, which must not be more than all names in the store begin with.
    """
    if typed:
        yield from session_queries.names_with_prefix(database, typed, _SESSIONS)
    else:
        yield from session_queries.newest_names(database, _SESSIONS)
    yield from session_queries.names_with_prefix(database, typed, 1)
    yield from session_queries.names_with_prefix(database, typed, 1, last=False)


def _changeable(database: Database, ctx: click.Context, typed: str) -> Iterator[str]:
    yield from ["@this"] if os.environ.get("ZRB_STORE_ATTEMPT") else []
    yield from _session_names(database, typed)


sessions_to_change = from_store(_changeable)
"""Complete a session of a command that changes it, and so takes only its full name."""


@from_store
def sessions(database: Database, ctx: click.Context, typed: str) -> Iterable[str]:
    """Complete a session of a command that takes any form of its name."""
    return ["@last", "@last-failed", *_changeable(database, ctx, typed)]


def _queues(database: Database, session: str) -> dict[str, int]:
    from zrb_store.queries.queues import queue_ids

    return dict(sorted(queue_ids(database, resolve(database, session).name).items()))


@from_store
def queues(database: Database, ctx: click.Context, typed: str) -> Iterable[str]:
    """Complete a queue of the session; with `--result`, a task."""
    if ctx.params.get("result"):
        return _tasks(database, ctx, typed)
    return _queues(database, ctx.params["session"])


def _tasks(database: Database, ctx: click.Context, typed: str) -> Iterator[str]:
    from zrb_store.queries.show import attempted_tasks, step_counts

    words = ctx.params.get("words") or [""]  # of `resume`, which takes several sessions
    session = resolve(database, ctx.params.get("session") or words[0])
    yield from session.tasks
    yield from (each.task for each in attempted_tasks(database, session.id))
    if "/" in typed:
        yield from (f"{task.task}/{n}" for task in step_counts(database, session.id) for n in range(1, task.steps + 1))


tasks = from_store(_tasks)
"""Complete a task of the session, and once its name and a slash are typed, a step's id."""


@from_store
def main_tasks(database: Database, ctx: click.Context, typed: str) -> Iterable[str]:
    return session_queries.main_tasks(database)


@from_store
def steps(database: Database, ctx: click.Context, typed: str) -> Iterable[str]:
    from zrb_store.queries.steps import names

    session = resolve(database, ctx.params["session"])
    return names(database, session.id, ctx.params.get("task") or ctx.params["from_task"])


def _seqs(database: Database, queue_id: int, only: Only | None = None) -> list[str]:
    """Return the numbers of the last values of a queue, or of the last dead ones, the newest first."""
    from zrb_store.queries.history import first_of_last, values

    with database.snapshot() as transaction:
        first = first_of_last(transaction, queue_id, _VALUES, only=only)
        found = values(transaction, "", {queue_id: ""}, "queue", queue_id, seq=first, only=only)
        return [str(each.record.seq) for each in found][::-1]


@from_store
def seqs(database: Database, ctx: click.Context, typed: str) -> list[str]:
    """Complete the number of a value of the queue."""
    return _seqs(database, _queues(database, ctx.params["session"])[ctx.params["queue"]])


def _value_ids(database: Database, typed: str, *only: Only) -> Iterator[str]:
    """Yield `SESSION/` until a session is typed, then `SESSION/QUEUE#SEQ`."""
    session, slash, rest = typed.partition("/")
    if not slash:
        yield from (f"{name}/" for name in _session_names(database, typed))
        return
    for name, queue_id in _queues(database, session).items():
        if f"{name}#".startswith(rest) or rest.startswith(f"{name}#"):
            for each in only or (None,):
                yield from (f"{session}/{name}#{seq}" for seq in _seqs(database, queue_id, each))


@from_store
def value_ids(database: Database, ctx: click.Context, typed: str) -> Iterator[str]:
    """Complete the id of a value, SESSION/QUEUE#SEQ."""
    yield from [] if "/" in typed else ["@last/", "@last-failed/"]
    yield from _value_ids(database, typed)


@from_store
def dead_values(database: Database, ctx: click.Context, typed: str) -> Iterable[str]:
    """Complete what `requeue` takes: ids of dead values, or with `--all-dead` a session and a queue."""
    before = ctx.params["values"] or ()
    if not ctx.params["all_dead"]:
        return _value_ids(database, typed, "dead")
    if not before:
        return _session_names(database, typed)
    return _queues(database, before[0]) if len(before) == 1 else ()


@from_store
def editable_values(database: Database, ctx: click.Context, typed: str) -> Iterable[str]:
    """Complete what `drop` and `replace` take: of each queue ids of dead values, then of delayed and of live ones."""
    return _value_ids(database, typed, "dead", "delayed", "live")


@from_store
def moments(database: Database, ctx: click.Context, typed: str) -> list[str]:
    """Complete `before:` and `after:`, then the attempts of the session, the newest of each task."""
    from zrb_store.queries.show import attempted_tasks

    side, colon, _ = typed.partition(":")
    if not colon:
        return ["before:", "after:"]
    found = attempted_tasks(database, resolve(database, ctx.params["session"]).id)
    return [f"{side}:{each.task}#{n}" for each in found for n in range(each.last, max(0, each.last - _ATTEMPTS), -1)]


@from_store
def attempts(database: Database, ctx: click.Context, typed: str) -> Iterator[str]:
    """Complete the name of an attempt, SESSION/TASK#N, the newest of each task."""
    from zrb_store.queries.show import attempted_tasks

    session, slash, _ = typed.partition("/")
    if not slash:
        yield from (f"{name}/" for name in ["@last", "@last-failed", *_session_names(database, typed)])
        return
    for each in attempted_tasks(database, resolve(database, session).id):
        yield from (f"{session}/{each.task}#{n}" for n in range(each.last, max(0, each.last - _ATTEMPTS), -1))


def files(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """Complete a file or a folder, which the shell does."""
    return [CompletionItem(typed, type="files")]


def commands(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """Complete a command with its arguments, which the shell does."""
    return [CompletionItem(typed, type="files" if ctx.params.get(param.name or "") else "commands")]
