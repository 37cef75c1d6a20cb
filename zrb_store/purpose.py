"""What a session is for: a run of the same name must be for the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zrb_store import codec
from zrb_store.codec.shown import bounded_repr
from zrb_store.codec.strict_json import dumps
from zrb_store.errors import InputsDiffer, UnencodableValue, ValueTooLarge
from zrb_store.masking import mask_text, mask_texts
from zrb_store.project import is_same_file
from zrb_store.records import AttemptRecord, SessionRecord

_SHOWN = 300  # characters of each of two values that differ


@dataclass(frozen=True)
class Purpose:
    """What a session is for, and how this run came about.

    Attributes:
        task: Name of the main task, or the absolute path of a script; None if it does not matter.
        path: How zrb's command line names the task.
        inputs: The task's inputs without secret ones; None if they do not matter.
        project: Folder of the project; None if it does not matter.
        parent: SESSION or SESSION/TASK#N that this session was started by.
        origin: `cli`, `web` or `library`.
        command: The command line; it is stored with its secrets masked.
        zrb_version: Version of zrb, None without zrb.
        again: Run a completed session again.
        give_back: Names, of all attempts of the session, those completed ones to give back as the run starts, in this
            order, each with the reason.
    """

    task: str | None = None
    path: Sequence[str] = ()
    inputs: Mapping[str, Any] | None = None
    project: str | None = None
    parent: str | None = None
    origin: str = "library"
    command: Sequence[str] = ()
    zrb_version: str | None = None
    again: bool = False
    give_back: Callable[[list[AttemptRecord]], Sequence[tuple[int, str]]] | None = None


def refuse_other(session: SessionRecord, wanted: Purpose) -> None:
    """Raise `InputsDiffer` where the session is not for what a run is for."""
    theirs, ours = session.project, wanted.project
    if theirs and ours and theirs != ours:
        raise InputsDiffer(
            f"session {session.name} belongs to project {theirs}, not to {ours}: use another session name"
        )
    theirs, ours = session.task, wanted.task
    if theirs and ours and not _is_same_task(theirs, ours):
        between = f"{_named(theirs)}, not to {_named(ours) if _is_script(theirs) or _is_script(ours) else ours}"
        remedy = "use another session name"
        if _is_script(ours):
            remedy += f", or session.run(task={theirs!r}) to go on with this one"
        raise InputsDiffer(f"session {session.name} belongs to {between}: {remedy}")
    if wanted.inputs is not None and session.inputs is not None:
        difference = difference_text(session.inputs, codec.encode_named(wanted.inputs))
        if difference:
            told = f"session {session.name} was started with other inputs: {difference}; use another session name"
            raise InputsDiffer(mask_text(told))


def _is_same_task(theirs: str, ours: str) -> bool:
    return theirs == ours or (_is_script(theirs) and _is_script(ours) and is_same_file(theirs, ours))


def _is_script(task: str) -> bool:
    return Path(task).is_absolute()


def _named(task: str) -> str:
    return f"{'script' if _is_script(task) else 'task'} {task}"


def encoded_inputs(inputs: Mapping[str, Any] | None) -> str | None:
    """Inputs as they are stored, None for none."""
    return None if inputs is None else codec.encode_named(inputs)


def without_secrets(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as a library is given them, with the passwords of URLs masked and so not compared.

    So are values that the command line of this process gives to secret options.
    """
    return {name: _without_secrets(value) for name, value in inputs.items()}


def _without_secrets(value: Any) -> Any:
    try:
        encoded = codec.encode(value).data
    except (UnencodableValue, ValueTooLarge):
        return value  # of which only the type will be stored
    return value if masked(encoded) == encoded else codec.decode(masked(encoded))


def masked(encoded: str) -> str:
    """An encoded value that is stored only to be compared with another, without secrets as in `without_secrets`."""
    if mask_text(encoded) == encoded:
        return encoded
    return dumps(mask_texts(codec.to_json(encoded)))


def difference_text(theirs: str, ours: str) -> str:
    """Where two encoded values differ in type or value, as `name: 1 became 2`, joined by commas; empty if they do not.

    What could not be stored of either one is not compared.
    """
    return "" if theirs == ours else _difference(codec.to_json(theirs), codec.to_json(ours), "")


def _difference(theirs: Any, ours: Any, path: str) -> str:
    if _is_opaque(theirs) or _is_opaque(ours):
        return ""
    if type(theirs) is type(ours) is dict and "$" not in theirs and "$" not in ours:
        parts = [
            _difference(theirs[key], ours[key], f"{path}.{key}" if path else key)
            if key in theirs and key in ours
            else f"{path}.{key}".lstrip(".") + (" is new" if key in ours else " is gone")
            for key in dict.fromkeys([*theirs, *ours])
        ]
        return ", ".join(part for part in parts if part)
    if type(theirs) is type(ours) is list and len(theirs) == len(ours):
        parts = [
            _difference(one, two, f"{path}[{place}]") for place, (one, two) in enumerate(zip(theirs, ours, strict=True))
        ]
        return ", ".join(part for part in parts if part)
    return "" if codec.same(theirs, ours) else f"{path or 'it'}: {_shown(theirs)} became {_shown(ours)}"


def _is_opaque(tree: Any) -> bool:
    return type(tree) is dict and tree.get("$") == "opaque"


def _shown(tree: Any) -> str:
    text = bounded_repr(codec.from_json(tree))
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
