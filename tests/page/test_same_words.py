"""A terminal, JSON, a report and a live page say the same of a session, in the same words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from tests.page.browser.hostile import rich, still_running
from tests.page.pages import Pages, description
from tests.support.attempts import failing
from tests.support.commands import Commands
from tests.support.sessions import parse
from zrb_store import Store, Waiting, wait
from zrb_store.inspect.resume import Decision, PlannedResume, PlannedStep
from zrb_store.page.card import Card
from zrb_store.page.content import Plan, describe
from zrb_store.page.report import report as write_report
from zrb_store.render.plan import plan_table

_SINCE = re.compile(r"(?<=since )(?:\S+Z|\S+ [\d:]+(?: UTC)?)")
_TIMES = re.compile(
    r",? at [\d:-]+(?: [\d:]+)?Z| for [\d.]+ m?s(?= \()|(?<=: )[\d:-]+(?: [\d:]+)?Z "
)  # a page tells no times of what happened


# What stands above an attempt: its name with the one of a step, its status, where and when, and how long it took.
_TITLE = re.compile(r"((?:\S+#|Run )\d+(?: \(.+?\))?) (\w+) (.* \d\d:\d\d:\d\d)Z(, took [\d.]+ m?s)?")
_TITLE_OF_PAGE = re.compile(r"\w+ (?:\S+#|Run )\d+ .*? UTC(?:, took [\d.]+ m?s)?")


class _Tables(HTMLParser):
    """The rows of the tables of a page, by the label of the table; and the lines under which something is folded."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self.folds: list[str] = []
        self._begins: int | None = None  # the line, among the parts
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
        elif tag == "summary":
            self._begins = len(self._parts)

    def handle_data(self, data: str) -> None:
        self._cell += data
        self._parts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self._parts))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._label in self.rows:
            self.rows[self._label][-1].append(self._cell.strip())
        elif tag == "summary":
            self.folds.append(re.sub(r"\s+", " ", "".join(self._parts[self._begins :])).strip())


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


def contents(rows: list[list[str]], first: int) -> dict[str, list[str]]:
    """Return of each value of a table its content, its type and its size."""
    return {row[0]: row[first : first + 3] for row in rows if row[0].startswith("#")}


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

    sent = description(store.database, "etl")
    for task in sent["tasks"]:
        for each in task["attempts"]:
            assert (each["error"] or "") in on_terminal[f"{task['task']}#{each['number']}"][1]
    named = []  # who did something by hand
    for name, queue in told["queues"].items():
        title = next(each for each in printed if each.startswith(f"Queue {name}: "))
        on_terminal_lives = lives(printed[title])
        assert {f"#{value['seq']}" for value in queue["values"]} == on_terminal_lives.keys()
        for made in (report, page):
            rows = made.rows[f"Values of queue {name}"]
            assert lives(rows) == on_terminal_lives
            assert contents(rows, 2) == contents(printed[title], 1)
            assert _SINCE.sub("T", title.replace(": ", " ", 1)) in _SINCE.sub("T", made.text)
        for value in sent["queues"][name]["values"]:
            for each in filter(None, [value["taken_from"], *(each["replaced_by"] for each in value["replaced"])]):
                named.append(each)
                assert f"by {each['by']}: {each['reason']}" in on_terminal_lives[f"#{value['seq']}"]
    assert [each["reason"] for each in named] == ["spoiled", "a typo"]

    card = Card(describe(store.database, "etl"), "zrb-store")
    assert card.helps is not None
    cause, own = (each.text for each in card.causes)
    assert (cause, own, card.helps.text) == (
        "ValueError: invalid literal for int() with base 10: 'no row'",
        "ValueError: done",
        "zrb xcom resume etl",
    )
    assert f"Failed:   load#2: {cause}\nError:    {own}\n" in shown
    for text in (shown, report.text, page.text):
        assert f"load#2: {cause}" in text
        assert own in text
        assert card.helps.text in text
    said = [(f"{each.label}: ", each.text) for each in card.advice if each.label != "Log"]  # a page is the log itself
    assert [label for label, _ in said] == ["Resume: ", "Pending: ", "Steps: ", "Dead: "]
    for label, text in said:
        assert re.search(rf"^{label} *{re.escape(text)}$", shown, re.MULTILINE)
        for made in (report, page):
            assert label + text in made.text


@pytest.mark.slow
def test_a_log_and_a_page_tell_of_the_same_attempts_in_the_same_words(
    command: Commands, store: Store, pages: Pages
) -> None:
    rich(store, command)
    still_running(store, "night")
    reasons = set[str]()
    for session in ("etl", "night"):
        printed = [block.splitlines() for block in command.ok("log", session).split("\n\n")]
        titles = {title: lines[-1] for lines in printed if (title := _TITLE.match(lines[0]))}
        words = {"{1} {0} {2} UTC{3}".format(*title.groups("")) for title in titles}
        reasons |= set(titles.values())
        runs = re.findall(r"^(?:By|Versions) {2,}(.+)$", "\n".join(itertools.chain(*printed)), re.MULTILINE)
        assert len(runs) in (2, 4)
        for made in (command.ok("report", session), pages(f"/session/{session}").text):
            page = _Tables(made)
            assert {found[0] for each in page.folds if (found := _TITLE_OF_PAGE.match(each))} == words
            for text in (*titles.values(), *runs):
                assert text in page.text
    assert {"ValueError: done", "Its process died or lost its lease; no error was recorded."} < reasons


@pytest.mark.on_sqlite
def test_show_and_pages_say_what_a_queue_allows_in_the_same_words(
    command: Commands, store: Store, pages: Pages
) -> None:
    store.session("inbox").xcom["files"].push("a.csv")
    command("queue", "inbox", "files", "--pause", "--max-deliveries", "3")
    title = next(each for each in blocks(command.ok("show", "inbox")) if each.startswith("Queue files: "))
    allowed = _SINCE.sub("T", title).removeprefix("Queue files: 1 live of 1, ")
    assert allowed == "paused since T, at most 3 deliveries"
    _, row = _Tables(pages("/queues").text).rows["Queues"]
    assert _SINCE.sub("T", row[-1]) == allowed
    (queue,) = description(store.database, "inbox")["queues"].values()
    assert allowed.endswith(queue["limit"])  # which a script writes above the queue


def test_stats_and_their_page_say_the_same(filled: Store, command: Commands, pages: Pages) -> None:
    with pytest.raises(Waiting), filled.session("asks").run(task="ask") as run, run.attempt("ask"):
        wait("answers")
    filled.session("asks").xcom["answers"].push("yes")
    with filled.session("asks").run(task="ask") as run, run.attempt("ask") as attempt:
        wait("answers")
        attempt.complete()
    with filled.session("now").run(task="load"):
        titles, *told = [re.split(r" {2,}", line) for line in command.ok("stats").split("\n\n")[0].splitlines()]
        heads, *rows = _Tables(pages("/stats").text).rows["Tasks"]
    assert [each.upper() for each in heads[:-2]] == titles[:-2]
    assert titles[-3] == "WAITED"
    assert [row[0] for row in told if row[-3] != "-"] == ["ask"]
    assert any(row[2] == "1 (1 running)" for row in told)
    for ours, theirs in zip(rows, told, strict=True):
        *numbers, history, failure = theirs
        assert ours[: len(numbers)] == numbers
        assert ours[-2].endswith(history)
        assert " ".join(ours[-1].split()).endswith(failure.partition(": ")[2] or "-")


def test_show_and_pages_name_who_holds_a_value_and_how_often_it_was_delivered(
    command: Commands, store: Store, pages: Pages
) -> None:
    run, queue = still_running(store, "night"), store.session("night").xcom["in"]
    queue.push("comes back")
    failing(run, "fails", queue.pop)
    run.begin("fails").complete()  # what the first attempt took comes back
    command("queue", "night", "in", "--max-deliveries", "3")
    shown = blocks(command.ok("show", "night"))
    told = lives(next(rows for title, rows in shown.items() if title.startswith("Queue in: ")))
    now = {each.rpartition("\n")[2] for each in told.values()}
    assert {"held by works#1 (alive)", "live, delivered 1 of 3"} < now
    for made in (command.ok("report", "night"), pages("/session/night").text):
        assert lives(_Tables(made).rows["Values of queue in"]) == told


def test_show_and_pages_say_that_a_step_of_a_halted_session_holds_values(
    night: Store, command: Commands, pages: Pages
) -> None:
    (held,) = re.findall(r"^Held: +(.+)$", command.ok("show", "inbox"), re.MULTILINE)
    assert held.endswith("come back only if night is resumed with --from convert, or removed")
    for made in (command.ok("report", "inbox"), pages("/session/inbox").text):
        assert f"Held: {held}" in _Tables(made).text


def test_resume_and_a_report_tell_the_same_plan(filled: Store) -> None:
    steps = (
        PlannedStep("load/1", "request 1", "reused", "completed"),
        PlannedStep("load/2", "ask", "stops", "unknown"),
    )
    decisions = [Decision("extract", "skip", "completed", 2), Decision("load", "run", "failed", 1, agent_steps=steps)]
    printed = plan_table(PlannedResume("etl-24", None, {}, decisions), "").rows
    page = write_report(filled.database, "etl-24", "zrb-store", Plan(None, decisions)).decode()
    _, *rows = _Tables(page).rows["Plan of a resume"]
    assert rows == [[cell.strip() for cell in row] for row in printed]
    assert rows[1] == ["load", "run", "failed, 1 step kept"]
