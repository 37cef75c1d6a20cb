"""What a session is for: a run of the same name must be for the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zrb_store import codec
from zrb_store.errors import InputsDiffer
from zrb_store.masking import mask_text, mask_texts
from zrb_store.records import AttemptRecord, SessionRecord


@dataclass(frozen=True)
class Purpose:
    """What a session is for, and how this run came about.

    Attributes:
        task: Name of the main task; None for a plain script.
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
    for what, theirs, ours in (("project", session.project, wanted.project), ("task", session.task, wanted.task)):
        if theirs and ours and theirs != ours:
            raise InputsDiffer(
                f"session {session.name} belongs to {what} {theirs}, not to {ours}: use another session name"
            )
    if wanted.inputs is not None and session.inputs is not None:
        difference = difference_text(codec.decode(session.inputs), codec.decode(encoded_inputs(wanted.inputs) or "{}"))
        if difference:
            told = f"session {session.name} was started with other inputs: {difference}; use another session name"
            raise InputsDiffer(mask_text(told))


def encoded_inputs(inputs: Mapping[str, Any] | None) -> str | None:
    """Inputs as they are stored, None for none."""
    return None if inputs is None else codec.encode(dict(inputs), lenient=True).data


def without_secrets(data: Any) -> Any:
    """Data that is stored only to be compared with that of a later run: passwords of URLs are masked, and not compared.

    So are values that the command line of this process gives to secret options.
    """
    encoded = codec.encode(data, lenient=True)
    has_secrets = encoded.restorable and mask_text(encoded.data) != encoded.data
    return mask_texts(data) if has_secrets else data


def difference_text(theirs: Any, ours: Any, path: str = "") -> str:
    """Where two values differ, as `name: 1 became 2`, joined by commas; empty if they are equal."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = list(dict.fromkeys([*theirs, *ours]))
        parts = [
            difference_text(theirs[key], ours[key], f"{path}.{key}" if path else str(key))
            if key in theirs and key in ours
            else f"{path}.{key}".lstrip(".") + (" is new" if key in ours else " is gone")
            for key in keys
        ]
        return ", ".join(part for part in parts if part)
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        parts = [
            difference_text(one, two, f"{path}[{place}]")
            for place, (one, two) in enumerate(zip(theirs, ours, strict=True))
        ]
        return ", ".join(part for part in parts if part)
    same = theirs == ours or codec.encode(theirs, lenient=True) == codec.encode(ours, lenient=True)
    return "" if same else f"{path or 'it'}: {theirs!r} became {ours!r}"
