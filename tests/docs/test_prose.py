"""The prose linter of `make check` finds what its rules describe, and nothing else in this project."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prose", ROOT / "docs" / "prose.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["prose"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


prose = loaded()
RULES: list[dict[str, Any]] = prose.CONFIG["rule"]


def found(text: str, tmp_path: Path) -> list[str]:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    return [finding.rule for finding in prose.linter()(prose.page(page))]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["name"])
def test_a_rule_finds_its_sentence_and_accepts_the_better_one(rule: dict[str, Any], tmp_path: Path) -> None:
    assert found(f"# Title\n\n{rule['was']}\n", tmp_path) == [f"plain.{rule['name']}"]
    assert found(f"# Title\n\n{rule['better']}\n", tmp_path) == []


def test_code_is_not_read(tmp_path: Path) -> None:
    was = "It lies in no queue, since it stands anew."
    assert found(f"Text `{was}` text\n\n    {was}\n\n```text\n{was}\n```\n", tmp_path) == []


def test_a_question_may_begin_with_what(tmp_path: Path) -> None:
    assert found("## What is stored, and what are the\ncosts?\n", tmp_path) == []


def test_a_finding_has_its_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("One.\n\n`code`\n\nIt was killed amid a call.\n", encoding="utf-8")
    (finding,) = prose.linter()(prose.page(page))
    assert (finding.line, finding.found) == (5, "amid")


def test_messages_are_literals_that_people_read(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        '"""It stands anew."""\n\nSQL = "SELECT 1 AS else_"\nprint(f"it stands {1} anew")\n', encoding="utf-8"
    )
    (text,) = prose.messages(module)
    assert (text.line, text.text) == (4, "it stands … anew")
    assert [finding.found for finding in prose.linter()(text)] == ["stands", "anew"]


def test_templates_and_scripts_are_read(tmp_path: Path) -> None:
    template, script = tmp_path / "page.html", tmp_path / "page.js"
    template.write_text("<p>\n  {{ stands }} It <b>stands</b> anew.\n</p>\n", encoding="utf-8")
    script.write_text("/* it stands anew */\nconst text = `it stands ${anew} in place`;\n", encoding="utf-8")
    found = [
        finding
        for path in (template, script)
        for text in prose.shown_in_browser(path)
        for finding in prose.linter()(text)
    ]
    assert [(finding.line, finding.found) for finding in found] == [(2, "stands"), (2, "anew"), (2, "stands")]


def test_the_command_fails_if_a_pattern_is_put_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("What it prints is discarded.\n", encoding="utf-8")
    assert prose.main([str(page)]) == 1
    assert f"{page}:1: plain.noun-clause: 'What it prints is': begin with the noun" in capsys.readouterr().out
    page.write_text("Its output is discarded.\n", encoding="utf-8")
    assert prose.main([str(page)]) == 0
