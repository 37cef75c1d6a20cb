"""Which project a command is given in: the folder of the nearest `zrb_init.py`, else the working directory."""

from __future__ import annotations

import os
from pathlib import Path

from zrb_store.errors import InvalidName
from zrb_store.names import storable


def current_project(init_file: str | None = None) -> str:
    """The project's folder, seen from the working directory.

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
