"""Queues at a moment: what the page computes is what `show --at` knows, and the slider says and does what it should."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.browser import hostile
from tests.page.browser.reports import SERIOUS, faults, write
from tests.support.attempts import failing
from tests.support.sessions import show
from zrb_store import Store
from zrb_store.codec import encode
from zrb_store.operations.values import pop, push
from zrb_store.queries.by_hand import Change
from zrb_store.records import iso
from zrb_store.render.format import process

# Go through all moments, forwards and then backwards, and return what the page makes of each of them.
LOOK = """async () => {
  const description = await Page.read(document.getElementById("description"));
  const lives = Lives.read(description);
  const player = new Contents.Player(lives);
  const events = new Happenings.Events(lives, player);
  const moments = [...new Set(Array.from(events.at).flatMap((at) => [at - 1, at, at + 1]))].sort((a, b) => a - b);
  const iso = (at) => (at === null ? null : Lives.iso(at));
  const valueAt = (queue, index, at) => {
    const state = Lives.stateAt(queue, index, at);
    const drawn = Contents.WORDS[player.codes[queue.place][index]];
    return { queue: queue.name, seq: queue.seq[index], drawn, ...state, takenAt: iso(state && state.takenAt) };
  };
  const look = (at) => {
    player.seek(at);
    return lives.queues.map((queue) => Array.from(queue.seq, (_, index) => valueAt(queue, index, at))
      .filter((value) => value.drawn !== "absent" || value.state));
  };
  const forwards = moments.map((at) => [Lives.iso(at), look(at).flat()]);
  const backwards = moments.reverse().map((at) => [Lives.iso(at), look(at).flat()]).reverse();
  return {forwards, backwards, texts: Array.from(events.at, (_, event) => events.text(event))};
}"""


def stored(store: Store, session: str, at: str) -> list[dict[str, Any]]:
    """Return what `show --at` knows of the values of a session, in the words of the page."""
    queues = show(store.database, session, at=at)["queues"]
    return [
        {
            "queue": name,
            "seq": value["seq"],
            "state": value["state"],
            "takenAt": value["taken_at"],
            "takenBy": value["taken_by"],
            "takenFrom": by_hand(value["taken_from"]),
            "orphaned": value["orphaned"],
            "failedDeliveries": value["failed_deliveries"],
            "returns": len(value["returns"]),
        }
        for name, queue in queues.items()
        for value in queue["values"]
    ]


def by_hand(change: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what a page is sent of a person and why."""
    return change and {"by": process(Change(at=0, action="", detail=None, **change)), "reason": change["reason"]}


RANDOM = [kind for kind in hostile.SESSIONS if kind.startswith("random")]


@pytest.mark.promise(number=14)
@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.long) if kind in RANDOM[1:] else kind for kind in hostile.SESSIONS]
)
def test_each_moment_is_what_show_at_knows(
    store: Store, kind: str, tmp_path: Path, open_file: Callable[..., Page]
) -> None:
    hostile.SESSIONS[kind](store, "hostile")
    moments = 0
    for record in store.sessions():
        if not store.session(record.name).xcom:
            continue
        page = open_file(write(store, record.name, tmp_path))
        seen = page.evaluate(LOOK)
        assert seen["forwards"] == seen["backwards"]
        assert all(seen["texts"])
        created = iso(store.session(record.name).record().created_at)
        for at, values in seen["forwards"]:
            if at < created:
                continue  # what a fork copied is older than the fork, but there is nothing to show
            drawn = [value.pop("drawn") for value in values]
            assert values == stored(store, record.name, at), f"{record.name} at {at}"
            assert ["taken" if word == "held" else word for word in drawn] == [value["state"] for value in values]
            moments += 1
    assert moments > 20


def at_work(page: Page) -> list[str]:
    return page.locator("#moment .working .chip").all_inner_texts()


def tokens(page: Page, queue: str) -> list[str]:
    """Return the values that are drawn in a queue, with what is said of them."""
    buttons = page.get_by_role("list", name=f"values in {queue}").get_by_role("button")
    return [str(each.get_attribute("aria-label")) for each in buttons.all()]


@pytest.fixture
def slider(store: Store, tmp_path: Path, open_file: Callable[..., Page]) -> Page:
    """The page of a session in which a value comes back, without motions."""
    queue = store.session("etl").xcom["files"]
    queue.extend(["a.csv", "b.csv"])
    with store.session("etl").run() as run:
        failing(run, "load", queue.pop)
        with run.attempt("load") as attempt:
            queue.pop()
            attempt.complete()
    return open_file(write(store, "etl", tmp_path), reduced_motion="reduce")


@pytest.mark.promise(number=14)
def test_the_keyboard_goes_from_event_to_event(slider: Page) -> None:
    said = slider.locator("#moment .said")
    slider.get_by_role("slider", name="Moment").focus()
    slider.keyboard.press("Home")
    expect(said).to_have_text("“a.csv”, “b.csv” were pushed to files outside any task")
    assert tokens(slider, "files") == ["a.csv, files#1, live", "b.csv, files#2, live"]
    told = []
    for _ in range(10):
        slider.keyboard.press("ArrowRight")
        told.append(said.inner_text())
        if told[-1].startswith("load#1 took"):
            assert tokens(slider, "files") == ["a.csv, files#1, held, by load#1", "b.csv, files#2, live"]
            assert at_work(slider) == ["load#1"]
    assert told[:5] == [
        "run 1 began",
        "load#1 began",
        "load#1 took “a.csv” from files",
        "load#1 failed (Broken)",
        "load#1 failed and was given back: “a.csv” came back to its place in files",
    ]
    assert told[-2:] == ["run 1 ended: completed"] * 2  # the last event stays
    assert tokens(slider, "files") == ["b.csv, files#2, live"]
    slider.keyboard.press("PageUp")
    slider.keyboard.press("PageDown")
    expect(said).to_have_text("“a.csv”, “b.csv” were pushed to files outside any task")
    slider.keyboard.press("End")
    expect(slider.locator("#moment .place")).to_have_text("event 10 of 10")
    assert str(slider.get_by_role("slider").get_attribute("aria-valuetext")).endswith("event 10 of 10")


def test_who_pushed_or_took_a_value_in_a_shell_is_named(
    store: Store, tmp_path: Path, open_file: Callable[..., Page]
) -> None:
    push(store.database, "inbox", "files", encode("a.csv"), None)
    pop(store.database, "inbox", "files", None)
    page = open_file(write(store, "inbox", tmp_path))
    slider = page.get_by_role("slider", name="Moment")
    for key, verb in (("Home", "pushed to"), ("End", "taken from")):
        slider.press(key)
        expect(page.locator("#moment .said")).to_have_text(
            re.compile(rf"“a.csv” was {verb} files by \S+, pid {os.getpid()} on \S+$")
        )


@pytest.mark.promise(number=14)
def test_a_link_leads_to_a_moment_and_the_command_shows_the_same(slider: Page, store: Store) -> None:
    slider.get_by_role("slider", name="Moment").focus()
    slider.keyboard.press("Home")
    slider.keyboard.press("ArrowRight")
    command = slider.locator("#moment .commands code").inner_text()
    found = re.fullmatch(r"zrb-store show etl --at (\S+)", command)
    assert found is not None
    slider.wait_for_url(f"**#at={found[1]}")
    assert [value["value"] for value in show(store.database, "etl", at=found[1])["queues"]["files"]["values"]] == [
        "a.csv",
        "b.csv",
    ]
    slider.goto("about:blank")
    slider.go_back()
    expect(slider.locator("#moment .said")).to_have_text("run 1 began")
    slider.evaluate("(at) => { location.hash = `at=${at}`; }", f"{found[1][:17]}59{found[1][19:]}")
    expect(slider.locator("#moment .commands code")).to_contain_text(":59.")


def test_a_delayed_value_is_delayed_at_its_moment(store: Store, tmp_path: Path, open_file: Callable[..., Page]) -> None:
    hostile.delayed(store, "files")
    page = open_file(write(store, "files", tmp_path), reduced_motion="reduce")
    slider = page.get_by_role("slider", name="Moment")
    slider.press("End")
    expect(page.locator("#moment .said")).to_have_text("“soon” became due in files")
    assert tokens(page, "files")[-2:] == ["much later, files#5, delayed", "soon, files#6, live"]
    slider.press("ArrowLeft")
    assert tokens(page, "files")[-2:] == ["much later, files#5, delayed", "soon, files#6, delayed"]
    assert "delayed" in page.locator("#moment .tally[data-state=delayed]").inner_text()


def test_play_goes_to_the_end_and_stops(slider: Page) -> None:
    slider.get_by_role("slider", name="Moment").focus()
    slider.keyboard.press("Home")
    slider.get_by_label("Speed").select_option("16")
    slider.get_by_role("slider", name="Moment").focus()
    slider.keyboard.press("Space")
    expect(slider.get_by_role("button", name="Pause")).to_be_visible()
    expect(slider.locator("#moment .place")).to_have_text("event 10 of 10")
    expect(slider.get_by_role("button", name="Play")).to_be_visible()


def test_a_value_that_is_chosen_is_lit_in_all_parts(slider: Page) -> None:
    slider.get_by_role("slider", name="Moment").focus()
    slider.keyboard.press("Home")
    slider.get_by_role("list", name="values in files").get_by_role("button").first.click()
    assert slider.evaluate("Page.selected") == "etl/files#1"
    expect(slider.locator("#flow .row.lit")).to_have_attribute("aria-label", re.compile(r"^a\.csv \(files#1\)"))
    states = [each.get_attribute("data-state") for each in slider.locator("#moment .life").all()]
    assert states == ["live", "held", "live", "held"]


def test_a_newer_description_keeps_the_moment_and_follows_the_end(slider: Page, store: Store, tmp_path: Path) -> None:
    def draw_anew() -> None:
        text = write(store, "etl", tmp_path).read_text(encoding="utf-8")
        found = re.search(r'<script type="text/plain" id="description">(.*?)</script>', text)
        assert found is not None
        slider.evaluate(
            "async (text) => Page.draw(await Page.read({ textContent: text }), { Timeline, Flow, Moment, Values })",
            found[1],
        )

    place = slider.locator("#moment .place")
    slider.get_by_role("slider", name="Moment").focus()
    slider.keyboard.press("Home")
    slider.keyboard.press("ArrowRight")
    store.session("etl").xcom["files"].push("c.csv")
    draw_anew()
    expect(place).to_have_text("event 2 of 11")
    assert tokens(slider, "files") == ["a.csv, files#1, live", "b.csv, files#2, live"]
    slider.keyboard.press("End")
    assert tokens(slider, "files") == ["b.csv, files#2, live", "c.csv, files#3, live"]
    store.session("etl").xcom["more"].push(1)
    draw_anew()
    expect(place).to_have_text("event 12 of 12")
    assert tokens(slider, "more") == ["1, more#1, live"]
    assert len(slider.locator("#flow .row").all()) == 4


def test_values_come_and_go_with_motions_only_if_they_are_wanted(
    store: Store, tmp_path: Path, open_file: Callable[..., Page]
) -> None:
    hostile.moved_and_back(store, "moved")
    file = write(store, "moved", tmp_path)
    for reduced, moves in (("reduce", False), ("no-preference", True)):
        page = open_file(file, reduced_motion=reduced)
        page.get_by_role("slider", name="Moment").focus()
        page.keyboard.press("Home")
        running = []
        for _ in range(20):
            page.keyboard.press("ArrowRight")
            running.append(
                page.evaluate("() => document.querySelector('#moment .queues').getAnimations({subtree: true}).length")
            )
        assert any(running) is moves
        page.wait_for_function("() => !document.querySelector('[data-leaving]')")


def test_without_javascript_the_text_tells_what_happened(
    store: Store, tmp_path: Path, open_file: Callable[..., Page]
) -> None:
    hostile.poisoned(store, "files")
    page = open_file(write(store, "files", tmp_path), java_script_enabled=False)
    text = page.locator("#values").inner_text()
    assert "delivery 1: files-worker-0/files/files#1" in text
    assert re.search(r"by files-maker/make#\d", text)
    assert "zrb-store show files --at before:TASK#N" in page.locator("#moment").inner_text()


@pytest.mark.promise(number=14)
def test_axe_finds_no_serious_fault(store: Store, tmp_path: Path, open_file: Callable[..., Page]) -> None:
    hostile.poisoned(store, "files")
    page = open_file(write(store, "files", tmp_path), reduced_motion="reduce")
    slider = page.get_by_role("slider", name="Moment")
    slider.focus()
    for key in ("End", "ArrowLeft"):
        slider.press(key)
        page.evaluate("Page.select('files/files#1')")
        for part in ("#flow", "#moment"):
            found = [(fault["scheme"], fault["id"]) for fault in faults(page, part) if fault["impact"] in SERIOUS]
            assert found == [], part
