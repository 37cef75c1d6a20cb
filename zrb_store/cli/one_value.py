"""How `get` and `last` print the one value that they found."""

from __future__ import annotations

from typing import Any

from zrb_store.cli.notes import tell
from zrb_store.cli.output import Facts, Lines, bare, echo_bare, echo_json, show
from zrb_store.cli.words import Clock, preview, size
from zrb_store.printing import one_line
from zrb_store.reading.paths import part
from zrb_store.reading.results import Found


def print_value(value: Found, form: str, path: str | None) -> None:
    """Print a value, or a part of it, in the form that was asked for."""
    found = value.shape
    if path is not None:
        found = {**found, "value": part(found["value"], path)}
    if form == "value":
        echo_bare(bare(found["value"]))
    elif form == "table":
        clock = Clock()
        show(
            [
                Facts(
                    [
                        ("Value", one_line(found["id"])),
                        ("State", fate(found)),
                        ("Type", f"{one_line(found['type'])}, {size(found['size'])}"),
                        ("Pushed", f"{clock.full(found['pushed_at'])} by {found['pushed_by'] or 'no attempt'}"),
                    ],
                    frozenset({"State"}),
                ),
                Lines([preview(found["value"], full=True)]),
            ]
        )
    else:
        echo_json(found, one_line=form == "jsonl")
    tell(value.damage)


def fate(value: dict[str, Any]) -> str:
    """What became of a value: `live`, `taken by load#2`, `retracted`, `removed by load#2`."""
    taker = f" by {one_line(value['taken_by'])}" if value["taken_by"] else ""
    return f"{value['state']}{taker}{', orphaned' if value['orphaned'] else ''}"
