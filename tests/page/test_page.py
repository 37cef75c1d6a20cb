"""The live pages: what they show is what the commands say, and they only read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.page.pages import Pages, raw, request
from tests.support.commands import Commands
from tests.support.sessions import etl, inbox
from zrb_store import Store, open_store
from zrb_store.db import REVISION

HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def pages(location: str) -> Iterator[Pages]:
    """The pages of the store."""
    made = Pages(location)
    yield made
    made.close()


# -- a session


@pytest.mark.on_sqlite
def test_the_page_of_a_session(filled: Store, pages: Pages) -> None:
    answer = pages("/session/etl-24")
    assert ">etl-24</h1>" in answer.text
    assert "no column &#39;price&#39;" in answer.text
    assert 'id="description"' in answer.text


@pytest.mark.promise(number=16)
@pytest.mark.on_sqlite
def test_a_session_as_data_is_what_show_says(filled: Store, pages: Pages, command: Commands) -> None:
    assert command.ok("show", "etl-24", "--format", "json") == pages("/session/etl-24?format=json").text + "\n"


@pytest.mark.on_sqlite
@pytest.mark.parametrize(("asked", "full"), [("@last", "etl-25"), ("@last-failed", "etl-24"), ("inb", "inbox")])
def test_a_name_in_short_leads_to_the_address_of_the_session(
    filled: Store, pages: Pages, asked: str, full: str
) -> None:
    assert pages(f"/session/{asked}", status=303).headers["location"] == f"../session/{full}"


@pytest.mark.on_sqlite
def test_a_session_that_does_not_exist(filled: Store, pages: Pages) -> None:
    assert "there is no session &#39;etl-26&#39;" in pages("/session/etl-26", status=404).text
    assert "is the beginning of several sessions" in pages("/session/etl-2", status=400).text
    assert "There is no such page" in pages("/nix/nix", status=404).text


@pytest.mark.on_sqlite
def test_a_session_with_any_name_has_a_page(store: Store, pages: Pages) -> None:
    for name in ("a:b+c_d.e", "..", ".", "2026-11-26T10:00"):
        store.session(name).xcom["q"].push(1)
    for link in [link for link in pages("/").links if link.startswith("./session")]:
        assert pages(link.removeprefix(".").replace("%2B", "+")).status == 200
    assert [link for link in pages("/").links if "session?name=.." in link]


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.promise(number=16)
def test_nothing_from_the_store_is_markup(store: Store, pages: Pages) -> None:
    session = store.session("hostile")
    with contextlib.suppress(ValueError), session.run(task=HOSTILE, project=f"/srv/{HOSTILE}") as run:
        session.xcom[HOSTILE].push({HOSTILE: HOSTILE})
        with run.attempt(HOSTILE):
            raise ValueError(HOSTILE + "\u202e\x1b[31m\ud800")
    store.session("other").xcom[HOSTILE].push(["\ud800", HOSTILE])
    for target in (
        "/",
        f"/?name={quote(HOSTILE)}&task={quote(HOSTILE)}&project={quote(HOSTILE)}",
        f"/?since={quote(HOSTILE)}",
        "/session/hostile",
        f"/session/{quote(HOSTILE, safe='')}",
        "/queues",
        "/stats",
        f"/stats?task={quote(HOSTILE)}",
        "/compare?a=hostile&b=other",
        f"/compare?a={quote(HOSTILE)}",
    ):
        text = request(pages.app, target).text
        assert "<script>alert" not in text, target
        shown = re.sub('<script type="application/json".*?</script>', "", text)  # scripts escape what they show of it
        assert "\x1b" not in shown
        assert "\u202e" not in shown


# -- the others


@pytest.mark.promise(number=16)
@pytest.mark.on_sqlite
def test_the_comparison_is_what_diff_says(filled: Store, pages: Pages, command: Commands) -> None:
    said = command("diff", "etl-24", "etl-25", "--format", "json").out
    assert said == pages("/compare?a=etl-24&b=etl-25&format=json").text + "\n"
    text = pages("/compare?a=etl-24&b=etl-25").text
    for difference in pages("/compare?a=etl-24&b=etl-25&format=json").json["differences"]:
        assert f"<code>{difference['path']}</code>".replace("'", "&#39;").replace('"', "&#34;") in text


@pytest.mark.on_sqlite
def test_two_ticked_sessions_are_compared_the_older_one_first(filled: Store, pages: Pages) -> None:
    answer = pages("/compare?session=etl-25&session=etl-24", status=303)
    assert answer.headers["location"] == "./compare?a=etl-24&b=etl-25"
    assert 'value="etl-25"' in pages("/compare?session=etl-25").text


@pytest.mark.on_sqlite
def test_compare_says_that_two_sessions_are_equal(filled: Store, pages: Pages) -> None:
    assert "Their values are equal." in pages("/compare?a=etl-24&b=etl-24").text
    assert "Give two names" in pages("/compare").text
    pages("/compare?a=etl-24&b=nix", status=404)


@pytest.mark.on_sqlite
def test_queues_tell_what_is_live_held_and_dead(store: Store, pages: Pages) -> None:
    files = store.session("inbox").xcom["files"]
    files.extend(["a", "b", "c"])
    orders = store.session("orders").xcom["paid"]
    orders.max_deliveries = 1
    orders.push(1)
    orders.push(2, delay=3600)  # which is not live yet
    with contextlib.suppress(ValueError), store.session("w-1").run(task="ship") as run, run.attempt("ship"):
        orders.pop()
        raise ValueError("no paper")
    etl(store, "etl-1", broken=False)  # takes a file in a completed session: that is not held
    with store.session("w-2").run(task="ship") as run, run.attempt("ship"):
        files.pop()
        first, second = pages("/queues?format=json").json
        text = pages("/queues").text
    assert (first["session"], first["dead"], first["live"], first["max_deliveries"]) == ("orders", 1, 0, 1)
    assert first["died_at"] is not None
    assert (second["session"], second["queue"], second["live"], second["held"]) == ("inbox", "files", 1, 1)
    assert [(each["attempt"], each["values"], each["status"]) for each in second["held_by"]] == [
        ("w-2/ship#1", 1, "alive")
    ]
    assert "w-2/ship#1" in text
    assert "1 dead" in text
    assert pages("/queues?format=json").json[1]["held"] == 0


@pytest.mark.on_sqlite
def test_a_session_leads_to_more_values_than_its_page_has(store: Store, pages: Pages) -> None:
    store.session("inbox").xcom["files"].extend(range(5))
    assert "earlier values" not in pages("/session/inbox").text
    few = pages("/session/inbox?values=3")
    more = next(link for link in few.links if "values=" in link)
    assert "#2<" not in few.text
    assert "#2<" in pages(more.removeprefix("..")).text


def test_queues_tell_which_steps_hold_values(night: Store, pages: Pages) -> None:
    (home,) = [each for each in pages("/queues?format=json").json if each["session"] == "inbox"]
    assert home["steps_of_session"][0]["attempt"].startswith("night/convert/")
    assert home["steps_of_session"][0]["status"] == "step of a failed session"


@pytest.mark.promise(number=16)
@pytest.mark.on_sqlite
def test_stats_are_what_the_command_says(filled: Store, pages: Pages, command: Commands) -> None:
    assert command.ok("stats", "--format", "json") == pages("/stats?format=json").text + "\n"
    assert command.ok("stats", "x", "--format", "json") == pages("/stats?task=x&format=json").text + "\n"
    text = pages("/stats?since=1d").text
    assert re.search(r"<noscript>the last 2 runs: 1 completed, 1 failed; the longest took [\d.]+ m?s</noscript>", text)
    assert "failed, load: Broken: no column &#39;price&#39;" in text
    assert '"session":"etl-24","status":"failed"' in text


@pytest.mark.on_sqlite
def test_an_empty_store_says_so(store: Store, pages: Pages) -> None:
    assert "No sessions yet" in pages("/").text
    assert "No session matches" in pages("/?task=x").text
    assert "No runs yet" in pages("/stats").text
    assert "No values are held or dead" in pages("/queues").text


# -- where the pages are


@pytest.mark.on_sqlite
def test_all_links_are_relative_to_where_the_pages_are(filled: Store, pages: Pages) -> None:
    for target in ("/", "/session/etl-24", "/session?name=etl-24", "/queues", "/stats", "/compare?a=etl-24&b=etl-25"):
        for link in pages(target).links:
            assert link.startswith(("./", "../", "#", "data:")), (target, link)
            depth = target.partition("?")[0].count("/") - 1
            assert link.count("../") <= depth, (target, link)


@pytest.mark.on_sqlite
def test_every_file_of_a_page_is_there(filled: Store, pages: Pages) -> None:
    for target in ("/", "/session/etl-24", "/stats"):
        for link in pages(target).links:
            if "static/" in link:
                file = pages("/" + link.lstrip("./"))
                assert file.headers["content-type"].startswith(("text/css", "text/javascript"))
                assert file.text


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    "file", ["../app.py", "..%2fapp.py", "nix.js", "vendor/README.md", "", "%2e%2e/app.py", "//etc/passwd", "x\0"]
)
def test_no_other_file_is_sent(pages: Pages, file: str) -> None:
    pages(f"/static/{file}", status=404)


def test_what_no_database_can_store_is_found_nowhere(filled: Store, pages: Pages) -> None:
    for target in ("/?name=%00", "/?task=%00&project=%00", "/stats?task=%00"):
        assert "etl-24" not in pages(target).text
    for target in ("/session/%00", "/session?name=%00", "/compare?a=%00&b=etl-24"):
        pages(target.replace("%00", "x\0") if "session/" in target else target, status=404)


@pytest.mark.on_sqlite
@pytest.mark.promise(number=16)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_reading_is_allowed(filled: Store, pages: Pages, method: str) -> None:
    for target in ("/", "/session/etl-24", "/static/style.css", "/events", "/nix"):
        answer = request(pages.app, target, method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.on_sqlite
def test_every_answer_has_the_headers_that_protect_a_page(filled: Store, pages: Pages) -> None:
    answers = [pages("/"), pages("/nix", status=404), pages("/static/page.js"), request(pages.app, "/", "POST")]
    for answer in answers:
        assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert answers[0].headers["cache-control"] == "no-store"


@pytest.mark.promise(number=16)
def test_the_pages_write_nothing(tmp_path: Path, sqlite_template: Path) -> None:
    path = tmp_path / "store.db"
    shutil.copy(sqlite_template, path)
    with open_store(path) as store:
        inbox(store, "a.csv")
        etl(store, "etl-24", broken=True)
    before = hashlib.sha256(path.read_bytes()).digest()
    path.chmod(0o400)
    pages = Pages(path)
    for target in ("/", "/session/etl-24", "/queues", "/stats", "/compare?a=etl-24&b=etl-24"):
        pages(target)
    pages.close()
    assert hashlib.sha256(path.read_bytes()).digest() == before


@pytest.mark.on_sqlite
def test_the_tag_of_a_page_differs_only_if_it_has_to_be_drawn_again(filled: Store, pages: Pages) -> None:
    tag = pages("/session/etl-24").headers["etag"]
    pages("/session/etl-24", status=304, If_None_Match=tag)
    filled.session("etl-24").xcom["rows"].push("late")
    assert pages("/session/etl-24", If_None_Match=tag).headers["etag"] != tag


# -- a store that cannot be read


@pytest.mark.promise(number=16)
def test_a_store_that_is_missing_is_shown_as_soon_as_it_is_there(new_location: str) -> None:
    pages = Pages(new_location)
    answer = pages("/", status=503)
    assert "there is no store" in answer.text
    assert 'http-equiv="refresh"' in answer.text
    assert "there is no store" in pages("/?format=json", status=503).json["error"]
    with open_store(new_location) as store:
        store.session("first").xcom["q"].push(1)
    assert pages("/").rows == ["first"]
    pages.close()


@pytest.mark.promise(number=16)
def test_a_store_that_was_upgraded_meanwhile(store: Store, pages: Pages, location: str) -> None:
    pages("/")
    with raw(location) as execute:
        execute("UPDATE zrb_version SET version_num = '9999'")
    assert "revision 9999, unknown to this version" in pages("/", status=503).text
    with raw(location) as execute:
        execute(f"UPDATE zrb_version SET version_num = '{REVISION}'")
    pages("/")


def test_a_file_that_was_deleted_and_made_again(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with open_store(path) as store:
        store.session("old").xcom["q"].push(1)
    pages = Pages(path)
    assert pages("/").rows == ["old"]
    for ending in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{ending}")  # noqa: PTH108
    assert "there is no store" in pages("/", status=503).text
    with open_store(path) as store:
        store.session("new").xcom["q"].push(1)
    assert pages("/").rows == ["new"]
    pages.close()


def test_a_locked_file_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zrb_store.db.patience import Patience

    monkeypatch.setattr(Patience, "read_timeout", 0.05)
    path = tmp_path / "store.db"
    with open_store(path) as store:
        store.session("one").xcom["q"].push(1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("PRAGMA journal_mode = DELETE")
    holder.execute("BEGIN EXCLUSIVE")
    pages = Pages(path)
    assert "is locked by another program" in pages("/", status=503).text
    holder.close()
    assert pages("/").rows == ["one"]
    pages.close()


@pytest.mark.on_sqlite
def test_a_bug_of_ours_is_one_sentence(filled: Store, pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise TypeError("no such thing")

    monkeypatch.setattr("zrb_store.page.pages.summaries", broken)
    answer = pages("/?format=json", status=500)
    assert answer.json == {"error": "internal error, please report it: TypeError: no such thing"}
