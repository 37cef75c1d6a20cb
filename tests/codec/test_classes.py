"""Enums, dataclasses and the codecs that users register."""

from __future__ import annotations

import enum
import functools
import json
import threading
from dataclasses import KW_ONLY, InitVar, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from zrb_store.codec import Undecodable, classes, decode, encode, to_json
from zrb_store.codec.classes import register_codec
from zrb_store.errors import InvalidArgument, UnencodableValue

T = TypeVar("T")


class Color(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796 - an alias
    GREEN = (0, 255, 0)


class Level(enum.IntEnum):
    LOW = 1


class Mode(enum.StrEnum):
    FAST = "fast"


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Handler(enum.Enum):
    OPEN = threading.Lock()


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    parts: tuple[Point, ...] = ()


@dataclass
class Base:
    a: int
    kind: ClassVar[str] = "base"
    start: InitVar[int] = 5
    _: KW_ONLY
    total: int = field(init=False)
    cache: dict[str, int] = field(default_factory=dict, repr=False, compare=False)
    unset: str = field(init=False, repr=False, compare=False)

    def __post_init__(self, start: int) -> None:
        self.total = self.a + start


@dataclass
class Child(Base):
    b: list[Any] = field(default_factory=list)

    @functools.cached_property
    def double(self) -> int:
        return self.total * 2


@dataclass
class Box(Generic[T]):
    item: T


@dataclass(frozen=True)
class Key:
    id: int
    tags: tuple[Point, ...] = ()


@dataclass
class Failure(Exception):
    code: int


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents


class Sub(Point):
    pass


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a test registers."""
    monkeypatch.setattr(classes, "_by_class", dict(classes._by_class))
    monkeypatch.setattr(classes, "_by_name", dict(classes._by_name))


def round_trip(value: Any) -> Any:
    encoded = encode(value)
    assert encoded.restorable
    return decode(encoded.data)


def id_of(value: Any) -> str:
    """Return the id of a test, which must be the same in every worker of pytest-xdist."""
    return type(value).__name__


REGISTERED = [
    *(Color.RED, Color.GREEN, Level.LOW, Mode.FAST, Handler.OPEN),
    *(Access.READ, Access.READ | Access.WRITE, Access(0)),
    *(Point(1), Point(x=-1, y=2), Frozen("a", (Point(1), Point(2))), Base(1, 2), Child(3, b=[(1,), {2}])),
    *(Box(Point(1)), Box[int](1), Key(1, ()), Sub(1, 2)),
]


@pytest.mark.promise(number=6)
@pytest.mark.parametrize("value", REGISTERED, ids=id_of)
def test_a_registered_class_comes_back(value: Any) -> None:
    for cls in (type(value), Point):
        register_codec(cls)
    found = round_trip({"k": [value]})["k"][0]
    assert type(found) is type(value)
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.promise(number=6)
@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Color.RED, 1),
        (Color.GREEN, (0, 255, 0)),
        (Level.LOW, 1),
        (Mode.FAST, "fast"),
        (Access.READ | Access.WRITE, 3),
        (Frozen("a", (Point(1),)), {"name": "a", "parts": ({"x": 1, "y": 0},)}),
        (Base(1, 2), {"a": 1, "total": 3, "cache": {}}),
        ({Key(1, ()): Color.RED}, {(("id", 1), ("tags", ())): 1}),
        ({(Key(2), Color.GREEN)}, {((("id", 2), ("tags", ())), (0, 255, 0))}),
        (Point(1, Point(2)), {"x": 1, "y": {"x": 2, "y": 0}}),  # type: ignore[arg-type]
    ],
    ids=id_of,
)
def test_an_unregistered_one_is_readable_and_comes_back_as_plain_data(value: Any, plain: Any) -> None:
    found = round_trip([value])[0]
    assert type(found) is type(plain)
    assert found == plain


def test_the_stored_form_names_the_class() -> None:
    register_codec(Point, name="geo.Point")
    assert to_json(encode([Color.RED, Point(1), Key(2)]).data) == [
        {"$": "enum", "type": f"{__name__}.Color", "name": "RED", "v": 1},
        {"$": "dataclass", "type": "geo.Point", "v": {"x": 1, "y": 0}},
        {"$": "dataclass", "type": f"{__name__}.Key", "v": {"id": 2, "tags": {"$": "tuple", "v": []}}},
    ]
    assert encode(Point(1)).type == "Point"


def test_post_init_is_not_called_again_and_its_attributes_come_back() -> None:
    register_codec(Child)
    value = Child(1, 2)
    value.total = 77
    value.note = "later"  # type: ignore[attr-defined]
    assert value.double == 154
    found = round_trip(value)
    assert vars(found) == vars(value)


def test_a_dataclass_that_changed_since_comes_back_as_it_is_now() -> None:
    register_codec(Point, name="p")
    added, removed, missing = (
        json.dumps({"$": "dataclass", "type": "p", "v": fields})
        for fields in ({"x": 1}, {"x": 1, "y": 2, "z": 3}, {"y": 1})
    )
    assert decode(added) == Point(1, 0)
    assert decode(removed) == Point(1, 2)
    assert "the field x is new here" in decode(missing).reason


@pytest.mark.parametrize("value", [Failure(1), type("Loose", (Money,), {})(1)], ids=["exception", "plain class"])
def test_what_has_more_than_its_fields_is_refused(value: Any) -> None:
    with pytest.raises(UnencodableValue):
        encode(value)
    with pytest.raises(InvalidArgument, match="needs functions"):
        register_codec(type(value))


def test_an_unencodable_field_is_named() -> None:
    with pytest.raises(UnencodableValue, match=r"^cannot store \$\[0\]\.item\.x: lock "):
        encode([Box(Point(threading.Lock()))])  # type: ignore[arg-type]


@pytest.mark.promise(number=6)
def test_functions_make_any_class_storable() -> None:
    register_codec(Money, name="money", encode=lambda money: (money.cents,), decode=lambda parts: Money(*parts))
    assert round_trip({"price": Money(990)}) == {"price": Money(990)}
    assert to_json(encode(Money(5)).data) == {"$": "object", "type": "money", "v": {"$": "tuple", "v": [5]}}


def test_the_decorator_returns_the_class() -> None:
    @register_codec
    @dataclass
    class One:
        n: int

    @register_codec(name="two", encode=lambda two: two.n, decode=lambda n: Two(n))
    class Two:
        def __init__(self, n: int) -> None:
            self.n = n

    assert round_trip(One(1)) == One(1)
    assert round_trip(Two(2)).n == 2


def fail(*_: Any) -> Any:
    raise ValueError("not\ntoday")


def test_functions_that_raise_break_nothing() -> None:
    register_codec(Money, name="money", encode=fail, decode=fail)
    with pytest.raises(
        UnencodableValue, match=r"^cannot store \$\.m: Money \(reading it raised ValueError: not\?today\)$"
    ):
        encode({"m": Money(1)})
    assert not encode(Money(1), lenient=True).restorable
    rest, broken = decode('[1,{"$":"object","type":"money","v":1}]')
    assert rest == 1
    assert (broken.type, broken.reason) == ("money", "ValueError: not?today")


@pytest.mark.parametrize("encoder", [lambda money: money, lambda money: [Money(1)], lambda money: object()])
def test_a_codec_that_makes_nothing_storable_is_refused(encoder: Any) -> None:
    register_codec(Money, encode=encoder, decode=Money)
    with pytest.raises(UnencodableValue):
        encode(Money(1))


def test_a_class_without_its_codec_here_is_shown_raw() -> None:
    register_codec(Money, name="money", encode=lambda money: money.cents, decode=Money)
    data = encode([1, Money(5)]).data
    classes._by_name.clear()
    found = decode(data)[1]
    assert isinstance(found, Undecodable)
    assert found.type == "money"
    assert "no codec of this name" in found.reason


def test_a_name_belongs_to_one_class() -> None:
    register_codec(Point, name="point")
    register_codec(Point, name="point")
    with pytest.raises(ValueError, match=r"'point' is already the name of .*\.Point; give .*\.Key another"):
        register_codec(Key, name="point")


def test_an_old_name_is_still_read() -> None:
    register_codec(Point, name="old")
    data = encode(Point(1)).data
    register_codec(Point, name="new")
    assert decode(data) == Point(1)
    assert '"new"' in encode(Point(1)).data


def test_a_module_loaded_again_may_register_again() -> None:
    def load() -> type[Any]:
        @register_codec
        class Job(enum.Enum):
            DONE = 1

        return Job

    load()
    job: Any = load()
    assert round_trip(job.DONE) is job.DONE


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (int, {}, "int has a codec"),
        (bool, {"encode": int, "decode": bool}, "bool has a codec"),
        (Path().__class__, {}, "has a codec"),
        (Money, {}, "needs functions"),
        (Money, {"encode": int}, "needs both functions"),
        (Point, {"decode": int}, "needs both functions"),
        (Point, {"name": ""}, "cannot name a codec"),
        (Point(1), {}, "is not a class"),
    ],
)
def test_a_wrong_registration_is_refused(cls: Any, options: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        register_codec(cls, **options)


def test_an_enum_codec_may_change_between_writing_and_reading() -> None:
    register_codec(Color, name="c")
    assert "no such member" in decode('{"$":"enum","type":"c","name":"BLUE","v":3}').reason
    assert decode('{"$":"enum","type":"c","name":"RED","v":"was other"}') is Color.RED
    assert "not stored by its fields" in decode('{"$":"dataclass","type":"c","v":{}}').reason


@dataclass
class Parcel:
    """A class of which a field is newer than what is stored."""

    name: str
    labels: list[str] = field(default_factory=list)


def test_a_field_that_is_newer_than_the_stored_value_has_its_default() -> None:
    register_codec(Parcel)
    tree = json.loads(encode(Parcel("a", ["x"])).data)
    del tree["v"]["labels"]
    assert decode(json.dumps(tree)) == Parcel("a")
    as_enum = decode(json.dumps({"$": "enum", "type": tree["type"], "name": "A", "v": 1}))
    assert isinstance(as_enum, Undecodable)
    assert "is not an Enum here" in as_enum.reason
