"""What the word at the cursor may become: commands, options, choices, files, and names in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from zrb_store.cli.tab.place import Place, kinds
from zrb_store.db.bare import Reader, open_bare
from zrb_store.db.location import location_text
from zrb_store.inspect import completion

NAMES: dict[str, Callable[[Reader, completion.Word], list[str]]] = {
    "SESSION": completion.sessions,
    "QUEUE": completion.queues,
    "TASK": completion.tasks,
    "MAIN TASK": completion.main_tasks,
    "STEP": completion.steps,
    "SEQ": completion.seqs,
    "MOMENT": completion.moments,
    "SESSION/QUEUE#SEQ": completion.values,
    "VALUE": completion.values,
}
"""What is looked up in the store. `VALUE` is an id that `requeue` takes."""
FILES = {"FILE", "FOLDER", "FROM", "TO"}
COMMANDS = {"-- COMMAND"}

# These take the full name of a session, because they change it.
CHANGING = {"push", "pop", "consume", "requeue", "mark", "fork", "rm", "pin", "unpin"}
_DEAD = {"requeue"}


class Candidate(NamedTuple):
    """A word, and what it means."""

    text: str
    help: str = ""


class Answer(NamedTuple):
    """What a shell is told.

    Attributes:
        kind: `words`; `part`, if a word goes on after the candidate; `files` or `commands`, which a shell knows itself.
        candidates: What the word may become. Each begins with what is typed.
        before: The beginning of the word that does not belong to the name of a file.
    """

    kind: str
    candidates: list[Candidate]
    before: str = ""


def answer_at(place: Place) -> Answer:
    """Return what the word at the cursor may become."""
    candidates = [one for one in _known(place) if one.text.startswith(place.typed)]
    if candidates or place.is_option or place.is_command:
        return Answer("words", [one._replace(text=place.before + one.text) for one in candidates])
    wanted = set(_wanted(place))
    if wanted & FILES:
        return Answer("files", [], place.before)
    if wanted & COMMANDS:
        return Answer("commands" if place.last_given("-- COMMAND") is None else "files", [])
    names = _names(place)
    # A name that begins with - would be taken for an option.
    at_start = not place.before and not place.typed
    found = [Candidate(place.before + name) for name in names if not (at_start and name.startswith("-"))]
    is_part = bool(names) and all(name.endswith(("/", ":")) for name in names)
    return Answer("part" if is_part and wanted & {"MOMENT", "SESSION/QUEUE#SEQ", "VALUE"} else "words", found)


def _known(place: Place) -> Iterator[Candidate]:
    """Yield the candidates that are the same for every store."""
    if isinstance(place.takes, list):
        yield from map(Candidate, place.takes)
    if place.is_command:
        yield from (Candidate(name, one.help) for name, one in place.command.commands.items())
    if place.is_option:
        options = place.command.options
        long = [option for name, option in options.items() if name.startswith("--")]
        for name, option in options.items():
            is_short = not name.startswith("--") and option in long
            if not is_short and (option.repeats or name not in place.used):
                yield Candidate(name, option.help)


def _wanted(place: Place) -> list[str]:
    """Return the kinds of names that the word may be."""
    wanted = kinds(place.takes)
    if wanted[:1] == ["VALUE"] and wanted != ["VALUE"]:  # requeue VALUE...|SESSION QUEUE
        if "--all-dead" not in place.used:
            return ["VALUE"]
        return [["SESSION"], ["QUEUE"], []][min(len(place.given.get("VALUE", [])), 2)]
    if "--result" in place.used and wanted == ["QUEUE", "TASK"]:
        return ["TASK"]
    return wanted if wanted != ["VALUE"] else []  # the value that `push` takes is anybody's own


def _names(place: Place) -> list[str]:
    lookups = [NAMES[kind] for kind in _wanted(place) if kind in NAMES]
    if not lookups:
        return []
    command = place.path[0] if place.path else ""
    word = completion.Word(
        prefix=place.typed,
        session=place.last_given("SESSION") or place.first_given("VALUE"),  # `requeue` has one kind for both
        queue=place.last_given("QUEUE"),
        task=place.last_given("TASK"),
        changes=command in CHANGING,
        dead=command in _DEAD,
    )
    with open_bare(place.last_given("FROM") or location_text()) as reader:  # `copy` names the store
        found = [] if reader is None else [name for lookup in lookups for name in lookup(reader, word)]
    already = place.given.get("SESSION", []) + place.given.get("VALUE", []) if place.command.repeats else []
    # A database may compare letters otherwise than the shell does.
    return [name for name in dict.fromkeys(found) if name not in already and name.startswith(place.typed)]
