"""The scripts of the pages: nothing in them can make markup of a text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zrb_store.page.assets import STATIC

OWN = sorted(STATIC.glob("*.js"))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_script_makes_markup_or_code_of_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    makers = r"\.(inner|outer)HTML|insertAdjacentHTML|document\.write|createContextualFragment|setHTML|\beval\("
    assert re.findall(makers, text) == []
    assert "new Function" not in text
    assert text.startswith('"use strict";\n')
