"""What `show` leaves out and says so, what it watches, and the timeline it draws."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.render.screens.store import fill
from tests.support.commands import Commands
from tests.support.terminals import Screen, await_screen, drawn, shown_on_terminal, terminal
from zrb_store import Store, open_store
from zrb_store.db.tables import attempt, run, value
from zrb_store.records import iso
from zrb_store.render.document import Line
from zrb_store.render.printing import _first_followed

pytestmark = pytest.mark.on_sqlite


def shown_seqs(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"^  +#(\d+) ", text, re.MULTILINE)]


class TestLongQueues:
    """Of a queue with more than 20 values, those that matter are shown; of an earlier moment the last 20."""

    @pytest.fixture
    def queue(self, store: Store) -> str:
        files = store.session("s").xcom["files"]
        files.extend(range(1, 2001))
        with store.session("w").run() as its_run, its_run.attempt("load"):
            for _ in range(600):
                files.pop()
        del files[2]
        store.session("s").xcom["few"].extend(range(20))
        return "files"

    def test_the_next_value_is_shown(self, command: Commands, queue: str) -> None:
        text = command.ok("show", "s")
        assert "Queue files: 1,399 live of 2,000\n" in text
        assert "  1,999 other values are not shown (1,398 live, 600 taken, 1 removed): --all shows them\n" in text
        assert shown_seqs(text) == [601, *range(1, 21)]
        assert text.count("not shown") == 1, "a queue of 20 values is shown whole"

    @pytest.mark.slow
    @pytest.mark.parametrize("more", [["--all"], ["--full"]])
    def test_all_are_shown_if_asked_for(self, command: Commands, queue: str, more: list[str]) -> None:
        text = command.ok("show", "s", queue, *more)
        assert shown_seqs(text) == [*range(1, 2001)]
        assert "not shown" not in text

    def test_programs_get_all_values_of_a_long_queue(self, command: Commands, queue: str) -> None:
        document = json.loads(command.ok("show", "s", "--format", "json"))
        assert [len(document["queues"]["files"][part]) for part in ("values", "live")] == [2000, 1399]
        assert len(command.ok("show", "s", queue, "--format", "jsonl").splitlines()) == 2000
        assert len(command.ok("show", "s", queue, "--format", "value").splitlines()) == 1399

    def test_with_live_the_newest_live_values_are_shown(self, command: Commands, queue: str) -> None:
        text = command.ok("show", "s", queue, "--live")
        assert "  1,379 earlier values are not shown (1,379 live): --all shows them\n" in text
        assert shown_seqs(text) == [*range(1981, 2001)]

    def test_at_an_earlier_moment(self, command: Commands, store: Store, queue: str) -> None:
        first_taken = store.database.execute(sa.select(sa.func.min(value.c.ended_at)))[0][0]
        text = command.ok("show", "s", queue, "--at", str(iso(first_taken - 1)))
        assert "Queue files: 2,000 live of 2,000\n" in text
        assert "  1,980 earlier values are not shown (1,980 live): --all shows them\n" in text
        assert shown_seqs(text) == [*range(1981, 2001)]

    def test_one_value_is_hidden(self, command: Commands, store: Store) -> None:
        store.session("s").xcom["q"].extend(range(21))
        assert "  1 earlier value is not shown (1 live): --all shows it\n" in command.ok("show", "s", "--live")

    def test_with_dead_the_newest_dead_values_are_shown(self, command: Commands, store: Store) -> None:
        queue = store.session("s").xcom["q"]
        queue.max_deliveries = 1
        queue.extend(range(25))
        with contextlib.suppress(RuntimeError), store.session("w").run() as its_run, its_run.attempt("load"):
            for _ in range(25):
                queue.pop()
            raise RuntimeError
        text = command.ok("show", "s", "--dead")
        assert "Queue q: 25 dead, at most 1 delivery\n" in text
        assert "  5 earlier values are not shown (5 dead): --all shows them\n" in text
        assert text.count("dead after 1 delivery") == 20
        at = command.ok("show", "s", "--dead", "--at", "2100-01-01")
        assert "  5 earlier values are not shown (5 dead): --all shows them\n" in at
        assert shown_seqs(at) == [*range(6, 26)]

    def test_returns_belong_to_the_values_that_are_shown(self, command: Commands, store: Store) -> None:
        queue = store.session("s").xcom["q"]
        queue.extend(range(22))
        with contextlib.suppress(RuntimeError), store.session("w").run() as its_run, its_run.attempt("load"):
            for _ in range(22):
                queue.pop()
            raise RuntimeError
        text = command.ok("show", "s", "--live")
        assert text.count("given back by w/load#1") == 20
        assert shown_seqs(text) == [*range(3, 23)]


class TestWhyItFailed:
    """The last screen of `show` says it, and what was tried again is less than what failed in the end."""

    @pytest.fixture
    def failed(self, store: Store) -> None:
        with contextlib.suppress(OSError), store.session("etl").run(task="publish") as its_run:
            for number in range(12):
                its_run.task(f"fetch-{number}", int)
            for error in (ValueError("the server was busy"), None):
                with contextlib.suppress(ValueError), its_run.attempt("enrich"):
                    if error:
                        raise error
            for task in ("load-eu", "load-us"):
                for number in (1, 2):
                    with contextlib.suppress(ValueError), its_run.attempt(task):
                        raise ValueError(f"no column {task}, try {number}")
            with contextlib.suppress(KeyboardInterrupt), its_run.attempt("mail"):
                raise KeyboardInterrupt
            raise OSError("the disk is full")

    def test_the_last_screen_names_each_failed_task_and_its_error(self, location: str, failed: None) -> None:
        shown = shown_on_terminal(["show", "etl"], 80, {"ZRB_STORE_URL": location})
        lines = drawn(shown, 80)
        assert len(lines) > 40
        end = "\n".join(lines[-10:])
        assert "Failed:   load-us#2: ValueError: no column load-us, try 2\n" in end
        assert "Failed:   load-eu#2: ValueError: no column load-eu, try 2\n" in end
        assert "Error:    OSError: the disk is full\n" in end
        assert end.index("load-us#2") < end.index("load-eu#2") < end.index("\nError:") < end.index("\nResume:")
        assert not re.search(r"try 1|busy|Interrupted", end)

    def test_what_was_tried_again_is_faded(self, location: str, failed: None) -> None:
        shown = shown_on_terminal(["show", "etl"], 120, {"ZRB_STORE_URL": location}).decode()
        final, retried = (next(line for line in shown.splitlines() if name in line) for name in ("us#2", "enrich#1"))
        assert "\x1b[1;31mfailed" in final
        assert "\x1b[2mfailed" in retried

    def test_few_of_many_failed_tasks_are_named(self, command: Commands, store: Store) -> None:
        with contextlib.suppress(OSError), store.session("etl").run() as its_run:
            for number in range(9):
                with contextlib.suppress(ValueError), its_run.attempt(f"load-{number}"):
                    raise ValueError
            raise OSError
        text = command.ok("show", "etl")
        assert re.findall(r"^Failed: +(.*)", text, re.MULTILINE) == [
            *(f"load-{number}#1: ValueError" for number in (8, 7, 6, 5, 4)),
            "and 4 more",
        ]
        assert "and 4 more\nError:    OSError\n" in text

    def test_few_of_many_interrupted_tasks_are_named(self, command: Commands, store: Store) -> None:
        with contextlib.suppress(KeyboardInterrupt), store.session("etl").run() as its_run:
            for number in range(7):
                with contextlib.suppress(KeyboardInterrupt), its_run.attempt(f"load-{number}"):
                    raise KeyboardInterrupt
            raise KeyboardInterrupt
        *named, more = re.findall(r"^Interrupted: +(.*)", command.ok("show", "etl"), re.MULTILINE)
        assert (len(named), more) == (5, "and 2 more")

    def test_of_what_was_only_interrupted_all_is_named(self, command: Commands, store: Store) -> None:
        with contextlib.suppress(KeyboardInterrupt), store.session("etl").run() as its_run, its_run.attempt("load"):
            raise KeyboardInterrupt
        assert "Interrupted:  load#1: KeyboardInterrupt\n" in command.ok("show", "etl")


def test_the_part_of_a_long_screen_that_runs_is_followed() -> None:
    lines: list[Line] = [[(str(number), "cyan" if number in (0, 70) else "")] for number in range(100)]
    assert [_first_followed(lines[:end], 20) for end in (20, 60, 75, 100)] == [0, 0, 55, 56]


class TestWatching:
    """`show --watch` on a terminal that is too low for all lines."""

    @pytest.mark.slow
    def test_what_is_cut_off_and_how_long_it_has_run(self, location: str) -> None:
        with open_store(location) as store:
            its_run = store.session("s").run().start()
            for number in range(9):
                its_run.begin(f"part-{number}").complete(number)
            its_run.begin("load")
        variables = {"ZRB_STORE_URL": location, "PYTHONUTF8": "1"}
        with terminal(["show", "s", "--watch"], 80, 24, variables) as (process, master):
            screen = Screen(80, 24)
            lines = await_screen(master, screen, lambda lines: "more line" in lines[-1])
            hidden = re.fullmatch(
                r"(\d+) more lines below: enlarge the terminal, or press Ctrl-C to end and print all", lines[-1]
            )
            assert hidden, lines[-1]
            load = next(line for line in lines if line.startswith("load#1"))
            assert re.fullmatch(r"load#1 +running +1 +\S+ +\d+.* (ms|s)", load)
            (first,) = (line for line in lines if line.startswith("Running  for "))
            await_screen(
                master, screen, lambda lines: first not in lines and any(line[:8] == "Running " for line in lines)
            )
            os.killpg(process.pid, signal.SIGINT)
            printed = b""
            while chunk := _read_all(master):
                printed += chunk
            assert process.wait() == 0
        whole = printed.rpartition(b"\x1b[?1049l")[2].decode().splitlines()
        assert len(whole) == 23 + int(hidden[1])

    @pytest.mark.slow
    def test_a_terminal_that_is_high_enough(self, location: str) -> None:
        with open_store(location) as store:
            its_run = store.session("s").run().start()
            its_run.begin("load")
        with terminal(["show", "s", "--watch"], 80, 11, {"ZRB_STORE_URL": location}) as (process, master):
            lines = await_screen(master, Screen(80, 11), lambda lines: lines[-1].startswith("Log:"))
            assert not any("more line" in line for line in lines)
            process.kill()


def _read_all(master: int) -> bytes:
    with contextlib.suppress(OSError):
        return os.read(master, 65536)
    return b""


def test_a_run_is_shown_with_its_elapsed_time(command: Commands, store: Store) -> None:
    its_run = store.session("s").run().start()
    its_run.begin("load")
    hour = int(timedelta(hours=1) / timedelta(microseconds=1))
    for table in (run, attempt):
        store.database.execute(sa.update(table).values(started_at=table.c.started_at - hour))
    text = command.ok("show", "s")
    assert re.search(r"^Running  for 1 h", text, re.MULTILINE)
    assert re.search(r"^  load#1 +running +1 +\S+ +1 h", text, re.MULTILINE)


class TestTimeline:
    """`show --timeline`, on terminals also in `tests/render/screens`."""

    @pytest.fixture
    def etl(self, store: Store) -> None:
        fill(store)

    def bars(self, text: str) -> dict[str, str]:
        """Return the bars by label, of each row of the same characters one."""
        found = re.findall(r"^  (\S+(?: \d+)?|  page \d) +([=x>!?: ]*?) +(\S+ \S+|skipped|lost)$", text, re.MULTILINE)
        return {label.strip(): re.sub(r"(.)\1*", r"\1", bars) for label, bars, _ in found}

    def test_a_timeline_in_a_pipe_is_plain_and_narrow(self, command: Commands, etl: None) -> None:
        text = command.ok("show", "etl", "--timeline")
        assert "\x1b" not in text
        assert self.bars(text) == {"extract#1": "= :", "load#1": "x :", "load#2": ": =", "notify": ":"}
        assert text.endswith("= completed   x failed   : a pause of 59 min 40 s   a column is 740 ms\n")
        assert max(map(len, text.splitlines())) <= 80
        assert "Queue" not in text

    @pytest.mark.slow
    def test_steps_are_drawn_if_asked_for(self, command: Commands, etl: None) -> None:
        text = command.ok("show", "etl", "--timeline", "--steps")
        assert list(self.bars(text)) == ["extract#1", "page 0", "page 1", "load#1", "load#2", "notify"]

    def test_what_runs_is_drawn_to_now(self, command: Commands, store: Store) -> None:
        its_run = store.session("s").run().start()
        its_run.begin("first").complete(1)
        its_run.begin("load")
        text = command.ok("show", "s", "--timeline")
        line = next(line for line in text.splitlines() if line.startswith("  load#1"))
        assert re.fullmatch(r"  load#1 +>+ +\d+.* (ms|s)", line)
        assert "> running" in text
        its_run.end("failed")

    def test_at_an_earlier_moment(self, command: Commands, etl: None) -> None:
        text = command.ok("show", "etl", "--timeline", "--at", "after:load#1")
        assert ":" not in "".join(self.bars(text).values()), "the second run had not begun"
        assert "load#2" not in text

    def test_what_was_lost_ends_when_its_run_was_last_seen(self, command: Commands, store: Store) -> None:
        its_run = store.session("s").run().start()
        its_run.begin("load")
        for column in (run.c.started_at, run.c.lease_expires_at, attempt.c.started_at):
            day = int(timedelta(days=1) / timedelta(microseconds=1))
            store.database.execute(sa.update(column.table).values({column.name: column - day}))
        store.database.execute(sa.update(run).values(boot_id="another", host="elsewhere"))
        text = command.ok("show", "s", "--timeline")
        assert re.search(r"^  load#1 +\?+ +lost$", text, re.MULTILINE)
        assert "a pause" not in text

    @pytest.mark.parametrize("columns", ["20", "50", "80", "120", "200"])
    def test_a_timeline_of_many_runs_fits_the_terminal(
        self, command: Commands, store: Store, monkeypatch: pytest.MonkeyPatch, columns: str
    ) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        hour = int(timedelta(hours=1) / timedelta(microseconds=1))
        for _ in range(40):
            with contextlib.suppress(RuntimeError), store.session("s").run() as its_run, its_run.attempt("load"):
                raise RuntimeError
        for table in (run, attempt):
            number = table.c.number * sa.literal(hour, sa.BigInteger)
            store.database.execute(sa.update(table).values(started_at=number, ended_at=number + 1_000_000))
        text = command.ok("show", "s", "--timeline", "--all")
        lines = text.partition("Timeline\n")[2].splitlines()
        assert max(map(len, lines)) <= max(int(columns), 36)
        shown = [line for line in lines if "load#" in line]
        assert [line.count("x") > 0 for line in shown] == [True] * len(shown)
        assert len(shown) == 40 or f"{40 - len(shown)} rows of earlier runs do not fit" in " ".join(text.split())
        assert "load: 30 earlier" in command.ok("show", "s", "--timeline")

    def test_a_timeline_excludes_other_parts_of_show(self, command: Commands, etl: None) -> None:
        for more in (["load"], ["--live"], ["--dead"], ["--format", "json"]):
            result = command("show", "etl", "--timeline", *more)
            assert (result.code, "--timeline draws the tasks" in result.err) == (2, True)

    def test_a_session_without_tasks(self, command: Commands, store: Store) -> None:
        store.session("s").xcom["q"].push(1)
        assert command.ok("show", "s", "--timeline").endswith("Timeline\nThe session has no tasks.\n")


class TestDone:
    """The column TASKS of `list`."""

    def done(self, command: Commands) -> str:
        return command.ok("list").splitlines()[1].partition("a: RuntimeError")[0].split()[-2]

    def test_skipped_tasks_are_done(self, command: Commands, store: Store) -> None:
        with store.session("s").run() as its_run:
            its_run.note_tasks({"a": "not started", "b": "skipped", "c": "skipped"})
            its_run.begin("a").complete(1)
        assert self.done(command) == "3/3"

    def test_not_one_that_failed_or_runs(self, command: Commands, store: Store) -> None:
        its_run = store.session("s").run().start()
        its_run.note_tasks({"a": "skipped", "b": "skipped", "c": "skipped", "d": "not started"})
        its_run.begin("a").complete(1)
        its_run.begin("b").fail(RuntimeError("no"))
        its_run.begin("c")
        assert self.done(command) == "1/4"
        its_run.end("failed")

    def test_one_that_failed_and_was_given_back_before_it_was_skipped(self, command: Commands, store: Store) -> None:
        with contextlib.suppress(RuntimeError), store.session("s").run() as its_run:
            its_run.note_tasks({"a": "not started"})
            with its_run.attempt("a"):
                raise RuntimeError
        assert self.done(command) == "0/1"
        with store.session("s").run() as its_run:
            its_run.note_tasks({"a": "skipped"})
        assert self.done(command) == "1/1"

    def test_a_pinned_session_is_listed_as_such(self, command: Commands, store: Store) -> None:
        store.session("s").xcom["q"].push(1)
        command.ok("pin", "s")
        assert command.ok("list").splitlines()[1].split()[3:5] == ["open,", "pinned"]
        command.ok("unpin", "s")
        assert "pinned" not in command.ok("list")
