"""A setting under its name before 0.1.0, in a real zrb."""

from __future__ import annotations

import pytest

from tests.zrb.conftest import Zrb, lines

pytestmark = pytest.mark.newest


def test_a_setting(zrb: Zrb) -> None:
    zrb.tasks("cli.add_task(Task(name='main', action=lambda ctx: 1))")
    there = zrb.folder / "zrb_init.py" / "store.db"  # in a file, not in a folder
    renamed, in_memory = lines(zrb.run("main", ZRB_STORE_URL=str(there), ZRB_STORE_ON_ERROR="ignore").err)
    assert renamed.startswith("zrb-store: ZRB_STORE_ON_ERROR=ignore is now called ZRB_STORE_UNAVAILABLE=memory; ")
    assert in_memory.endswith("this run is kept in memory only (ZRB_STORE_UNAVAILABLE=memory)")
