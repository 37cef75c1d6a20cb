"""Which project a command is given in, and which script a process runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from zrb_store.errors import InvalidName
from zrb_store.names import check_name, storable


def current_project(init_file: str | None = None) -> str:
    """The project's folder, seen from the working directory: that of the nearest `zrb_init.py`, else this one.

    Args:
        init_file: Name of the file that marks a project; by default zrb's own setting `ZRB_INIT_FILE_NAME`.

    Raises:
        InvalidName: There is no working directory any more.
    """
    name = init_file or os.environ.get("ZRB_INIT_FILE_NAME") or "zrb_init.py"
    try:
        here = Path.cwd()
    except OSError:
        raise InvalidName("the working directory was deleted: change to the folder of the project") from None
    return storable(str(next((folder for folder in (here, *here.parents) if (folder / name).is_file()), here)))


def current_script() -> str | None:
    """The absolute path of the script that this process runs, or None.

    There is none for `python -c` and `-m`, in a REPL or a notebook, and for code that is piped in. A program that is
    installed beside the interpreter (pytest, celery, zrb) does not count: it may run anybody's code.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None or not isinstance(file, str) or not Path(file).is_absolute():
        return None
    beside = sys.executable and is_same_file(Path(file).parent, Path(sys.executable).parent)
    if beside or file.startswith(("/dev/", "/proc/")):
        return None
    try:
        return check_name(storable(os.path.normpath(file)), "script")
    except InvalidName:  # it is too long
        return None


def is_same_file(one: str | Path, two: str | Path) -> bool:
    """Whether two paths lead to the same place, through links too; the place need not exist."""
    return os.path.realpath(one) == os.path.realpath(two)
