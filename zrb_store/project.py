"""The project that the working directory belongs to, and the script that this process runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zrb_store.errors import InvalidArgument
from zrb_store.names import check_name
from zrb_store.safe_text import storable


@dataclass(frozen=True)
class Projects:
    """The projects that somebody asks for: those in some folders, or those whose folder has a name.

    Attributes:
        folders: The folders.
        name: The name, instead of folders.
    """

    folders: tuple[str, ...] = ()
    name: str | None = None


def current_project(init_file: str | None = None) -> str:
    """Return the folder of the current project.

    That is the nearest folder, from the working directory upwards, that contains `zrb_init.py`; if there is none, it is
    the working directory itself.

    Args:
        init_file: Name of the file that marks a project; by default zrb's own setting `ZRB_INIT_FILE_NAME`.

    Raises:
        InvalidArgument: The working directory no longer exists.
    """
    try:
        here = Path.cwd()
    except OSError:
        raise InvalidArgument("the working directory was deleted: change to the folder of the project") from None
    return project_of(here, init_file)


def project_of(here: Path, init_file: str | None = None) -> str:
    """Return the folder of the project that an absolute path belongs to; the arguments are as in `current_project`."""
    name = init_file or os.environ.get("ZRB_INIT_FILE_NAME") or "zrb_init.py"
    return storable(str(next((folder for folder in (here, *here.parents) if (folder / name).is_file()), here)))


def current_folder() -> str | None:
    """Return the working directory; None if it was deleted."""
    try:
        return storable(str(Path.cwd()))
    except OSError:
        return None


def program_of(command: Sequence[str], folder: str | None) -> str | None:
    """Return the path of the program that a process runs: a script, a module, or an installed program.

    Args:
        command: Its command line, as Python has it in `sys.argv`.
        folder: Its working directory.

    Returns:
        The path; None if the code is in no file, as in a REPL and under `python -c`.
    """
    program = command[0] if command else ""
    return os.path.normpath(Path(folder or "", program)) if program and not program.startswith("-") else None


def current_script() -> str | None:
    """Return the absolute path of the script that this process runs, or None.

    There is no script under `python -c` and `python -m`, in a REPL or a notebook, and for code from a pipe. A program
    that is installed beside the interpreter (pytest, celery, zrb) does not count, since it may run anybody's code.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None or not isinstance(file, str) or not Path(file).is_absolute():
        return None
    is_installed = sys.executable and is_same_file(Path(file).parent, Path(sys.executable).parent)
    if is_installed or file.startswith(("/dev/fd/", "/dev/stdin", "/proc/")):
        return None
    try:
        return check_name(storable(os.path.normpath(file)), "script")
    except InvalidArgument:  # the path is too long
        return None


def is_same_file(one: str | Path, two: str | Path) -> bool:
    """Whether two paths lead to the same place once links are followed; the place need not exist."""
    return os.path.realpath(one) == os.path.realpath(two)


def projects_named(text: str | None) -> Projects | None:
    """Return the projects that an option names.

    Args:
        text: The name of its folder; or a path to it or into it, which has a slash or is `.`, `..` or `~`; or an empty
            text for the current project; or None for every project.
    """
    if text is None:
        return None
    if not text:
        return Projects((current_project(),))
    if "/" not in text and text not in (".", "..", "~"):
        return Projects(name=text)
    path = Path(os.path.normpath(Path.cwd() / os.path.expanduser(text)))  # noqa: PTH111 - it never fails
    # A project may have been stored by a path that leads over a link.
    return Projects(tuple(dict.fromkeys((project_of(path), project_of(path.resolve())))))
