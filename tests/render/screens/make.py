"""Write the screens of all commands: `python -m tests.render.screens.make`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tests.render.screens.store import COMMANDS, fill
from tests.support.terminals import WIDTHS, screen_of
from zrb_store import open_store

FOLDER = Path(__file__).parent


def main() -> None:
    """Write a file for each command, with its screens on terminals of all widths."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZRB_STORE_URL"] = f"{folder}/store.db"
        with open_store() as store:
            fill(store)
        for name in COMMANDS:
            (FOLDER / f"{name}.txt").write_text("\n".join(screens(name)))


def screens(name: str) -> list[str]:
    """Return the lines of a command's file."""
    lines = []
    for width in WIDTHS:
        lines += [f"{f' {width} columns ':=^{width}}", *screen_of(COMMANDS[name], width), ""]
    return lines


if __name__ == "__main__":
    main()
