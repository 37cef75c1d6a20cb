"""Open pages learn of each commit, by one thread that watches for all of them, and only while there are any."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.support.postgres import DEADLINE, wait_until
from zrb_store import Store, open_store
from zrb_store.db.dialect.sqlite import SQLite
from zrb_store.db.transaction import Transaction
from zrb_store.page.site import PageResponse, ResponseCache
from zrb_store.page.watcher import Watcher
from zrb_store.runtime.waiting import CommitWatcher


@pytest.fixture
def reader(store: Store, location: str) -> Iterator[Store]:
    """The store, opened once more for reading."""
    with open_store(location, read_only=True) as opened:
        yield opened


@pytest.fixture(params=["watched", "not watched"])
def watched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Linux's inotify, and where there is none. PostgreSQL never has it."""
    if request.param == "not watched":
        monkeypatch.setattr(SQLite, "written_file", lambda self: None)


@pytest.mark.slow
@pytest.mark.usefixtures("watched")
def test_each_commit_is_news_once(store: Store, reader: Store) -> None:
    news = CommitWatcher(reader.database)
    for number in range(3):
        store.session("inbox").xcom["q"].push(number)
        assert news.wait(DEADLINE)
        # A commit may be several: the queue was created before its first value. On a server others commit too.
        while reader.database.dialect_name == "sqlite" and news.wait(0.5):
            pass


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)  # on a server others commit too
def test_without_a_commit_there_is_no_news(store: Store, reader: Store) -> None:
    store.session("inbox").xcom["q"].push(1)
    news = CommitWatcher(reader.database)
    assert not news.wait(0.3)
    reader.sessions()
    assert not news.wait(0.3)


@pytest.mark.slow
@pytest.mark.promise(number=16)
@pytest.mark.parametrize("most", [2, 8])  # a watched file is looked at at the end; else a few times a second
@pytest.mark.parametrize("location", ["sqlite", "postgresql"], indirect=True)
def test_a_watcher_that_waits_asks_seldom(
    store: Store, reader: Store, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    if most > 2:
        monkeypatch.setattr(SQLite, "written_file", lambda self: None)
    elif store.database.dialect_name != "sqlite":
        pytest.skip("PostgreSQL has no file")
    store.session("inbox").xcom["q"].push(1)
    news = CommitWatcher(reader.database)
    asked: list[int] = []

    def counted(_: Transaction) -> object:
        asked.append(1)
        return 1  # on a server others commit too

    monkeypatch.setattr(reader.database.dialect, "latest_commit", counted)
    while news.wait(1.0):
        asked.clear()
    assert 1 <= len(asked) <= most


@pytest.mark.usefixtures("watched")
def test_who_waits_is_woken(store: Store, reader: Store) -> None:
    news = CommitWatcher(reader.database)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(news.wait(DEADLINE)))
    thread.start()
    store.session("inbox").xcom["q"].push(1)
    thread.join(DEADLINE)
    assert found == [True]


@pytest.fixture
def watcher(store: Store, location: str) -> Iterator[Watcher]:
    """What watches the store for pages."""
    made = Watcher(location)
    yield made
    made.close()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "zrb-store-watcher"]


@pytest.mark.slow
@pytest.mark.promise(number=16)
def test_all_pages_learn_of_a_change_by_one_thread(store: Store, watcher: Watcher) -> None:
    async def page() -> str:
        mark = watcher.mark
        while (now := await watcher.changed(mark, 0.1)) != mark:  # until nothing comes any more
            assert now is not None
            mark = now
        ready.release()
        while (now := await watcher.changed(mark, DEADLINE)) == mark:
            pass
        assert now is not None
        return now

    async def all_pages() -> list[str]:
        pages = [asyncio.create_task(page()) for _ in range(20)]
        await asyncio.to_thread(lambda: [ready.acquire() for _ in pages])
        assert len(threads()) == 1
        await asyncio.to_thread(store.session("inbox").xcom["q"].push, 1)
        return await asyncio.gather(*pages)

    assert threads() == []  # nobody listens yet
    ready = threading.Semaphore(0)
    marks = asyncio.run(asyncio.wait_for(all_pages(), DEADLINE))
    assert len(marks) == 20
    wait_until(lambda: threads() == [], lambda: "the store is watched although no page is open")


def test_a_page_that_missed_something_is_told_at_once(watcher: Watcher) -> None:
    mark = asyncio.run(watcher.changed("another-1", DEADLINE))
    assert mark is not None
    assert mark != "another-1"


def test_open_pages_are_let_go_when_the_server_ends(watcher: Watcher) -> None:
    async def page() -> str | None:
        threading.Timer(0.1, watcher.close).start()
        mark: str | None = watcher.mark
        while mark is not None:
            mark = await watcher.changed(mark, DEADLINE)
        return mark

    assert asyncio.run(asyncio.wait_for(page(), DEADLINE)) is None
    assert asyncio.run(watcher.changed(watcher.mark, DEADLINE)) is None


def test_open_pages_are_let_go_when_zrbs_server_ends(store: Store, location: str) -> None:
    is_ending = False
    watcher = Watcher(location, lambda: is_ending)

    async def page() -> None:
        nonlocal is_ending
        mark: str | None = watcher.mark
        while mark is not None:
            mark = await watcher.changed(mark, 0.2)
            is_ending = True

    asyncio.run(asyncio.wait_for(page(), DEADLINE))
    assert watcher.is_closed


@pytest.mark.slow
def test_a_store_that_comes_back_is_watched_again(new_location: str) -> None:
    watcher = Watcher(new_location)

    async def page() -> None:
        mark: str | None = watcher.mark
        mark = await watcher.changed(str(mark), DEADLINE)  # it is missing: pages look what is the matter
        await asyncio.to_thread(make)
        while not found:
            mark = await watcher.changed(str(mark), DEADLINE)
            with open_store(new_location, read_only=True) as store:
                found.extend(session.name for session in store.sessions())

    def make() -> None:
        with open_store(new_location) as store:
            store.session("first").xcom["q"].push(1)

    found: list[str] = []
    asyncio.run(asyncio.wait_for(page(), DEADLINE))
    watcher.close()
    assert found == ["first"]


def test_pages_that_show_the_same_share_one_answer() -> None:
    answers, marks, made = ResponseCache(), ["era-1"], []

    def make() -> PageResponse:
        made.append(marks[0])
        return PageResponse(200, b"page", "text/html", '"tag"')

    def ask(key: str = "/") -> PageResponse:
        return answers.get(key, lambda: marks[0], make)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert made == ["era-1"]
    ask("/stats")
    assert len(made) == 2
    marks[0] = "era-2"
    ask()
    ask()
    assert made == ["era-1", "era-1", "era-2"]


def test_without_a_watcher_nothing_is_used_again() -> None:
    made = []

    def make() -> PageResponse:
        made.append(1)
        return PageResponse(200, b"page", "text/html", '"tag"')

    answers = ResponseCache()
    for _ in range(2):
        answers.get("/", lambda: None, make)
    assert len(made) == 2


def test_errors_are_not_used_again() -> None:
    answers = ResponseCache()
    statuses = [503, 200]
    for expected in (503, 200):
        answer = answers.get("/", lambda: "era-1", lambda: PageResponse(statuses.pop(0), b"", "text/html", ""))
        assert answer.status == expected
