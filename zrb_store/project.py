"""Which project a command is given in: the folder of the nearest `zrb_init.py`, else the working directory."""

from __future__ import annotations

import os
from pathlib import Path


def current_project(init_file: str | None = None) -> str:
    """The project's folder, seen from the working directory.

    Args:
        init_file: Name of the file that marks a project; by default zrb's own setting `ZRB_INIT_FILE_NAME`.
    """
    name = init_file or os.environ.get("ZRB_INIT_FILE_NAME") or "zrb_init.py"
    here = Path.cwd()
    return str(next((folder for folder in (here, *here.parents) if (folder / name).is_file()), here))
