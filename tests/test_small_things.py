"""Small functions at their less usual arguments."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import struct
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.engine import make_url

from tests.commands import Commands
from zrb_store import Store, UnencodableValue, Waiting, register_codec
from zrb_store.codec import Undecodable, decode, encode
from zrb_store.codec.arguments import call_text
from zrb_store.db.location import store_url
from zrb_store.errors import waiting_in
from zrb_store.local_time import rounded
from zrb_store.masking import MASK, mask_named
from zrb_store.queries.waits import awaited
from zrb_store.render import format as form


@pytest.mark.parametrize(
    ("count", "text"), [(5, "5 B"), (2048, "2.0 KiB"), (3 * 2**20, "3.0 MiB"), (3 * 2**30, "3.0 GiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert form.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(30, "30 s"), (240, "4 min"), (7200, "2 h"), (200_000, "2 d")])
def test_lengths_of_time(seconds: int, text: str) -> None:
    assert rounded(seconds * 1_000_000) == text


def test_a_text_in_two_parts_is_one_text() -> None:
    """JSON would read two surrogates beside each other as one character, so they are stored apart."""
    assert form.single_text({"$": "str", "v": ["\ud83d", "\ude00"]}) == "\ud83d\ude00"


def test_pairs_with_secret_names_are_masked_and_what_is_no_pair_is_kept() -> None:
    tree = {"$": "dict", "v": [["password", "x"], ["name", "a"], ["password"]]}
    assert mask_named(tree) == {"$": "dict", "v": [["password", MASK], ["name", "a"], ["password"]]}


def test_arguments_whose_names_are_no_texts_are_shown_as_they_are_stored() -> None:
    assert call_text('[[],{"$":"dict","v":[[1,2]]}]') == '[[],{"$":"dict","v":[[1,2]]}]'
    assert call_text('[[7],{"mode":"fast"}]') == '7, mode="fast"'


def test_a_group_waits_if_it_has_nothing_else() -> None:
    waiting, nested = Waiting("mail"), Waiting("mail")
    assert waiting_in(BaseExceptionGroup("both", [waiting, ValueError()])) is None
    assert waiting_in(BaseExceptionGroup("both", [BaseExceptionGroup("one", [nested])])) is nested


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("url", "file", "query"),
    [
        ("sqlite:////tmp/a%20b.db", "/tmp/a b.db", {}),
        ("sqlite:////tmp/a.db?cache=shared", "/tmp/a.db", {"cache": "shared"}),
    ],
)
def test_urls_of_files_that_sqlalchemy_reads(url: str, file: str, query: dict[str, str]) -> None:
    found = store_url(url)
    assert (found.database, dict(found.query)) == (file, query)


def test_the_url_of_a_file_with_an_odd_name_leads_to_it(tmp_path: Path) -> None:
    found = store_url(tmp_path / "100%.db")
    assert make_url(found.render_as_string()).database == str(tmp_path / "100%.db")


def test_a_report_has_what_a_value_was_and_may_go_nowhere(command: Commands, store: Store) -> None:
    store.session("s").xcom["rows"].push("first")
    assert command("replace", "s/rows#1", '"second"').code == 0
    assert "first" in command.ok("report", "s")
    command.ok("report", "s", "-o", "/dev/null")


@pytest.mark.parametrize("deadline", ['"soon"', "1e9", str(10**30)])
def test_a_wait_whose_deadline_is_damaged_is_none(deadline: str) -> None:
    assert awaited("wait mail", '[["mail"],{"deadline":5,"say":null}]') is not None
    assert awaited("wait mail", f'[["mail"],{{"deadline":{deadline},"say":null}}]') is None


def test_a_time_zone_without_a_name_cannot_be_stored() -> None:
    zone = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbb", 0, 0, 0) + b"UTC\0"
    with pytest.raises(UnencodableValue, match="it has no key"):
        encode(ZoneInfo.from_file(io.BytesIO(zone)))


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
    tree = {"$": "enum", "type": tree["type"], "name": "A", "v": 1}
    assert isinstance(decode(json.dumps(tree)), Undecodable)


@pytest.mark.on_sqlite
def test_a_session_of_the_web_server_is_not_stopped_alone(command: Commands, store: Store, location: str) -> None:
    with store.session("s").run():
        with contextlib.closing(sqlite3.connect(location)) as database, database:
            database.execute("UPDATE zrb_run SET origin = 'web'")
        assert "which would also end: nothing was stopped" in command("stop", "s").err
