"""The specification of a run: what it is for, and how it was started."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zrb_store import codec
from zrb_store.codec.inputs import describe_changes
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
        inputs: The task's inputs without secret ones; None if they do not matter.
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

    def refuse_other(self, session: SessionRecord) -> None:
        """Raise `InputsDiffer` if the session is for another project, another task or other inputs."""
        theirs, ours = session.project, self.project
        if theirs and ours and theirs != ours:
            raise InputsDiffer(
                f"session {session.name} belongs to project {theirs}, not to {ours}: use another session name"
            )
        theirs, ours = session.task, self.task
        if theirs and ours and not _is_same_task(theirs, ours):
            between = f"{_named(theirs)}, not to {_named(ours) if _is_script(theirs) or _is_script(ours) else ours}"
            remedy = "use another session name"
            if _is_script(ours):
                remedy += f", or session.run(task={theirs!r}) to continue this one"
            raise InputsDiffer(f"session {session.name} belongs to {between}: {remedy}")
        if self.inputs is not None and session.inputs is not None:
            difference = describe_changes(session.inputs, codec.encode_named(self.inputs))
            if difference:
                message = (
                    f"session {session.name} was started with other inputs: {difference}; use another session name"
                )
                raise InputsDiffer(mask_text(message))


def _is_same_task(theirs: str, ours: str) -> bool:
    return theirs == ours or (_is_script(theirs) and _is_script(ours) and is_same_file(theirs, ours))


def _is_script(task: str) -> bool:
    return Path(task).is_absolute()


def _named(task: str) -> str:
    return f"{'script' if _is_script(task) else 'task'} {task}"
