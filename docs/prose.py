"""Find the patterns of prose.toml, and what proselint knows, in what people read: `python docs/prose.py [PATH...]`.

Without a path these are README.md, CONTRIBUTING.md, docs/, and in zrb_store/ the help pages, messages, settings, page
templates and page scripts. Exits with 1 if there is a finding.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proselint.checks import __register__ as proselint_checks
from proselint.registry import CheckRegistry
from proselint.registry.checks import Check, CheckFlags
from proselint.registry.checks.engine import Fancy
from proselint.registry.checks.types import ExistenceSimple
from proselint.tools import LintFile

ROOT = Path(__file__).resolve().parent.parent
CONFIG: dict[str, Any] = tomllib.loads((ROOT / "docs" / "prose.toml").read_text(encoding="utf-8"))
GENERATED = {"docs/reference/python.md"}
"""Pages made of docstrings in zrb_store/."""

_CODE = re.compile(
    r"^```.*?^```$|^ {4}\S[^\n]*$|`[^`]+`|\]\([^)]*\)|<!--.*?-->|<source[^>]*>", re.MULTILINE | re.DOTALL
)
_SQL = re.compile(
    r"\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|PRAGMA|SET LOCAL|WITH RECURSIVE|CASE WHEN)\b"
)
_SHELL = re.compile(r"^\s*(?:fi|end|esac|done)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Text:
    """A text with its place. `in_code` if it comes from zrb_store/."""

    path: str
    line: int
    text: str
    in_code: bool = False


@dataclass(frozen=True)
class Finding:
    """A place where a rule is broken."""

    path: str
    line: int
    rule: str
    found: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.found!r}: {self.message}"


def _blank(found: re.Match[str]) -> str:
    """Replace code by as much blank text, so that positions stay."""
    return re.sub(r"[^\n]", " ", found[0])


def page(path: Path) -> Text:
    """Return a Markdown page without its code."""
    name = _name(path)
    return Text(name, 1, _CODE.sub(_blank, path.read_text(encoding="utf-8")), name in GENERATED)


def _name(path: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def messages(path: Path) -> Iterator[Text]:
    """Yield the string literals of a module that are sentences: no docstrings, no SQL, no shell scripts."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | docstrings:
            text = node.value
        else:
            continue
        if len(text.split()) >= 3 and not _SQL.search(text) and not _SHELL.search(text):
            yield Text(_name(path), node.lineno, re.sub(r"`[^`]+`", _blank, text), True)


_TAG = re.compile(r"\{[%#{].*?[%#}]\}|<script.*?</script>|<[^>]*>|&\w+;", re.DOTALL)
_LITERAL = re.compile(r""""[^"\n]*"|'[^'\n]*'|`[^`]*`""")


def shown_in_browser(path: Path) -> Iterator[Text]:
    """Yield the text of a template, or the string literals of a script that are sentences."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        yield Text(_name(path), 1, _TAG.sub(_blank, source), True)
        return
    for found in _LITERAL.finditer(re.sub(r"/\*.*?\*/|^\s*//.*$", _blank, source, flags=re.MULTILINE | re.DOTALL)):
        text = re.sub(r"\$\{[^}]*\}", "…", found[0][1:-1])
        if len(text.split()) >= 3:
            yield Text(_name(path), source.count("\n", 0, found.start()) + 1, text, True)


def everything() -> Iterator[Text]:
    """Yield all texts that people read."""
    yield page(ROOT / "README.md")
    yield page(ROOT / "CONTRIBUTING.md")
    for path in sorted((ROOT / "docs").rglob("*.md")):
        if path.name != "commands.md":  # made of messages
            yield page(path)
    for path in sorted((ROOT / "zrb_store").rglob("*")):
        if path.suffix == ".py":
            yield from messages(path)
        elif path.suffix in (".html", ".js") and "vendor" not in path.parts:
            yield from shown_in_browser(path)


def linter() -> Callable[[Text], list[Finding]]:
    """Return a function that finds what breaks the rules in a text."""
    registry = CheckRegistry()
    registry.checks.clear()
    registry.register_many(proselint_checks)
    for rule in CONFIG["rule"]:
        flags = CheckFlags(allow_quotes=True)
        registry.register(
            Check(ExistenceSimple(rule["pattern"]), Fancy(), f"plain.{rule['name']}", rule["message"], flags)
        )

    def lint(text: Text) -> list[Finding]:
        enabled = dict.fromkeys(["plain"] if text.in_code else [*CONFIG["proselint"], "plain"], True)
        found = []
        for each in LintFile(text.path, text.text).lint({"max_errors": 10_000, "checks": enabled}):
            result = each.check_result
            start, end = (position - 1 for position in result.span)  # proselint adds a newline before the text
            line = text.line + (0 if text.path.endswith(".py") else text.text.count("\n", 0, start))
            words, message = (" ".join(part.split()) for part in (text.text[start:end], result.message))
            found.append(Finding(text.path, line, result.check_path, words, message))
        return found

    return lint


def main(arguments: list[str]) -> int:
    """Print the findings, and return the exit code."""
    lint, pages = linter(), [page(Path(argument)) for argument in arguments]
    findings = [finding for text in pages or everything() for finding in lint(text)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
