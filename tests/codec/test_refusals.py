"""Values that no codec takes are refused with type and path, or kept as type and repr. They break no workflow."""

from __future__ import annotations

import collections
import enum
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zrb_store.codec import Encoded, Opaque, Undecodable, decode, encode, to_json
from zrb_store.codec.walk import NO_CODEC
from zrb_store.errors import UnencodableValue, ValueTooLarge


class Text(str):
    pass


class Row(NamedTuple):
    id: int


class Zone(tzinfo):
    def utcoffset(self, moment: object) -> timedelta:
        return timedelta(hours=1)

    tzname = dst = utcoffset  # type: ignore[assignment]


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise ValueError("no")


class BadMeta(metaclass=Meta):
    pass


class BadRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class BadDict(dict[str, int]):
    def __iter__(self) -> Any:
        raise RuntimeError("no")


class BadEquality:
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")


class BadAttributes:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no")


class Unstored(enum.Enum):
    PLAIN = object()


LOCK = threading.Lock()


def refusal(value: Any) -> str:
    with pytest.raises(UnencodableValue) as caught:
        encode(value)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith("cannot store ")
    return message.removeprefix("cannot store ").replace(f" ({NO_CODEC})", "")


@pytest.mark.promise(number=7)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (LOCK, "$: lock"),
        ({"rows": [1, 2, 3, {"conn": LOCK}]}, "$.rows[3].conn: lock"),
        ({"a key": LOCK}, '$["a key"]: lock'),
        ({'"\n\ud800$': (LOCK,)}, '$["\\"\\n\\ud800$"][0]: lock'),
        ({"$": {"x": LOCK}}, '$["$"].x: lock'),
        ({1: LOCK}, "$[1]: lock"),
        ({None: {True: [LOCK]}}, "$[None][True][0]: lock"),
        ({(1, 2): LOCK}, "$[<tuple>]: lock"),
        ({10**5000: LOCK}, "$[<int>]: lock"),
        ({"x" * 100: LOCK}, '$["' + "x" * 60 + '..."]: lock'),
        ({1: 1, LOCK: 1}, "$.keys()[1]: lock"),
        ({(1, LOCK): 1}, "$.keys()[0][1]: lock"),
        ([{LOCK}], "$[0]{*}: lock"),
        ([frozenset([(LOCK,)])], "$[0]{*}[0]: lock"),
        ({"at": [datetime(2026, 1, 1, tzinfo=Zone())]}, "$.at[0].tzinfo: Zone"),
        (Text("x"), "$: Text"),
        ({Text("x"): 1}, "$.keys()[0]: Text"),
        ([Row(1)], "$[0]: Row"),
        (collections.defaultdict(list), "$: defaultdict"),
        (collections.Counter("a"), "$: Counter"),
        ([Unstored.PLAIN], "$[0].v: object"),
        ([range(3)], "$[0]: range"),
        (Exception("x"), "$: Exception"),
        (int, "$: type"),
        (BadDict(), "$: BadDict"),
        ([BadMeta()], "$[0]: BadMeta (reading it raised ValueError: no)"),
        ([BadAttributes()], "$[0]: BadAttributes"),
        ({BadEquality(): 1}, "$.keys()[0]: BadEquality"),
        ([1, Opaque("socket.socket", "<socket>")], "$[1]: Opaque"),
        ([1, Undecodable("x")], "$[1]: Undecodable"),
    ],
)
def test_a_refusal_names_type_and_path(value: Any, problem: str) -> None:
    assert refusal(value) == problem
    encoded = encode(value, lenient=True)
    assert encoded.problem == problem
    assert encoded.type == type(value).__name__
    assert not encoded.restorable
    opaque = decode(encoded.data)
    assert problem.startswith(f"{opaque.path}: {opaque.cause}")


def test_the_message_says_what_to_do() -> None:
    with pytest.raises(
        UnencodableValue, match=r"^cannot store \$\.x: object \(no codec takes it; register one wi.*\)$"
    ):
        encode({"x": object()})


def test_a_very_long_path_is_cut() -> None:
    value: Any = LOCK
    for _ in range(100):
        value = {"quite_long_a_key": value}
    assert len(refusal(value)) < 300


def test_numpy_like_scalars_do_not_come_back_as_their_base() -> None:
    class Float64(float):
        pass

    class Int(int):
        pass

    assert refusal({"mean": Float64(1.5), "n": 1}) == "$.mean: Float64"
    assert refusal([Int(1)]) == "$[0]: Int"


def own_list() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def own_parent() -> Any:
    parent: dict[str, Any] = {"name": "p"}
    children: list[Any] = [{"parent": parent} for _ in range(5)]
    parent["children"] = children
    return parent


def own_tuple() -> Any:
    inner: list[Any] = []
    value = (inner, {1: 2})
    inner.append(value)
    return value


def deep_list() -> Any:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    return value


def deep_mixture() -> Any:
    value: Any = ()
    for _ in range(100_000):
        value = {1: (value,)}
    return value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (own_list, "$[0]: list (it contains itself)"),
        (own_parent, "$.children[0].parent: dict (it contains itself)"),
        (own_tuple, "$[0][0]: tuple (it contains itself)"),
        (deep_list, "(it is nested more than 200 deep)"),
        (deep_mixture, "(it is nested more than 200 deep)"),
    ],
)
def test_cycles_and_depths_are_refused(make: Callable[[], Any], why: str) -> None:
    value = make()
    with pytest.raises(UnencodableValue) as caught:
        encode(value)
    assert why in str(caught.value)
    for limit in (1000, None):
        encoded = encode(value, lenient=True, limit=limit)
        assert why in str(encoded.problem)
    assert len(encoded.data) < 10_000
    while isinstance(value, list | tuple | dict) and value:  # deleting a deep value at once would exhaust the stack
        value = value.pop() if isinstance(value, list) else value[0] if isinstance(value, tuple) else value.popitem()[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [lambda v: [v, v], lambda v: {"a": v, "b": v}, lambda v: (v, v), lambda v: {1: v, 2: v}]
)
def test_a_value_that_shares_its_parts_ends_at_the_limit(make: Callable[[Any], Any]) -> None:
    value: Any = [1]
    for _ in range(60):
        value = make(value)
    with pytest.raises(
        ValueTooLarge, match=r"of more than 100000 bytes \(the limit is 100000; raise ZRB_STORE_MAX_VALUE"
    ):
        encode(value, limit=100_000)
    assert not encode(value, lenient=True, limit=100_000).restorable


@pytest.mark.promise(number=7)
@pytest.mark.parametrize("value", ["x" * 99, list(range(40)), {"k": b"x" * 80}, {1: "x" * 90}])
def test_a_value_over_the_limit_is_refused_with_its_size(value: Any) -> None:
    size = len(encode(value).data)
    assert encode(value, limit=size).restorable
    with pytest.raises(
        ValueTooLarge, match=rf"^cannot store \$: \w+ of {size} bytes \(the limit is {size - 1}; raise ZRB_STO"
    ):
        encode(value, limit=size - 1)
    encoded = encode(value, lenient=True, limit=size - 1)
    assert f"of {size} bytes (the limit is {size - 1}" in str(encoded.problem)
    assert isinstance(decode(encoded.data), Opaque)


def test_opaque_keeps_type_and_repr() -> None:
    encoded = encode({"b": [LOCK, ("x",)], "a": {Decimal(1)}}, lenient=True)
    opaque = decode(encoded.data)
    assert opaque == Opaque("dict", f"{{'b': [{LOCK!r}, ('x',)], 'a': {{Decimal('1')}}}}", "$.b[0]", "lock")
    assert repr(opaque).startswith("<opaque dict: {'b': [<unlocked")
    assert json.loads(encoded.data)["$"] == "opaque"
    assert encode(opaque, lenient=True) == encoded
    assert decode(encode(LOCK, lenient=True).data).type == "_thread.lock"
    with pytest.raises(UnencodableValue):
        encode(opaque)


def test_undecodable_is_kept_as_it_was() -> None:
    broken = decode('{"$":"no such"}')
    encoded = encode(broken, lenient=True)
    assert (encoded.type, encoded.restorable) == ("Undecodable", False)
    assert decode(encoded.data).raw == broken.raw
    assert to_json(encoded.data) == {"$": "undecodable", "raw": broken.raw}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (BadRepr(), f"<{__name__}.BadRepr whose repr raised RuntimeError>"),
        ([BadRepr()], f"[<{__name__}.BadRepr whose repr raised RuntimeError>]"),
        ([LOCK, 10**5000], f"[{LOCK!r}, <int whose repr raised ValueError>]"),
        ([LOCK, (), set(), frozenset({1})], f"[{LOCK!r}, (), set(), frozenset({{1}})]"),
    ],
    ids=["object", "inner", "int", "empty"],
)
def test_a_repr_never_raises(value: Any, shown: str) -> None:
    assert decode(encode(value, lenient=True).data).repr == shown


@pytest.mark.parametrize("value", [[LOCK, *range(10**6)], [LOCK, "x" * 10**6], {LOCK: [["y" * 5000] * 1000] * 1000}])
def test_a_repr_is_short(value: Any) -> None:
    assert len(decode(encode(value, lenient=True).data).repr) <= 4100


def test_a_container_changed_by_another_thread_is_refused_or_stored() -> None:
    value: dict[int, Any] = {number: (number,) for number in range(100)}
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            value[1000] = ()
            del value[1000]

    thread = threading.Thread(target=change)
    thread.start()
    try:
        results = [encode(value, lenient=True) for _ in range(300)]
    finally:
        stop.set()
        thread.join()
    assert all(isinstance(result, Encoded) for result in results)


def test_refusing_needs_little_stack() -> None:
    script = (
        "import sys; from zrb_store.codec import encode, decode\n"
        "def deep(frames): return deep(frames - 1) if frames else (encode(v, lenient=True), decode(text))\n"
        "v = 1\n"
        "for _ in range(190): v = {1: (v,)} if _ % 2 else [v]\n"
        "text = encode([[1, (2,)]]).data\n"
        "for frames in range(900, 1000):\n"
        "    try: deep(frames)\n"
        "    except RecursionError: pass"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@given(
    st.recursive(
        st.just(object()) | st.integers() | st.builds(BadRepr), lambda inner: st.lists(inner) | st.tuples(inner)
    )
)
def test_lenient_encoding_raises_for_no_value(value: Any) -> None:
    encoded = encode(value, lenient=True)
    json.loads(encoded.data)
    assert encoded.restorable is (encoded.problem is None)
