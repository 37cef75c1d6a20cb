"""The specification of a run: what it is for, and how it was started."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zrb_store import codec
from zrb_store.codec.inputs import describe_changes, names_of, names_of_unstorable, without_names
from zrb_store.errors import InputsDiffer
from zrb_store.process import identity
from zrb_store.project import current_folder, is_same_file
from zrb_store.records import SessionRecord
from zrb_store.safe_text import mask_command, mask_text


@dataclass(frozen=True)
class RunSpec:
    """What a run is for, and how it was started.

    Attributes:
        task: Name of the main task, or the absolute path of a script; None if it does not matter.
        path: How zrb's command line names the task.
        inputs: The task's inputs; None if they do not matter. Of secret ones, those that were given, without their
            values.
        secret_inputs: Names of the inputs that are secret. They are not compared, but a run must be given those that an
            earlier run was given.
        changed_inputs: Names of the inputs that are not compared either: a resume was given them, or their defaults,
            since the task declares them in another way now.
        default_of: Returns the text of the default that an input has; None if it has another value. It is asked about
            inputs that an earlier run did not have: those with their defaults are not compared.
        project: Folder of the project; None if it does not matter.
        parent: SESSION or SESSION/TASK#N that started this session.
        origin: `cli`, `web` or `library`.
        command: The command line; its secrets are masked before it is stored.
        zrb_version: Version of zrb, None without zrb.
        again: Whether a completed session is run again.
    """

    task: str | None = None
    path: Sequence[str] = ()
    inputs: Mapping[str, Any] | None = None
    secret_inputs: Collection[str] = ()
    changed_inputs: Collection[str] = ()
    default_of: Callable[[str], str | None] | None = None
    project: str | None = None
    parent: str | None = None
    origin: str = "library"
    command: Sequence[str] = ()
    zrb_version: str | None = None
    again: bool = False

    def run_columns(self) -> dict[str, Any]:
        """Return what is stored with the run: how it was started, and in which process."""
        return {
            **asdict(identity()),
            "origin": self.origin,
            "command": json.dumps(mask_command(self.command)),
            "folder": current_folder(),
            "python_version": platform.python_version(),
            "zrb_version": self.zrb_version,
        }

    def session_columns(self, session: SessionRecord) -> dict[str, str | None]:
        """Return what is stored with the session: what it is for, by this run or an earlier one."""
        return {
            "project": self.project or session.project,
            "task": self.task or session.task,
            "path": json.dumps(list(self.path) or session.path),
            "inputs": session.inputs if self.inputs is None else codec.encode_named(self.inputs),
            "parent": self.parent,
        }

    def refuse_other(self, session: SessionRecord) -> dict[str, str]:
        """Refuse a session that is for another project, another task or other inputs.

        Returns:
            The texts of the defaults of inputs that the task has declared since, by name.

        Raises:
            InputsDiffer: The session is for something else.
        """
        theirs, ours = session.project, self.project
        if theirs and ours and theirs != ours:
            where = f"session {session.name} belongs to project {theirs}"
            if Path(theirs).is_dir():
                raise InputsDiffer(f"{where}, not to {ours}: `cd {shlex.quote(theirs)}`, and try again there")
            raise InputsDiffer(f"{where}, which is not here, and not to {ours}: use another session name")
        theirs, ours = session.task, self.task
        if theirs and ours and not _is_same_task(theirs, ours):
            between = f"{_named(theirs)}, not to {_named(ours) if _is_script(theirs) or _is_script(ours) else ours}"
            remedy = "use another session name"
            if _is_script(ours):
                remedy += f", or session.run(task={theirs!r}) to continue this one"
            raise InputsDiffer(f"session {session.name} belongs to {between}: {remedy}")
        added: dict[str, str] = {}
        if self.inputs is not None and session.inputs is not None:
            before, now = session.inputs, codec.encode_named(self.inputs)
            other = {*self.secret_inputs, *self.changed_inputs}
            if self.default_of is not None:
                new = [name for name in self.inputs if name not in {*other, *names_of(before)}]
                added = {name: text for name in new if (text := self.default_of(name)) is not None}
            other.update(added)
            before, now = without_names(before, other), without_names(now, other)
            if difference := describe_changes(before, now):
                message = (
                    f"session {session.name} was started with other inputs: {difference}; use another session name"
                )
                raise InputsDiffer(mask_text(message))
            if unknown := names_of_unstorable(before) | names_of_unstorable(now):
                raise InputsDiffer(
                    f"session {session.name} may have been started with other inputs: {', '.join(sorted(unknown))} "
                    "cannot be stored, and so cannot be compared; use another session name, or "
                    "zrb_store.register_codec for its class"
                )
        return added

    def refuse_default_secrets(self, session: SessionRecord) -> None:
        """Raise `InputsDiffer` if a secret input that was given to an earlier run is not given to this one."""
        if self.inputs is None or session.inputs is None:
            return
        before = names_of(session.inputs)
        missing = [name for name in before if name in self.secret_inputs and name not in self.inputs]
        if missing:
            options = " ".join(f"--{name} VALUE" for name in missing)
            raise InputsDiffer(
                f"session {session.name} was started with a value for {', '.join(missing)}, which is secret and not "
                f"stored: give {options} again"
            )


def _is_same_task(theirs: str, ours: str) -> bool:
    return theirs == ours or (_is_script(theirs) and _is_script(ours) and is_same_file(theirs, ours))


def _is_script(task: str) -> bool:
    return Path(task).is_absolute()


def _named(task: str) -> str:
    return f"{'script' if _is_script(task) else 'task'} {task}"
