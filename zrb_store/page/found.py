"""What a page has found in the store, to be shown by a template or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from zrb_store.db.engine import Database
from zrb_store.records import JsonTree

Context: TypeAlias = dict[str, Any]
"""What a template is given: its own names, of any type."""


class Question(NamedTuple):
    """What a request asks for.

    Attributes:
        path: The parts of the address's path that have names.
        given: What the address says after `?`; without empty texts, and of several texts of one name the last.
        all_given: Every text of each name, empty ones too.
        as_json: Whether data is wanted rather than a page.
        program: What a reader types before the name of a command.
    """

    path: Mapping[str, str]
    given: Mapping[str, str]
    all_given: Mapping[str, list[str]]
    as_json: bool
    program: str


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        template: The name of the template that shows it.
        context: What the template is given.
        tree: The same as data, in the shape of the command's `--format json`. Empty unless data was asked for.
        unless: If it is the same as before, the page need not be drawn again; None if that is unknown.
    """

    template: str = ""
    context: Context = field(default_factory=dict)
    tree: JsonTree = None
    unless: str | None = None


@dataclass(frozen=True)
class Elsewhere:
    """A page that has another address.

    Attributes:
        address: The address, relative to where all pages are.
    """

    address: str


Reader = Callable[[Database, Question], Found | Elsewhere]
"""Reads what a page shows."""
