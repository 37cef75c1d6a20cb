"""The list of the live pages: its filters are those of the command, and its pages hold each session once."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest

from tests.page.pages import Pages, raw
from tests.support.commands import Commands
from tests.support.consumers import two_deaths
from zrb_store import Store, Waiting, wait
from zrb_store.inspect.list import STATUSES, list_sessions
from zrb_store.render.sessions import row_of_session

pytestmark = pytest.mark.long_on_postgresql


@pytest.fixture
def pages(location: str) -> Iterator[Pages]:
    """The pages of the store."""
    made = Pages(location)
    yield made
    made.close()


def many(store: Store, count: int) -> list[str]:
    """Make sessions that only have a queue, and return their names, the newest first."""
    names = [f"s-{number:03}" for number in range(count)]
    for name in names:
        store.session(name).xcom["q"].push(1)
    return names[::-1]


@pytest.mark.promise(number=16)
def test_the_list_shows_what_the_command_lists(filled: Store, pages: Pages, command: Commands) -> None:
    assert pages("/").rows == command.ok("list", "--format", "value").split()
    assert command.ok("list", "--format", "json") == pages("/?format=json").text + "\n"


FILTERS: list[tuple[str, list[str]]] = [
    ("status=failed", ["--status", "failed"]),
    ("failed=1", ["--failed"]),
    ("status=halted", ["--failed"]),
    ("name=etl-*", ["--match", "etl-*"]),
    ("name=etl-[5]*", ["--match", "etl-[5]*"]),
    ("name=tl-2", ["--match", "*tl-2*"]),
    ("task=report", ["--task", "report"]),
    ("project=shop", ["--project", "shop"]),
    ("project=/srv/shop", ["--project", "/srv/shop"]),
    ("since=1h", ["--since", "1h"]),
    ("limit=1", ["--limit", "1"]),
    ("status=open&name=i*", ["--status", "open", "--match", "i*"]),
    ("name=&status=&task=", []),
]


@pytest.mark.slow
@pytest.mark.promise(number=16)
def test_the_filters_of_the_list_are_those_of_the_command(filled: Store, pages: Pages, command: Commands) -> None:
    for words, options in FILTERS:
        listed = command.ok("list", *options, "--format", "value").split()
        listed = [name for name in listed if not name.startswith(("There", "no"))]
        assert (words, pages(f"/?{words}").rows) == (words, listed)
        assert [shape["name"] for shape in pages(f"/?{words}&format=json").json] == listed


@pytest.mark.on_sqlite
def test_every_status_can_be_asked_for(filled: Store, pages: Pages) -> None:
    for status in STATUSES:
        assert {shape["status"] for shape in pages(f"/?status={status}&format=json").json} <= {status}


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    "words", ["status=nix", "since=soon", "limit=0", "limit=x", "status=failed&failed=1", "format=x"]
)
def test_words_that_mean_nothing_are_refused_in_one_sentence(pages: Pages, words: str) -> None:
    answer = pages(f"/?{words}", status=400)
    assert 'id="problem"' in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.promise(number=16)
@pytest.mark.parametrize("words", ["", "status=open", "status=halted", "name=s-", "name=s-*&status=halted", "since=1d"])
def test_each_page_says_how_many_sessions_there_are(store: Store, pages: Pages, words: str) -> None:
    names = many(store, 5)
    for name in names[:3]:
        store.session(name).run().start().end("failed" if name == "s-002" else "interrupted")
    total = len(pages(f"/?{words}").rows)
    assert total in (2, 3, 5)
    assert f">{total} sessions<" in pages(f"/?{words}").text
    first = pages(f"/?{words}&limit=1")
    second = pages(str(first.next()).removeprefix("."))
    assert f">1 of {total} sessions<" in first.text
    assert f">1 of {total} sessions<" in second.text


@pytest.mark.promise(number=16)
def test_pages_of_the_list_hold_each_session_once(store: Store, pages: Pages) -> None:
    names = many(store, 23)
    seen, target = [], "/?limit=5&name=s-*"
    for _ in range(10):
        answer = pages(target)
        seen += answer.rows
        if (following := answer.next()) is None:
            break
        assert following.startswith("./?")
        assert "name=s-" in following
        target = following.removeprefix(".")
    assert seen == names


def test_a_session_made_meanwhile_does_not_move_the_next_page(store: Store, pages: Pages) -> None:
    names = many(store, 6)
    following = pages("/?limit=3").next()
    assert following is not None
    store.session("newer").xcom["q"].push(1)
    assert pages(following.removeprefix(".")).rows == names[3:]


def test_sessions_created_at_the_same_moment_are_on_one_page_each(store: Store, pages: Pages, location: str) -> None:
    names = many(store, 5)
    with raw(location) as execute:
        execute("UPDATE zrb_session SET created_at = 1750000000000000")
    first = pages("/?limit=2")
    following = first.next()
    assert following is not None
    second = pages(following.removeprefix("."))
    assert first.rows + second.rows == names[:4]


@pytest.mark.slow
def test_a_wide_pattern_of_names_gives_the_newest_ones(store: Store, pages: Pages, location: str) -> None:
    with raw(location) as execute:
        execute(
            "INSERT INTO zrb_session (name, status, created_at, created_tick) "
            + " UNION ALL ".join(f"SELECT 's-x{number}', 'open', {number}, 0" for number in range(400))
        )
        for copy in "abc":
            execute(
                f"INSERT INTO zrb_session (name, status, created_at, created_tick) "
                f"SELECT name || '{copy}', status, created_at, created_tick FROM zrb_session "
                "WHERE name LIKE 's-x%' LIMIT 400"
            )
    many(store, 4)
    assert pages("/?limit=4&name=s-*").rows == ["s-003", "s-002", "s-001", "s-000"]
    assert len(pages("/?limit=500&name=s-x*").rows) == 500


@pytest.mark.on_sqlite
def test_the_place_of_a_page_may_be_gone(store: Store, pages: Pages) -> None:
    assert "there is no session nix" in pages("/?before=nix", status=404).text


@pytest.mark.promise(number=16)
def test_pages_of_queues_hold_each_queue_once_those_with_dead_values_first(
    store: Store, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["s-more/files", *(f"{name}/q" for name in many(store, 5)[::-1])]
    two_deaths(store, "s-more")
    assert pages("/queues").rows == wanted
    monkeypatch.setattr("zrb_store.page.pages._MOST", 4)
    first = pages("/queues?name=s-")
    second = pages(f"/{first.next()}".replace("/./", "/"))
    assert (first.rows, second.rows, second.next()) == (wanted[:4], wanted[4:], None)
    assert "4 of 6 queues" in first.text
    assert "ValueError: cannot decode corrupt-22" in first.text
    assert pages("/queues?name=3/").rows == pages("/queues?name=*3/q").rows == ["s-003/q"]
    assert "No queue matches" in pages("/queues?name=nix").text
    assert "is not a number" in pages("/queues?page=0", status=400).text


def test_pages_of_a_comparison(store: Store, pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zrb_store.page.pages._MOST", 2)
    store.session("a").xcom["q"].extend(range(3))
    store.session("b").xcom["q"].extend(range(3, 6))
    first = pages("/compare?a=a&b=b")
    second = pages(f"/{first.next()}".replace("/./", "/"))
    assert "3 differences" in first.text
    assert "3 differences" in second.text
    assert [answer.text.count("<tr data-kind=") for answer in (first, second)] == [2, 1]


@pytest.mark.promise(number=13)
def test_a_worker_is_told_by_its_deliveries(store: Store, pages: Pages, command: Commands) -> None:
    two_deaths(store)
    [row] = [line for line in command.ok("list").splitlines() if line.startswith("worker")]
    assert " failed " in row
    assert " 2/4 " in row
    assert row.endswith("inbox/files: ValueError: cannot decode corrupt-22 (2 of 4 completed)")
    assert "cannot decode corrupt-22 (2 of 4 completed)" in pages("/").text


def test_a_terminal_and_the_page_draw_the_same_row(filled: Store, pages: Pages, command: Commands) -> None:
    """A question that a session waits for is no failure, and has the colour of what waits."""
    with pytest.raises(Waiting), filled.session("asks").run() as run, run.attempt("load"):
        wait("approve")
    command.ok("pin", "asks")
    page = pages("/").text
    for summary in list_sessions(filled.database, with_holders=True):
        row = row_of_session(summary)
        (drawn,) = re.findall(f'<tr data-key="{re.escape(row.name)}">.*?</tr>', page, re.DOTALL)
        cells = [html.unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in re.findall("<td.*?</td>", drawn)]
        assert cells[1:4] == [" ".join([row.status, *row.marks]), row.task, row.project]
        assert cells[5:] == [row.took, row.tasks, row.by]
        (line,) = [each for each in command.ok("list").splitlines() if each.startswith(f"{row.name} ")]
        shown = [row.project, row.task, ", ".join([row.status, *row.marks]), row.took, row.tasks, row.by, row.why]
        assert [text for text in shown if text not in line] == []
        assert not row.why or f'data-status="{"waiting" if row.name == "asks" else "failed"}" title="' in drawn
