"""The project that an option names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from zrb_store.project import current_project, project_of


def project_conditions(text: str | None) -> dict[str, Any]:
    """Return the conditions on the project, as `summaries` takes them.

    Args:
        text: The name of its folder; or a path to it or into it, which has a slash or is `.` or `..`; or an empty text
            for the current project; or None for every project.
    """
    if text is None:
        return {}
    if not text:
        return {"projects": [current_project()]}
    if "/" not in text and text not in (".", ".."):
        return {"project_name": text}
    path = Path(os.path.normpath(Path.cwd() / text))
    # A project may have been stored by a path that leads over a link.
    return {"projects": sorted({project_of(path), project_of(path.resolve())})}
