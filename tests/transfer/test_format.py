"""The format of `export`, and that `import` detects any damage to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.transfer.exports import exported, forged, imported, refusal
from zrb_store import Store, ZrbStoreError
from zrb_store.transfer.lines import HashChain, write_lines


def test_an_export_is_lines_of_json_with_digests(store: Store) -> None:
    store.session("s").xcom["q"].push("é")
    content = [json.loads(line) for line in exported(store).splitlines()]
    assert [line["record"] for line in content] == ["zrb-store", "session", "queue", "value", "end"]
    assert all(len(line["sha256"]) == 64 for line in content)
    assert content[3]["data"] == '"é"'
    assert exported(store) == exported(store)
    assert [json.loads(line)["record"] for line in write_lines([])] == ["zrb-store", "end"]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda all_: all_[:-1], "ends after line"),
        (lambda all_: [], "ends after line 0"),
        (lambda all_: all_[:5] + all_[6:], "line 6 of the file is damaged: its hash does not match"),
        (lambda all_: [*all_[:5], all_[6], all_[5], *all_[7:]], "line 6 of the file is damaged"),
        (lambda all_: [*all_[:6], all_[5], *all_[6:]], "line 7 of the file is damaged"),
        (lambda all_: all_[1:], "line 1 of the file is damaged"),
        (lambda all_: [*all_, all_[-1]], "is damaged"),
        (lambda all_: [*all_[:5], b"", *all_[5:]], "line 6 of the file is damaged: it is not a line of an export"),
        (lambda all_: [b"[" * 100_000, *all_], "it is not a line of an export"),
        (lambda all_: [b'"text"'], "it is not a line of an export"),
        (lambda all_: [b"\xff"], "it is not a line of an export"),
        (lambda all_: [b"SQLite format 3\0"], "it is not a line of an export"),
    ],
)
def test_damage_of_an_export_is_found(
    empty_store: Store, sample_export: bytes, damage: Callable[[list[bytes]], list[bytes]], why: str
) -> None:
    assert why in refusal(empty_store, b"\n".join(damage(sample_export.splitlines())))


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.slow
def test_every_changed_character_is_found(empty_store: Store, sample_export: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(sample_export) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != sample_export[place]))
    changed = sample_export[:place] + bytes([byte]) + sample_export[place + 1 :]
    spaced = sample_export[place : place + 1] in b"\n" and byte in b" \t\r\n"
    if not spaced:
        assert "damaged" in refusal(empty_store, changed)


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        ("session", {"name": "../x"}, "cannot name a session"),
        ("session", {"name": None}, "name is not of its type"),
        ("session", {"fence": True}, "fence is not of its type"),
        ("session", {"fence": 2**63}, "fence is too large"),
        ("session", {"more": 1}, "its fields are not those of this format"),
        ("session", {"task": "a\0b"}, "task is not text"),
        ("session", {"task": "\ud800"}, "task is not text"),
        ("session", {"record": "zrb-store"}, "it is out of order"),
        ("session", {"record": "thing"}, "its kind is unknown"),
        ("session", {"record": ["thing"]}, "it is not a line of an export"),
        ("run", {"number": "1"}, "number is not of its type"),
        ("value", {"data": "é"}, "data is not JSON"),
        ("value", {"pushed_by": "nobody"}, "is not of the form"),
        ("value", {"pushed_by": "etl/nothing#1"}, "session etl names attempt nothing#1, which does not exist"),
        ("value", {"queue": "nothing"}, "names queue nothing, which does not exist"),
        ("attempt", {"run": 99}, "names run 99, which does not exist"),
        ("attempt", {"result_queue": "nothing"}, "names queue nothing, which does not exist"),
    ],
)
def test_what_does_not_fit_is_refused(
    empty_store: Store, sample_export: bytes, kind: str, change: dict[str, Any], why: str
) -> None:
    only = [line for line in sample_export.splitlines() if json.loads(line)["record"] != "zrb-store"]
    starts = [place for place, line in enumerate(only) if json.loads(line)["record"] == "session"]
    etl = next(place for place in starts if json.loads(only[place])["name"] == "etl")
    place = next(place for place in range(etl, len(only)) if json.loads(only[place])["record"] == kind)
    assert why in refusal(empty_store, forged((place, change), content=sample_export))


@pytest.mark.slow
def test_a_field_that_is_missing_is_refused(store: Store) -> None:
    """No field is filled in."""
    store.session("s").xcom["q"].push("v")
    records = [json.loads(line) for line in exported(store).splitlines()[1:-1]]
    for record in records:
        del record["sha256"]
    for place, record in enumerate(records):
        for name in record.keys() - {"record"}:
            content = [*records[:place], {**record}, *records[place + 1 :]]
            del content[place][name]
            with pytest.raises(ZrbStoreError, match="its fields are not those of this format; nothing was imported"):
                imported(store, "\n".join(write_lines(content)).encode(), {"s": "again"})


def test_another_format_is_refused(empty_store: Store) -> None:
    line = HashChain().write({"record": "zrb-store", "format": 2})
    assert "has format 2, unknown to this version: upgrade zrb-store" in refusal(empty_store, line.encode())
