"""What makes a request another one: whatever is sent to the model, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest
from pydantic_ai.exceptions import CallDeferred, ToolFailed
from pydantic_ai.messages import (
    BinaryContent,
    CachePoint,
    ImageUrl,
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    RetryPromptPart,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
    tool_return_ta,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.native_tools import WebSearchTool
from pydantic_ai.tools import ToolDefinition

from zrb_store import codec, register_codec
from zrb_store.agents.runtime.fingerprint import Fingerprints, RequestFingerprint
from zrb_store.agents.runtime.stored import encoded, repeat
from zrb_store.codec.classes import CmdResult

CHARGE = ToolDefinition(name="charge", parameters_json_schema={"type": "object", "properties": {}})
ASK = ModelRequest(parts=[UserPromptPart("Charge.", timestamp=datetime(2026, 1, 1, tzinfo=UTC))])
CALL = ModelResponse([ToolCallPart("charge", {"n": 1}, "c1")])
DONE = ModelRequest(parts=[ToolReturnPart("charge", "receipt", "c1")])


def model(name: str = "m") -> FunctionModel:
    return FunctionModel(lambda *_: ModelResponse([TextPart("")]), model_name=name)


def request(fingerprints: Fingerprints | None = None, **more: Any) -> RequestFingerprint:
    given: dict[str, Any] = {
        "model": model(),
        "settings": {"temperature": 0.5},
        "parameters": ModelRequestParameters(function_tools=[CHARGE]),
        "messages": [ASK, CALL, DONE],
    }
    return (fingerprints or Fingerprints()).of(**{**given, **more})


def parameters(**more: Any) -> dict[str, Any]:
    return {"parameters": ModelRequestParameters(**{"function_tools": [CHARGE], **more})}


@pytest.mark.promise(number=11)
@pytest.mark.parametrize(
    ("more", "difference"),
    [
        ({"model": model("n")}, "model function:m became function:n"),
        ({"settings": {"temperature": 0.6}}, "setting temperature"),
        ({"settings": {}}, "setting temperature is gone"),
        ({"settings": {"temperature": 0.5, "seed": 1}}, "setting seed is new"),
        (parameters(function_tools=[]), "tool charge is gone"),
        (parameters(function_tools=[CHARGE, ToolDefinition(name="look")]), "tool look is new"),
        (parameters(function_tools=[ToolDefinition(name="charge", description="Dear.")]), "tool charge"),
        (parameters(output_tools=[ToolDefinition(name="final")]), "tool final is new"),
        (parameters(instruction_parts=[InstructionPart("Be kind.")]), "instructions"),
        (parameters(allow_text_output=False), "output"),
        (parameters(native_tools=[WebSearchTool()]), "output"),
        (parameters(prompted_output_template="Do {schema}"), "output"),
        (
            parameters(function_tools=[dataclasses.replace(CHARGE, return_schema={}, include_return_schema=True)]),
            "tool charge",
        ),
        ({"messages": [ASK, CALL]}, "messages[2]"),
        ({"messages": [ASK, CALL, DONE, ASK]}, "messages[3]"),
        ({"messages": [ModelRequest(parts=[UserPromptPart("Charge!")]), CALL, DONE]}, "messages[0]"),
        ({"messages": [ASK, ModelResponse([ToolCallPart("charge", {"n": 2}, "c1")]), DONE]}, "messages[1]"),
        ({"messages": [ASK, CALL, ModelRequest(parts=[ToolReturnPart("charge", "no", "c1")])]}, "messages[2]"),
    ],
)
def test_a_difference_has_a_name(more: dict[str, Any], difference: str) -> None:
    stored = request().stored(None)
    assert request(**more).difference(stored, None) == difference
    # As the request after another, of which only what is new was stored.
    before = request(messages=[ASK])
    assert request(**more).difference(request().stored(before), before) == difference


@pytest.mark.promise(number=11)
@pytest.mark.parametrize(
    "more",
    [
        {"settings": {"temperature": 0.5, "timeout": 5}},
        {"messages": [ModelRequest(parts=[UserPromptPart("Charge.")], run_id="other", metadata={"a": 1}), CALL, DONE]},
        {
            "messages": [
                ASK,
                ModelResponse(CALL.parts, provider_details={"x": 1}, timestamp=datetime(2026, 2, 2, tzinfo=UTC)),
                DONE,
            ]
        },
    ],
)
def test_what_is_not_sent_makes_no_difference(more: dict[str, Any]) -> None:
    assert request(**more).difference(request().stored(None), None) == ""


def test_the_settings_of_models_that_a_model_asks() -> None:
    """A request to a `FallbackModel` has none of theirs."""

    def falling_back(temperature: float) -> FallbackModel:
        return FallbackModel(FunctionModel(lambda *_: ModelResponse([]), settings={"temperature": temperature}))

    stored = request(model=falling_back(0.5)).stored(None)
    assert request(model=falling_back(0.5)).difference(stored, None) == ""
    assert request(model=falling_back(0.6)).difference(stored, None) == "setting temperature of model 1"


def test_the_settings_of_a_tool_of_the_provider() -> None:
    fingerprints = Fingerprints()
    one = request(fingerprints, **parameters(native_tools=[WebSearchTool(allowed_domains=["a.example"])]))
    two = request(fingerprints, **parameters(native_tools=[WebSearchTool(allowed_domains=["b.example"])]))
    assert two.difference(one.stored(None), None) == "output"


def test_what_is_stored_does_not_grow_with_the_conversation() -> None:
    fingerprints = Fingerprints()
    messages: list[ModelMessage] = [ASK]
    before = request(fingerprints, messages=messages)
    sizes = []
    for number in range(50):
        messages = [*messages, ModelResponse([ToolCallPart("charge", {"n": number}, f"c{number}")]), DONE]
        now = request(fingerprints, messages=messages)
        sizes.append(len(str(now.stored(before))))
        before = now
    assert max(sizes) - min(sizes) <= 2  # the count of messages has more digits


WORDS = ("a", "b", "c", "d", "e", "f", "g", "h")


@dataclasses.dataclass(frozen=True)
class Row:
    names: frozenset[str]
    numbers: tuple[int, ...] = (1, 2)


@register_codec(name="tests.KnownRow")
@dataclasses.dataclass(frozen=True)
class KnownRow(Row):
    pass


class Colours(Enum):
    ALL = frozenset(WORDS)


class Rights(Flag):
    READ = 1
    WRITE = 2


class Model(pydantic.BaseModel):
    names: set[str] = pydantic.Field(alias="theNames")
    note: str | None = None


@pydantic.dataclasses.dataclass
class Computed:
    name: str
    hidden: int = pydantic.Field(default=1, exclude=True)

    @pydantic.computed_field
    def shout(self) -> str:
        return self.name.upper()


class Place(pydantic.BaseModel, frozen=True):
    url: pydantic.HttpUrl
    note: str = ""
    names: frozenset[str] = frozenset(WORDS)


class Typed(pydantic.BaseModel):
    """What pydantic writes in another way in JSON than in Python."""

    model_config = pydantic.ConfigDict(ser_json_timedelta="float", extra="allow")

    card: str = "1234 5678"
    places: set[Place] = {Place(url=pydantic.HttpUrl(f"https://{one}.example")) for one in WORDS}
    database: pydantic.PostgresDsn = pydantic.PostgresDsn("postgresql://u:p@a.example/b")
    secret: pydantic.SecretStr = pydantic.SecretStr("x")
    raw: bytes = b"ab"
    coded: pydantic.Base64Bytes = b"YWI="
    wait: timedelta = timedelta(minutes=1)
    share: Annotated[float, pydantic.PlainSerializer(lambda share: f"{share:.0%}", when_used="json")] = 0.5
    picture: BinaryContent = BinaryContent(b"\x89PNG", media_type="image/png")
    turns: list[Any] = [DONE]

    @pydantic.field_serializer("card", when_used="json")
    def _masked(self, _: str) -> str:
        return "****"

    @pydantic.computed_field
    def all_names(self) -> set[str]:
        return set(WORDS)


class Plain:
    def __init__(self, names: set[str]) -> None:
        self.names = names


register_codec(Plain, name="tests.Plain", encode=lambda plain: plain.names, decode=Plain)
PICTURE = BinaryContent(b"\x89PNG", media_type="image/png")
STORABLE: dict[str, Any] = {
    "JSON": [None, True, 1, 1.5, "a", {"a": {}}, "\ud800", "\ud83d\ude00", 10**700, float("nan"), float("inf")],
    "tuple": ((1, "a"), []),
    "set": set(WORDS),
    "frozenset": frozenset(WORDS[1:]),
    "set of all": {1, None, 2.5, "a", b"a", (1, "a"), frozenset(WORDS), date(2026, 1, 1)},
    "dict of sets": {"a": set(WORDS), "b": [frozenset(WORDS)]},
    "dict with keys": {1: 1, (1, "a"): 2, None: 3, frozenset(WORDS): 4, 2.5: 5, date(2026, 1, 1): 6},
    "OrderedDict": OrderedDict([("b", 1), ("a", set(WORDS))]),
    "bytes": [b"\xff\x00", bytearray(b"\xff")],
    "numbers": [Decimal("1.00"), UUID(int=1)],
    "paths": [PurePosixPath("/a"), PureWindowsPath("c:/a")],
    "times": [datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")), time(1, 2), timedelta(1), datetime(2026, 1, 1)],
    "zones": [timezone(timedelta(hours=1)), ZoneInfo("Asia/Tokyo")],
    "enums": [Colours.ALL, Rights.READ | Rights.WRITE],
    "dataclass": Row(frozenset(WORDS)),
    "registered dataclass": {"row": KnownRow(frozenset(WORDS))},
    "registered class": Plain(set(WORDS)),
    "set of dataclasses": {Row(frozenset(one)) for one in WORDS},
    "dataclasses as keys": {Row(frozenset(WORDS)): 1},
    "CmdResult": CmdResult("out", "err"),
    "pydantic model": [Model(theNames=set(WORDS))],
    "pydantic dataclass": [Computed("a")],
    "types of pydantic": {"all": [Typed(more=set(WORDS))], "one": pydantic.HttpUrl("https://a.example")},  # type: ignore[call-arg]
    "root": [pydantic.RootModel[set[str]](set(WORDS))],
    "picture": PICTURE,
    "pictures": {"all": [PICTURE, (ImageUrl("https://a.example/a"),), ImageUrl("https://a.example/b.png")]},
    "picture in a dataclass": Row(PICTURE),  # type: ignore[arg-type]
}
IN_ONE_PROCESS = """
import json, sys
from tests.agents.test_fingerprint import STORABLE, digest_of_result, stored
print(json.dumps({name: [digest_of_result(value), stored(value)] for name, value in STORABLE.items()}))
"""
IN_ANOTHER = """
import json, sys
from tests.agents.test_fingerprint import digest_of_result, loaded
print(json.dumps({name: digest_of_result(loaded(data)) for name, (_, data) in json.load(sys.stdin).items()}))
"""


def digest_of_result(value: Any) -> str:
    return request(messages=[ModelRequest(parts=[ToolReturnPart("charge", value, "c1")])]).messages[0]


def stored(value: Any) -> str:
    found = encoded({"kind": "value", "value": value}, 10_000_000)
    assert isinstance(found, codec.Encoded)
    return found.data


def loaded(data: str) -> Any:
    return repeat(codec.decode(data))


def in_a_process(script: str, seed: int, given: str = "") -> Any:
    """Run a script in a process of its own, and return what it prints."""
    environ = {**os.environ, "PYTHONHASHSEED": str(seed)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.promise(number=11)
@pytest.mark.slow
def test_what_comes_back_in_another_process_has_the_same_digest() -> None:
    """Sets are in another order there, and classes that nobody has registered come back as plain data."""
    before = in_a_process(IN_ONE_PROCESS, 1)
    after = in_a_process(IN_ANOTHER, 2, json.dumps(before))
    assert {name: found for name, found in after.items() if found != before[name][0]} == {}
    assert before.keys() == STORABLE.keys()
    assert len({found for found, _ in before.values()}) == len(STORABLE)


@pytest.mark.promise(number=11)
def test_the_type_of_a_field_does_not_hide_the_others() -> None:
    urls = [pydantic.HttpUrl(f"https://{one}.example") for one in "ab"]
    assert len(set(map(digest_of_result, [*urls, *(Place(url=url, note=note) for url in urls for note in "ab")]))) == 6


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("value", [Typed(), [Typed()], {"a": Row((Typed(),))}], ids=["model", "list", "dataclass"])  # type: ignore[arg-type]
def test_a_model_sees_what_pydantic_writes_as_json(value: Any) -> None:
    def seen(one: Any) -> list[str]:  # in whatever order sets are
        data = tool_return_ta.dump_python(one, mode="json", by_alias=True)
        return sorted(json.dumps(data, indent=0, separators=("", ": ")).splitlines())

    again = loaded(stored(value))
    assert seen(again) == seen(value)
    assert "****" in str(again)


OF_A_FUNCTION = """
import json
from zrb_store.agents.runtime.digests import code

def prompt(ctx):
    return "Be kind." if ctx.session.name in {"a", "b", "c", "d", "e", "f"} else "Be brief."

def over(value):
    return lambda ctx: str(value)

made = over({name: 1 for name in {"alice", "bob", "carol", prompt}})
print(json.dumps([code(prompt), code(made)]))
"""


@pytest.mark.slow
def test_a_function_with_a_set_in_its_code_is_the_same_in_another_process() -> None:
    assert in_a_process(OF_A_FUNCTION, 1) == in_a_process(OF_A_FUNCTION, 2)


@pytest.mark.promise(number=11)
def test_digests_are_those_of_other_releases_of_pydantic_ai() -> None:
    """These are what 2.36, 2.54 and 2.61 yield: each has fields of its own, all at their default."""
    request_of_all = request(
        messages=[
            ModelRequest(parts=[SystemPromptPart("Be kind."), UserPromptPart(["Charge.", PICTURE, CachePoint()])]),
            ModelResponse([ThinkingPart("Hm."), TextPart("Yes."), ToolCallPart("charge", {"n": 1}, "c1")]),
            ModelRequest(parts=[ToolReturnPart("charge", {"receipt": [PICTURE, ImageUrl("https://a/b.png")]}, "c1")]),
        ],
        **parameters(native_tools=[WebSearchTool()], instruction_parts=[InstructionPart("Be kind.")]),
    )
    assert request_of_all.messages == ["b9aec4487484", "f51dc20f6459", "d50e8ef7a92d"]
    assert request_of_all.whole == "bd88258ea6aac0e9a0e2a2e2fcfa10c7"


@pytest.mark.promise(number=11)
@pytest.mark.parametrize(("kind", "error"), [("failed", ToolFailed), ("deferred", CallDeferred)])
def test_how_a_call_ended_is_told_again(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        repeat({"kind": kind, "message": "no", "metadata": None})


def test_how_a_call_ended_that_cannot_be_stored_is_left_to_the_step() -> None:
    outcome = {"kind": "approval", "metadata": {"lock": object()}}
    assert encoded(outcome, 1000) is outcome


@dataclasses.dataclass(repr=False)
class LaterPart(ToolReturnPart):
    """A part of a later release of pydantic-ai."""

    citations: list[str] = dataclasses.field(default_factory=list)
    certainty: float | None = None


LaterPart.__module__ = ToolReturnPart.__module__


@pytest.mark.promise(number=11)
@pytest.mark.filterwarnings("ignore:.*RetryPromptPart")
def test_a_retry_that_is_about_no_call_has_no_id_that_counts() -> None:
    """Before 2.61, pydantic-ai makes one for each output that a validator refuses, each time with another id."""
    once, again = (request(messages=[ASK, ModelRequest(parts=[RetryPromptPart("No.")])]) for _ in range(2))
    assert once.whole == again.whole
    of_call = (ModelRequest(parts=[RetryPromptPart("No.", tool_name="charge", tool_call_id=one)]) for one in "ab")
    assert len({request(messages=[ASK, CALL, message]).whole for message in of_call}) == 2


@pytest.mark.promise(number=11)
@pytest.mark.parametrize(
    ("more", "difference"),
    [({}, ""), ({"citations": ["a"]}, "messages[2]"), ({"certainty": 0.5}, "messages[2]")],
)
def test_a_new_field_makes_no_difference_at_its_default(more: dict[str, Any], difference: str) -> None:
    later = request(messages=[ASK, CALL, ModelRequest(parts=[LaterPart("charge", "receipt", "c1", **more)])])
    assert later.difference(request().stored(None), None) == difference
    assert request().difference(later.stored(None), None) == difference
