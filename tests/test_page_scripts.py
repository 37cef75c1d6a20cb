"""The scripts of the pages: nothing in them can make markup of a text, and a report may leave their indents out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zrb_store.page.assets import SESSION_SCRIPTS, STATIC, STYLES, lean

OWN = sorted(STATIC.glob("*.js"))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_script_makes_markup_or_code_of_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    makers = r"\.(inner|outer)HTML|insertAdjacentHTML|document\.write|createContextualFragment|setHTML|\beval\("
    assert re.findall(makers, text) == []
    assert "new Function" not in text
    assert text.startswith('"use strict";\n')


@pytest.mark.parametrize("name", [name for name in (*SESSION_SCRIPTS, *STYLES) if "/" not in name])
def test_no_string_has_several_lines(name: str) -> None:
    lines = (STATIC / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.count("`") % 2] == []


def test_what_a_report_leaves_out_of_scripts() -> None:
    text = '"use strict";\n/* Two\n   lines. */\n\n  // A comment.\n  const url = "http://x"; /* stays */\n'
    assert lean(text) == '"use strict";\nconst url = "http://x"; /* stays */'
