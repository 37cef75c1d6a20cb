"""A terminal, JSON, a report and a live page say the same of a session, in the same words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from tests.page.browser.hostile import poisoned
from tests.page.pages import Pages
from tests.support.commands import Commands
from tests.support.sessions import parse
from zrb_store import Store
from zrb_store.page.card import Card
from zrb_store.page.content import describe
from zrb_store.run import RunSpec

_SINCE = re.compile(r"(?<=since )(?:\S+Z|\S+ \S+ UTC)")
_TIMES = re.compile(
    r",? at [\d:-]+(?: [\d:]+)?Z|(?<=: )[\d:-]+(?: [\d:]+)?Z "
)  # a page tells no times of what happened


def rich(store: Store, command: Commands) -> None:
    """Make a session of each kind of attempt and step, and of values that were replaced, dropped, dead, and back."""
    poisoned(store, "etl")
    orders = store.session("etl").xcom["orders"]
    orders.extend(["a", "b", "c"])
    command("replace", "etl/orders#3", '"better"', "--reason", "a typo")
    command("drop", "etl/orders#2", "--reason", "spoiled")
    command("queue", "etl", "orders", "--pause", "--max-deliveries", "3")
    with contextlib.suppress(ValueError), store.session("etl").prepare(RunSpec(task="all", path=["all"])) as run:
        run.task("extract", int)
        with run.attempt("clean") as attempt:
            attempt.step("page 1", lambda: {"rows": 7})
            attempt.complete("clean")
        clean = run.completed("clean")
        assert clean is not None
        run.give_back(clean, "its input changed")
        for _ in range(2):
            with contextlib.suppress(ValueError), run.attempt("load") as attempt:
                attempt.xcom["orders"].pop()
                attempt.step("page 1", lambda: [1, 2])
                attempt.step("charge", lambda: "paid", once=True)
                attempt.step("page 2", int, "no row")
        with contextlib.suppress(KeyboardInterrupt), run.attempt("wait"):
            raise KeyboardInterrupt
        raise ValueError("done")


class _Tables(HTMLParser):
    """The rows of the tables of a page, by the label of the table."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self._parts: list[str] = []
        self._label, self._cell = "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "div" and (label := dict(attrs).get("aria-label")):
            self._label = label
        elif tag == "tr":
            self.rows.setdefault(self._label, []).append([])
        elif tag in ("td", "th"):
            self._cell = ""
        elif tag == "br":
            self._cell += "\n"

    def handle_data(self, data: str) -> None:
        self._cell += data
        self._parts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self._parts))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._label in self.rows:
            self.rows[self._label][-1].append(self._cell.strip())


def blocks(text: str) -> dict[str, list[list[str]]]:
    """Return the rows of the blocks that `show` prints in a pipe, by their titles; lines of a cell are joined."""
    found: dict[str, list[list[str]]] = {}
    for block in text.split("\n\n"):
        title, *lines = block.splitlines()
        rows = found.setdefault(title, [])
        for line in lines:
            cells = re.split(r" {2,}", line.strip())
            if len(cells) == 1 and rows:  # the next line of the last cell
                rows[-1][-1] += f"\n{cells[0]}"
            else:
                rows.append(cells)
    return found


def notes(rows: list[list[str]]) -> dict[str, tuple[str, str]]:
    """Return the status and the note of each row of a table of attempts and steps, by its name."""
    return {row[0]: (row[1], row[5] if len(row) > 5 else "") for row in rows if row[0].lower() != "attempt"}


def lives(rows: list[list[str]]) -> dict[str, str]:
    return {row[0]: _TIMES.sub("", row[-1]) for row in rows if row[0].startswith("#")}


@pytest.fixture
def pages(location: str) -> Iterator[Pages]:
    found = Pages(location)
    yield found
    found.close()


@pytest.mark.slow
def test_readers_say_the_same(command: Commands, store: Store, pages: Pages) -> None:
    rich(store, command)
    shown, told = command.ok("show", "etl", "--full"), parse("show", command.ok("show", "etl", "--json"))
    printed = blocks(shown)
    report, page = (_Tables(text) for text in (command.ok("report", "etl"), pages("/session/etl").text))

    attempts = {f"{task['task']}#{each['number']}": each for task in told["tasks"] for each in task["attempts"]}
    steps = {step["id"]: step for task in told["tasks"] for step in task.get("steps", ())}
    on_terminal = notes(printed["Tasks"])
    assert attempts.keys() | steps.keys() <= on_terminal.keys()
    assert {"given back", "page 2 (2 attempts): ValueError: invalid literal for int() with base 10: 'no row'"} < {
        note for _, note in on_terminal.values()
    }
    for made in (report, page):
        assert notes(made.rows["Attempts"]) == on_terminal
    for name, each in (attempts | steps).items():
        status, note = on_terminal[name]
        error = (each["attempts"][-1] if "attempts" in each else each)["error"]
        assert status == each["status"]
        assert not error or error["message"] in note

    for name, queue in told["queues"].items():
        title = next(each for each in printed if each.startswith(f"Queue {name}: "))
        on_terminal_lives = lives(printed[title])
        assert {f"#{value['seq']}" for value in queue["values"]} == on_terminal_lives.keys()
        for made in (report, page):
            assert lives(made.rows[f"Values of queue {name}"]) == on_terminal_lives
            assert _SINCE.sub("T", title.replace(": ", " ", 1)) in _SINCE.sub("T", made.text)

    card = Card(describe(store.database, "etl"), "zrb-store")
    assert card.helps is not None
    assert (card.cause, card.helps.text) == ("invalid literal for int() with base 10: 'no row'", "zrb xcom resume etl")
    for text in (shown, report.text, page.text):
        assert card.cause in text
        assert card.helps.text in text
