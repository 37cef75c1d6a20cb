"""Very long texts and bytes are written and read slice by slice, and are the same as if they were not."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zrb_store.codec import Undecodable, decode, encode, fast_json, sliced, to_json

PARTS = ["a", "\\", '"', "\n", "\0", "\u00e9", "\U0001f600", "u", "ud83d", "\\ud83d", "x" * 7]
texts = st.lists(st.sampled_from([*PARTS, "\ud83d", "\ude00"]), max_size=60).map("".join)
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=[12, 24, 36])
def slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is long, and slices are short."""
    monkeypatch.setattr(sliced, "FROM", 1)
    monkeypatch.setattr(sliced, "_SLICE", request.param)


@pytest.mark.usefixtures("slices")
@quick
@given(texts)
@example("\\" * 50)
@example('"' * 50)
@example("\\u" * 50)
def test_a_text(text: str) -> None:
    encoded = encode(text)
    assert decode(encoded.data) == text
    assert encoded.size == len(encoded.data.encode())
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert json.loads(encoded.data) == to_json(encoded.data) == text
    older = json.dumps(text)  # with escapes for all characters but ASCII
    assert decode(older) == to_json(older) == json.loads(older)


@pytest.mark.usefixtures("slices")
@quick
@given(st.binary(max_size=200), st.sampled_from([bytes, bytearray]))
def test_bytes(content: bytes, kind: type) -> None:
    value = kind(content)
    encoded = encode(value)
    read = decode(encoded.data)
    assert (read, type(read), encoded.type, encoded.size) == (value, kind, kind.__name__, len(encoded.data))


@pytest.mark.usefixtures("slices")
@quick
@given(st.one_of(texts, st.binary(max_size=100)), st.integers(0, 300), st.sampled_from('="\\x{\n!'))
def test_damage_is_found_or_means_the_same_as_for_others(value: Any, place: int, other: str) -> None:
    data = encode(value).data
    damaged = data[: place % len(data)] + other + data[place % len(data) + 1 :]
    found = decode(damaged)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sliced, "FROM", 1_000_000)
        expected = decode(damaged)
    assert type(found) is type(expected)
    assert found == expected or isinstance(found, Undecodable)


def test_what_is_long_takes_this_road(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def note(name: str) -> None:
        original = getattr(sliced, name)

        def noted(value: Any) -> Any:
            taken.append(name)
            return original(value)

        monkeypatch.setattr(sliced, name, noted)

    for name in ("write_text", "read_text", "write_bytes", "read_bytes"):
        note(name)
    text = "".join(random.Random(7).choices(PARTS, k=sliced.FROM))
    assert decode(encode(text, limit=10**9).data) == text
    assert taken == ["write_text", "read_bytes", "read_text"]
    content = random.Random(7).randbytes(sliced.FROM + 1)
    assert decode(encode(content).data) == content
    assert taken[3:] == ["write_bytes", "read_bytes"]


def test_without_the_fast_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_json, "writer", lambda: None)
    monkeypatch.setattr(fast_json, "_decoder", lambda: None)
    monkeypatch.setattr(sliced, "FROM", 1)
    for value in ("1" * 10_000, "a\\\u00e9" * 1_000, b"abc"):
        assert decode(encode(value).data) == value
