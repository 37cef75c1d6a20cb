"""The report in a real browser: its parts, the keyboard, screen readers, paper, hostile texts."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.browser.hostile import rich
from tests.page.browser.reports import SERIOUS, demo, faults, write
from tests.page.documents import MARKUP, hostile_session
from tests.support.commands import Commands
from tests.support.scripts import Scripts
from zrb_store import Store, Waiting, wait
from zrb_store.page.card import Card
from zrb_store.page.content import describe
from zrb_store.render.format import preview

Open = Callable[..., Page]
PARTS = ["Timeline", "Data flow", "Queues at a moment", "Values", "Errors and output", "How to continue"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the demo's session."""
    return demo(tmp_path_factory.mktemp("demo"))


def bars(page: Page) -> Any:
    return page.locator("#timeline button.bar")


@pytest.mark.promise(number=14)
def test_every_part_is_there(run: Path, open_file: Open) -> None:
    page = open_file(run)
    expect(page.get_by_role("heading", level=1)).to_have_text("audit-1")
    assert page.get_by_role("heading", level=2).all_inner_texts() == PARTS
    assert page.locator(".headline").inner_text() == "3 tasks completed"
    assert page.locator(".sum").inner_text() == "in 2 runs"
    expect(page.locator("header .picture")).to_contain_text("9 h later")
    assert bars(page).count() == 4
    for part in ("timeline", "flow", "moment", "values"):
        expect(page.locator(f"#{part} .drawing")).to_be_visible()
    for part in ("timeline", "values"):
        expect(page.locator(f"#{part} .as-text")).not_to_have_attribute("open", "")


def test_only_an_attempt_that_was_tried_again_is_pale(run: Path, open_file: Open) -> None:
    page = open_file(run)
    classes = {bar.get_attribute("data-name"): bar.get_attribute("class") for bar in bars(page).all()}
    assert [name for name, of_bar in classes.items() if "faded" in of_bar.split()] == ["report#1"]


def test_pointing_at_a_bar_and_focusing_it_tells_the_same(run: Path, open_file: Open) -> None:
    page = open_file(run)
    failed = page.get_by_role("button", name=re.compile("^report#1 failed, took .+, run 1, "))
    detail = page.locator("#timeline .detail")
    failed.hover()
    pointed = detail.inner_text()
    assert "FileNotFoundError: [Errno 2] No such file or directory: 'reports/audit.md'" in pointed
    assert re.search(r"Started \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} \S+, ended ", pointed)
    page.mouse.move(0, 0)
    expect(detail).to_contain_text("Point at a bar, or move to one with the Tab and arrow keys.")
    failed.focus()
    assert detail.inner_text() == pointed
    page.get_by_role("button", name=re.compile("^find-packages#1 completed, took ")).hover()
    expect(detail).to_contain_text("found ")
    failed.focus()
    page.get_by_role("button", name="Full log").click()
    shown = page.locator("details[data-attempt='report#1'] .traceback")
    expect(shown).to_be_visible()
    expect(shown).to_contain_text("Traceback (most recent call last)")


@pytest.mark.promise(number=18)
def test_a_waiting_attempt_is_hollow(store: Store, tmp_path: Path, open_file: Open) -> None:
    with pytest.raises(Waiting), store.session("s").run() as run, run.attempt("load"):
        wait("approve")
    page = open_file(write(store, "s", tmp_path))
    (bar,) = bars(page).all()
    expect(bar).to_have_attribute("data-status", "waiting")
    swatch = page.locator("#timeline .legend .bar")
    for each in (bar, swatch):
        style = "(bar => { const of = getComputedStyle(bar); return [of.borderTopStyle, of.borderTopColor] })"
        assert each.evaluate(style) == ["dotted", "rgb(128, 96, 0)"]  # --asks, amber


class CmdTaskError(Exception):
    """As zrb raises if a command fails."""


def test_the_drawings_say_of_a_failed_command_only_what_it_said(store: Store, tmp_path: Path, open_file: Open) -> None:
    files = store.session("inbox").xcom["files"]
    files.push("a")
    with contextlib.suppress(CmdTaskError), store.session("s").run() as run, run.attempt("psql"):
        files.pop()
        raise CmdTaskError("no table (exit 2)")
    page = open_file(write(store, "s", tmp_path))
    failed = page.get_by_role("button", name=re.compile("^psql#1 failed, took "))
    assert re.search(r":\d\d[^:]*, no table \(exit 2\)$", failed.get_attribute("aria-label") or "")
    failed.focus()
    expect(page.locator("#timeline .detail .error")).to_have_text("no table (exit 2)")
    inbox = open_file(write(store, "inbox", tmp_path))
    inbox.evaluate("Page.select('inbox/files#1')")
    expect(inbox.locator(".value-detail")).to_contain_text("failed, no table (exit 2)")


def test_output_opens_at_its_end_with_the_error_in_the_heading(
    store: Store, location: str, tmp_path: Path, open_file: Open
) -> None:
    Scripts(tmp_path, location).run("zrb-store", "run", "s", "--", "sh", "-c", "seq 200; exit 3")
    page = open_file(write(store, "s", tmp_path))
    attempt = page.locator("details.attempt")
    expect(attempt.locator("summary")).to_contain_text("sh exited with 3")
    box, first, last = (attempt.locator(one).bounding_box() for one in (".tail", ".line >> nth=0", ".line >> nth=-1"))
    assert box
    assert first
    assert last
    assert first["y"] < box["y"] < last["y"] < box["y"] + box["height"]


def test_arrow_keys_go_from_bar_to_bar(run: Path, open_file: Open) -> None:
    page = open_file(run)
    bars(page).first.focus()
    names = []
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp", "Home", "ArrowUp"):
        page.keyboard.press(key)
        names.append(page.evaluate("document.activeElement.dataset.name"))
    assert names == ["summarize#1", "report#1", "report#2", "summarize#1", "summarize#1", "find-packages#1"]


def clock(page: Page) -> datetime:
    """Return the moment at which the queues are shown."""
    text = page.locator("#moment .clock").inner_text()
    return datetime.fromisoformat(text.removesuffix(" UTC") + "Z")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_press_on_the_timeline_goes_to_that_moment(run: Path, open_file: Open, width: int) -> None:
    page = open_file(run, viewport={"width": width, "height": 800})
    page.locator("#timeline .timeline").scroll_into_view_if_needed()
    place = page.get_by_role("button", name=re.compile("^find-packages#1 completed, took ")).bounding_box()
    lane = page.locator("#timeline .lane .track").last.bounding_box()
    line = page.locator("#timeline .moment-line")
    assert place is not None
    assert lane is not None
    seen = []
    # Below the bar there is nothing in the last lane at this time, and the bar itself is pressed too.
    on_lane, on_bar = (box["y"] + box["height"] / 2 for box in (lane, place))
    for share, y in ((0.25, on_lane), (0.25, on_bar), (0.75, on_bar), (0.75, on_lane)):
        x = place["x"] + place["width"] * share
        page.mouse.click(x, y)
        drawn = line.bounding_box()
        assert drawn is not None
        assert abs(drawn["x"] + drawn["width"] / 2 - x) <= 3
        seen.append(clock(page))
        if y == on_bar:
            page.evaluate("new Promise((done) => setTimeout(done, 300))")  # the press before is forgotten
            assert page.evaluate("Page.addressed()") == "attempt-find-packages#1"
    begun, ended = (
        datetime.fromisoformat(each + "Z")
        for each in re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", page.locator("#timeline .detail").inner_text())
    )
    shares = [(moment - begun) / (ended - begun) for moment in seen]
    assert shares == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.02)
    assert page.locator("#moment .working .chip").all_inner_texts() == ["find-packages#1"]
    page.wait_for_url(f"**#at={seen[-1]:%Y-%m-%dT%H:%M:%S.%fZ}")


def test_enter_on_a_bar_goes_to_its_beginning(run: Path, open_file: Open) -> None:
    page = open_file(run)
    before = clock(page)
    bars(page).first.focus()
    page.keyboard.press("ArrowDown")
    assert clock(page) == before, "only to look at a bar moves nothing"
    page.keyboard.press("Enter")
    expect(page.locator("#moment .said")).to_have_text("summarize#1 began")
    assert page.evaluate("document.activeElement.dataset.name") == "summarize#1"


def test_a_press_on_a_short_bar_means_its_attempt(run: Path, open_file: Open) -> None:
    """It is drawn wider than it lasted, so that it can be pressed."""
    page = open_file(run)
    page.get_by_role("button", name=re.compile("^report#1 failed")).click()
    expect(page.locator("#moment .said")).to_contain_text("report#1")
    page.get_by_role("button", name=re.compile("^report#2 completed")).click()
    expect(page.locator("#moment .said")).to_contain_text("report#2")


def test_a_press_in_a_pause_goes_to_its_nearer_end(run: Path, open_file: Open) -> None:
    page = open_file(run)
    page.locator("#timeline .timeline").scroll_into_view_if_needed()
    fold = page.locator("#timeline .fold-line").bounding_box()
    assert fold is not None
    for share, run_of in ((0.2, "run 1 ended: failed"), (0.8, "run 2 began")):
        page.mouse.click(fold["x"] + fold["width"] * share, fold["y"] + 5)
        expect(page.locator("#moment .said")).to_have_text(run_of)


def test_statuses_differ_by_more_than_colour(run: Path, open_file: Open) -> None:
    page = open_file(run)
    looks = bars(page).evaluate_all(
        "(bars) => bars.map((bar) => [bar.dataset.status, getComputedStyle(bar).backgroundImage.split('(')[0]])"
    )
    assert {tuple(look) for look in looks} == {("completed", "none"), ("failed", "repeating-linear-gradient")}


def test_a_value_is_found_and_opened_by_keyboard(run: Path, open_file: Open) -> None:
    page = open_file(run)
    values = page.get_by_role("grid")
    values.focus()
    page.keyboard.press("ArrowDown")
    detail = page.locator(".value-detail")
    expect(detail.get_by_role("heading", level=3)).to_contain_text("audit-1/find-packages#1")
    expect(values.locator("[aria-selected=true]")).to_have_count(1)
    assert [each.inner_text() for each in detail.locator(".views button").all()] == ["Table", "Tree", "Text"]
    expect(detail.locator(".records thead")).to_contain_text("licence")
    detail.get_by_role("button", name="Tree").click()
    expect(detail.locator(".branch").first).to_be_visible()
    detail.get_by_role("button", name="Text").click()
    expect(detail.locator(".value-text")).to_contain_text('"name": ')
    page.keyboard.press("Tab")
    values.focus()
    page.keyboard.press("End")
    expect(detail.locator(".value-text")).to_have_text("reports/audit.md")
    expect(detail).to_contain_text("zrb xcom get audit-1 report --seq 1")


def test_the_life_of_a_value(run: Path, open_file: Open) -> None:
    page = open_file(run)
    page.evaluate("Page.select('audit-1/summarize#1')")
    rows = [row.inner_text().split("\t") for row in page.locator(".life tbody tr").all()]
    assert [row[1:3] for row in rows] == [
        ["pushed", "summarize#1"],
        ["taken", "report#1"],
        ["given back", "report#1"],
        ["taken", "report#2"],
    ]
    assert rows[2][3].startswith("failed, FileNotFoundError: ")


def test_values_are_searched_and_filtered(run: Path, open_file: Open) -> None:
    page = open_file(run)
    status = page.locator("#values .tools [role=status]")
    page.get_by_label("Search", exact=True).fill("AUDIT.md")
    expect(status).to_have_text("1 of 3 values")
    page.get_by_label("Search", exact=True).fill("")
    page.get_by_label("State", exact=True).select_option("taken")
    expect(status).to_have_text("2 of 3 values")
    page.get_by_label("Queue", exact=True).select_option("summarize")
    expect(page.locator("#values .rows .name")).to_have_text(["summarize#1"])
    page.evaluate("Page.select('audit-1/report#1')")  # elsewhere, a value was chosen that the filter hides
    expect(status).to_have_text("3 values")
    expect(page.locator(".value-detail h3")).to_contain_text("audit-1/report#1")


@pytest.mark.promise(number=14)
def test_the_plan_of_a_resume(run: Path, open_file: Open) -> None:
    plan = open_file(run.with_name("failed.html")).locator("#plan")
    expect(plan.locator("code")).to_have_text(re.compile(r"^cd \S+ && zrb xcom resume audit-1$"))
    expect(plan).to_contain_text("2 tasks kept, 1 to run: report")
    plan.locator("summary").click()
    rows = [row.inner_text().split("\t")[:3] for row in plan.locator("tbody tr").all()]
    assert rows == [
        ["find-packages", "skip", "completed"],
        ["summarize", "skip", "completed"],
        ["report", "run", "failed"],
    ]


@pytest.mark.promise(number=14)
def test_the_text_is_complete_without_javascript(run: Path, open_file: Open) -> None:
    page = open_file(run, java_script_enabled=False)
    assert page.get_by_role("heading", level=2).all_inner_texts() == PARTS
    expect(page.locator(".drawing").first).to_be_hidden()
    timeline = page.locator("#timeline tbody").inner_text()
    assert re.search(r"report#1\tfailed\t1\t\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\t\d+ ms\tFileNotFoundError", timeline), (
        timeline
    )
    values = page.locator("#values").inner_text()
    assert "given back by report#1\ntaken by report#2" in values
    expect(page.locator("#errors .traceback")).to_be_visible()


@pytest.mark.promise(number=14)
@pytest.mark.slow
def test_every_fact_can_be_read_without_javascript(
    store: Store, command: Commands, tmp_path: Path, open_file: Open
) -> None:
    """What is folded opens by a click, which needs no script."""
    rich(store, command)
    told = json.loads(command.ok("show", "etl", "--json"))
    page = open_file(write(store, "etl", tmp_path), java_script_enabled=False)
    for folded in page.locator("details:not([open]) > summary").all():
        folded.click()

    def text(part: str) -> str:
        return re.sub(r"\s+", " ", page.locator(part).inner_text())

    timeline, values, errors = text("#timeline"), text("#values"), text("#errors")
    for task in told["tasks"]:
        steps = {step["id"]: step for step in task.get("steps", ())}
        attempts = {f"{task['task']}#{each['number']}": each for each in task["attempts"]}
        for name, each in (attempts | steps).items():
            error = each["attempts"][-1]["error"] if "attempts" in each else each["error"]
            assert f"{name} {each['status']} " in timeline
            assert error is None or (error["message"] in timeline and error["message"] in errors)
    assert told["runs"][-1]["error"]["message"] in errors
    assert "Traceback (most recent call last)" in errors
    for queue in told["queues"].values():
        assert len(queue["values"]) < 20
        for value in queue["values"]:
            assert f"#{value['seq']} {value['state']} {preview(value['value'])} {value['type']} " in values
    card = Card(describe(store.database, "etl"), "zrb-store")
    assert all(each.text in text("header") for each in card.causes)
    assert all(each.text in text("#plan") for each in card.advice if each.label != "Log")


@pytest.mark.promise(number=14)
def test_paper_begins_with_why_it_failed(store: Store, tmp_path: Path, open_file: Open) -> None:
    """And what was tried again comes after it, and is not as red."""
    with contextlib.suppress(ValueError), store.session("etl").run() as run:
        for task, number in (("enrich", 1), ("load", 2)):
            for _ in range(2):
                with contextlib.suppress(ValueError), run.attempt(task) as attempt:
                    if task == "enrich" and attempt.number > number:
                        attempt.complete()
                    else:
                        raise ValueError(f"no {task}")
        raise ValueError("done")
    page = open_file(write(store, "etl", tmp_path))
    named = page.locator("#errors [data-attempt]")
    assert [each.get_attribute("data-attempt") for each in named.all()] == ["load#2", "load#1", "enrich#1"]
    red, gray, other = (each.locator(".why").evaluate("(why) => getComputedStyle(why).color") for each in named.all())
    assert red != gray == other

    def tops() -> list[float]:
        boxes = [page.locator(part).bounding_box() for part in ("#errors", "#timeline", "#flow", "#plan")]
        return [box["y"] for box in boxes if box]

    assert tops().index(min(tops())) == 1
    page.emulate_media(media="print")
    assert tops() == sorted(tops())


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_serious_for_a_screen_reader(run: Path, open_file: Open, width: int) -> None:
    page = open_file(run, viewport={"width": width, "height": 900}, reduced_motion="reduce")
    bars(page).nth(2).focus()
    page.evaluate("Page.select('audit-1/find-packages#1')")
    for details in page.locator("details.as-text").all():
        details.evaluate("(each) => { each.open = true; }")
    serious = [
        (fault["scheme"], fault["id"], [node["target"] for node in fault["nodes"]])
        for fault in faults(page)
        if fault["impact"] in SERIOUS
    ]
    assert serious == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.promise(number=14)
def test_the_tab_key_reaches_everything(run: Path, open_file: Open) -> None:
    page = open_file(run)
    page.evaluate("Page.select('audit-1/find-packages#1')")
    everything = page.evaluate(
        """() => {
            const all = document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']");
            window.wanted = [...all].filter((each) => each.tabIndex >= 0 && each.checkVisibility());
            return window.wanted.length;
        }"""
    )
    assert everything > 15
    reached = set()
    for _ in range(everything + 5):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("window.wanted.indexOf(document.activeElement)"))
    assert reached - {-1} == set(range(everything))


def test_times_are_those_of_the_reader(run: Path, open_file: Open) -> None:
    page = open_file(run, timezone_id="Asia/Kolkata")
    time = page.locator("header time").first
    local, utc = time.inner_text(), time.get_attribute("title")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d GMT\+5:30", local)
    assert str(utc).endswith(" UTC")
    assert local[14:19] != str(utc)[14:19]


def test_paper_gets_the_whole_text(run: Path, open_file: Open) -> None:
    page = open_file(run)
    hints = page.get_by_text(re.compile("^(Point at|Link to) "))  # what only a screen can do
    expect(hints.filter(visible=True)).to_have_count(3)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    expect(hints.filter(visible=True)).to_have_count(0)
    expect(page.locator("#values .as-text table").first).to_be_visible()
    expect(page.get_by_label("Search", exact=True)).to_be_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(page.locator("#values .as-text")).not_to_have_attribute("open", "")


@pytest.mark.parametrize("paper", [794, 559])  # the width of A4 and A5
def test_nothing_runs_over_the_edge_of_the_paper(run: Path, open_file: Open, paper: int) -> None:
    """A page is drawn for the screen, and its width is another one on paper."""
    page = open_file(run)
    place = "bar.offsetLeft / bar.parentElement.offsetWidth"
    bar_places = f"[...document.querySelectorAll('button.bar')].map((bar) => {place})"
    on_screen = page.evaluate(bar_places)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    # All at once: on paper nothing is drawn anew for the other width.
    wide, on_paper = page.evaluate(
        f"""(paper) => {{
            document.documentElement.style.width = `${{paper}}px`;
            const all = [...document.querySelectorAll("main *:not(svg *)")];
            const wide = all.filter((each) => each.getBoundingClientRect().right > paper + 1);
            return [wide.map((each) => each.outerHTML.slice(0, 80)), {bar_places}];
        }}""",
        paper,
    )
    assert wide == []
    assert on_paper == pytest.approx(on_screen, abs=0.01)


@pytest.mark.promise(number=14)
def test_hostile_texts_are_shown_and_do_nothing(store: Store, tmp_path: Path, open_file: Open) -> None:
    hostile_session(store)
    page = open_file(write(store, "s", tmp_path))
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.locator("#values [role=grid]").focus()
    for _ in range(4):
        page.keyboard.press("ArrowDown")
        for button in page.locator(".views button").all():
            button.click()
            expect(page.locator(".value-content")).to_contain_text("script>")
    bars(page).first.focus()
    assert page.locator("img, iframe, object, embed").count() == 0
    assert page.evaluate("document.scripts.length") == page.evaluate(
        "document.querySelectorAll('body > script').length"
    )
    expect(page.locator("#timeline .detail")).to_contain_text(MARKUP)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\u2028\ud800-\udfff]", page.inner_text("body"))
    assert "\\u202eevil" in page.inner_text("#values .rows")
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("document.documentElement.scrollWidth === 390")  # what is drawn follows
