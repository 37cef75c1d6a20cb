"""Run the command `alembic` in a checkout, or what it does in this process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from tests.support.next_release import ROOT
from zrb_store.db import migrate


def alembic(location: str, *arguments: str, root: Path = ROOT) -> str:
    """Run the command `alembic` and return its output."""
    result = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=root,
        env=os.environ | {"ZRB_STORE_URL": location, "PYTHONPATH": str(root)},
        text=True,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def alembic_here(location: str, name: str, *arguments: str, **options: bool) -> str:
    """Do what the command `alembic` does in this process, from the root, and return what it prints."""
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patches:
        patches.chdir(ROOT)
        patches.setenv("ZRB_STORE_URL", location)
        config = Config("alembic.ini", output_buffer=told, stdout=told)
        config.set_main_option("script_location", str(migrate.folder()))
        getattr(command, name)(config, *arguments, **options)
    return told.getvalue()
