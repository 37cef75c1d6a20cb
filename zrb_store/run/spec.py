"""What a run is for (`RunSpec`). A session refuses a run for another purpose."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zrb_store import codec
from zrb_store.codec.arguments import names_of, names_of_unstorable, without_names
from zrb_store.errors import InputsDiffer
from zrb_store.masking import mask_command, mask_text
from zrb_store.process import current_folder, folder_of, identity, is_same_file
from zrb_store.records import COMMAND, SessionRecord

if TYPE_CHECKING:
    from zrb_store.inspect.advice import Start


@dataclass(frozen=True)
class RunSpec:
    """What a run is for, and how it was started.

    None means that something does not matter. What is not described here, `Session.run` describes.
    """

    task: str | None = None
    path: Sequence[str] = ()
    inputs: Mapping[str, Any] | None = None  # of secret ones, those that were given, without their values
    # Names. They are not compared, but a run must be given those that an earlier run was given.
    secret_inputs: Collection[str] = ()
    # Names of those that are not compared either: a resume was given them, or their defaults, since the task declares
    # them in another way now, or to change them.
    changed_inputs: Collection[str] = ()
    # Those that a resume changes, each with its text before and from now on.
    set_inputs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    # Returns the text of the default that an input has; None if it has another value. It is asked about inputs that an
    # earlier run did not have: those with their defaults are not compared.
    default_of: Callable[[str], str | None] | None = None
    project: str | None = None
    parent: str | None = None
    origin: str = "library"
    command: Sequence[str] = ()  # its secrets are masked before it is stored
    zrb_version: str | None = None
    again: bool = False
    takes_over: bool = False  # whether a session of another project belongs to this one from this run on

    def run_columns(self) -> dict[str, str | int | None]:
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

    def how_started(self, session: str) -> Start:
        """Return how a session of this run was started, which says what continues it."""
        from zrb_store.inspect.advice import Start, secrets_of

        here = current_folder()
        return Start(
            session,
            self.path,
            self.parent,
            folder_of(self.project, here) if self.path else here,
            command=mask_command(self.command),
            uses_zrb=self.zrb_version is not None,
            secrets=secrets_of(self.path, None if self.inputs is None else codec.encode_named(self.inputs)),
        )

    def refuse_other(self, session: SessionRecord) -> dict[str, str]:
        """Raise `InputsDiffer` if a session is for another project, another task or other inputs.

        Return the texts of the defaults of inputs that the task has declared since, by name.
        """
        self._refuse_other_project(session)
        self._refuse_other_task(session)
        self._refuse_other_command(session)
        return self._refuse_other_inputs(session)

    def _refuse_other_project(self, session: SessionRecord) -> None:
        theirs, ours = session.project, self.project
        if theirs and ours and theirs != ours and not self.takes_over:
            from zrb_store.inspect.advice import in_other_project

            raise InputsDiffer(in_other_project(session, ours))

    def _refuse_other_task(self, session: SessionRecord) -> None:
        theirs, ours = session.task, self.task
        if theirs and ours and theirs != ours and not _is_same_script(theirs, ours):
            between = f"{_named(theirs)}, not to {_named(ours) if _is_script(theirs) or _is_script(ours) else ours}"
            remedy = "use another session name"
            if _is_script(ours):
                remedy += f", or session.run(task={theirs!r}) to continue this one"
            raise InputsDiffer(f"session {session.name} belongs to {between}: {remedy}")

    def _refuse_other_command(self, session: SessionRecord) -> None:
        """Refuse a session of another command, and for a command one of something else."""
        path = list(self.path)
        if session.task and path and path != session.path and COMMAND in (path[0], *session.path[:1]):
            theirs, ours = (shlex.join(words[words[:1] == [COMMAND] :]) for words in (session.path, path))
            runs = f"runs `{theirs}`" if theirs else "belongs to a Python script"
            raise InputsDiffer(f"session {session.name} {runs}, not `{ours}`: use another session name")

    def _refuse_other_inputs(self, session: SessionRecord) -> dict[str, str]:
        if self.inputs is None or session.inputs is None:
            return {}
        before, now = session.inputs, codec.encode_named(self.inputs)
        if before == now and '"$"' not in now:  # all of them can be compared
            return {}
        from zrb_store.codec.compare import describe_changes

        added = self._added(before)
        other = {*self.secret_inputs, *self.changed_inputs, *added}
        before, now = without_names(before, other), without_names(now, other)
        if difference := describe_changes(before, now):
            message = f"session {session.name} was started with other inputs: {difference}; use another session name"
            if session.path and not session.argv and session.parent is None:
                from zrb_store.inspect.advice import resume

                change = resume(session.name, "--set", "NAME=VALUE")
                message += f", or `{change}` to run again what has read them"
            raise InputsDiffer(mask_text(message))
        if unknown := names_of_unstorable(before) | names_of_unstorable(now):
            raise InputsDiffer(
                f"session {session.name} may have been started with other inputs: {', '.join(sorted(unknown))} "
                "cannot be stored, and so cannot be compared; use another session name, or "
                "zrb_store.register_codec for its class"
            )
        return added

    def _added(self, before: str) -> dict[str, str]:
        """Return the texts of the defaults of inputs that are not among the stored ones, by name."""
        if self.inputs is None or self.default_of is None:
            return {}
        known = {*self.secret_inputs, *self.changed_inputs, *names_of(before)}
        defaults = {name: self.default_of(name) for name in self.inputs if name not in known}
        return {name: text for name, text in defaults.items() if text is not None}

    def refuse_default_secrets(self, session: SessionRecord) -> None:
        """Raise `InputsDiffer` if a secret input that was given to an earlier run is not given to this one."""
        if self.inputs is None or session.inputs is None or not self.secret_inputs:
            return
        before = names_of(session.inputs)
        missing = [name for name in before if name in self.secret_inputs and name not in self.inputs]
        if missing:
            options = " ".join(f"--{name} VALUE" for name in missing)
            raise InputsDiffer(
                f"session {session.name} was started with a value for {', '.join(missing)}, which is secret and not "
                f"stored: give {options} again"
            )


def _is_same_script(theirs: str, ours: str) -> bool:
    return _is_script(theirs) and _is_script(ours) and is_same_file(theirs, ours)


def _is_script(task: str) -> bool:
    return Path(task).is_absolute()


def _named(task: str) -> str:
    return f"{'script' if _is_script(task) else 'task'} {task}"
