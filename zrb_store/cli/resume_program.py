"""`resume` of a session that a Python program runs: it starts that program again."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from zrb_store.errors import InvalidArgument, TaskNotFound
from zrb_store.inspect.resume import (
    Decision,
    ResumeOptions,
    commands_to_end,
    plan,
    refuse_program,
    workflow_of_program,
)
from zrb_store.masking import MASK
from zrb_store.process import current_project, program_of
from zrb_store.queries import attempts, runs
from zrb_store.records import SessionRecord
from zrb_store.render.format import program_name
from zrb_store.render.stderr import print_line
from zrb_store.settings import RESUMES, Resumes
from zrb_store.store import Store


class ProgramResumer:
    """Starts a program again that ran a session, by the command line and the folder of its last run."""

    changed: Mapping[str, tuple[str, str]] = {}
    _session: SessionRecord
    _words: list[str]
    _folder: str
    _options: ResumeOptions
    _is_done = False  # whether nothing is left to run

    @property
    def project(self) -> str:
        return current_project()

    def plan(self, store: Store, session: SessionRecord, options: ResumeOptions) -> list[Decision]:
        if options.changes or options.inputs or options.takes_over:
            raise click.UsageError(
                f"session {session.name} belongs to a Python program, which gives its inputs itself: start the program "
                "with other ones, as another session"
            )
        known = reversed(runs.of_session(store.database, session.id))
        last = next((run for run in known if run.origin == "library"), None)
        words = None if last is None or last.zrb_version else _command(session, last.command, last.folder)
        if last is None or words is None:
            refuse_program(store.database, session)  # it says what continues it instead
            raise TaskNotFound(f"session {session.name} was not started by a Python program")
        if any(MASK in word for word in words):
            raise InvalidArgument(f"session {session.name} needs a secret, which is not stored: start its program")
        self._session, self._words, self._folder, self._options = session, words, str(last.folder), options
        workflow = workflow_of_program(attempts.of_session(store.database, session.id))
        if workflow is None:
            if options.forced is not None:
                raise TaskNotFound(f"session {session.name} has run no task {options.forced!r}")
            return []
        self._is_done = session.is_finished and options.forced is None
        return plan(store.database, session, workflow, options)

    def explain(self, store: Store, decisions: list[Decision]) -> tuple[list[Decision], list[str]]:
        return decisions, commands_to_end(store.database, self._session, store.database.url)

    def accept(self) -> None:
        if self._is_done:
            print_line(f"session {self._session.name} has completed: nothing runs, without --from TASK", program_name())
            return
        asked = Resumes(self._session.name, self._options.forced, self._options.repeat_once)
        sys.stdout.flush()
        sys.stderr.flush()
        os.chdir(self._folder)
        os.execve(self._words[0], self._words, {**os.environ, RESUMES: asked.encoded()})  # it gets signals itself


def _command(session: SessionRecord, command: list[str], folder: str | None) -> list[str] | None:
    """Return the command line that starts a program again; None if that is not known.

    What was started as a module of a package, or from no file, is not known by `sys.argv`.
    """
    program = program_of(command, folder)
    if program is None or folder is None or session.task is None:
        return None
    path = Path(program)
    if not path.is_file() or (path.parent / "__init__.py").exists() or not Path(folder).is_dir():
        return None
    if path.suffix == ".py":
        return [sys.executable, *command]
    return [program, *command[1:]] if os.access(path, os.X_OK) else None
