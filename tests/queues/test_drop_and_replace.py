"""`drop` takes values out for good, and `replace` mends them in place; what they were stays known."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tests.support.attempts import acting_as, start
from tests.support.commands import Commands
from tests.support.consumers import deliver, fates
from tests.support.holders import hold_and_die
from tests.support.processes import DEADLINE, Child
from tests.support.rows import all_rows, query, states
from tests.support.sessions import parse
from zrb_store import InvalidArgument, SessionBusy, Store, codec, open_store, step
from zrb_store.inspect.trace import trace
from zrb_store.operations.values import drop, replace
from zrb_store.process import identity
from zrb_store.queries import chunks

pytestmark = pytest.mark.usefixtures("sound")

LONG, LONGER = "ü" * 140_000, "x" * 600_000  # in chunks on both databases: some of one, some of three


@pytest.fixture
def inbox(store: Store) -> Any:
    """A queue with a dead value and two live ones."""
    queue = store.session("inbox").xcom["files"]
    queue.max_deliveries = 2
    queue.extend(["deadly", "b", "c"])
    deliver(store, queue.pop, times=2)
    assert fates(store) == [("deadly", "dead", 2), ("b", "live", 0), ("c", "live", 0)]
    return queue


def swap(store: Store, seq: int, new: Any, why: str | None = None) -> None:
    replace(store.database, f"inbox/files#{seq}", codec.encode(new), why)


def values(command: Commands, *options: str) -> list[Any]:
    """Return the values of the inbox as `show` has them in JSON."""
    shown = parse("show", command.ok("show", "inbox", "--json", *options))
    return list(shown["queues"]["files"]["values"])


class TestDrop:
    def test_it_is_kept_with_who_and_why(self, command: Commands, store: Store, inbox: Any) -> None:
        done = command("drop", "inbox/files#1", "inbox/files#2", "--reason", "no such customer")
        assert (done.code, done.out, done.err) == (0, "", "zrb-store: dropped 2 values\n")
        assert fates(store) == [("deadly", "removed", 2), ("b", "removed", 0), ("c", "live", 0)]
        assert [value["failed_deliveries"] for value in values(command)] == [2, 0, 0]
        by = [value["taken_from"] for value in values(command)[:2]]
        assert [(each["user"], each["reason"]) for each in by] == [(identity().user, "no such customer")] * 2
        text = command.ok("show", "inbox")
        assert text.count(f"dropped by {identity().user}, pid ") == 2
        assert text.count(": no such customer\n") == 2
        events = parse("trace", command.ok("trace", "inbox/files#1", "--json"))["events"]
        in_vain = ["taken", "given back"] * 2
        assert [event["event"] for event in events] == ["pushed", *in_vain, "died", "dropped"]
        assert events[-1]["reason"] == "no such customer"
        then = values(command, "--at", events[-2]["at"])  # it had just died
        assert [(value["state"], value["failed_deliveries"]) for value in then] == [
            ("dead", 2),
            ("live", 0),
            ("live", 0),
        ]

    @pytest.mark.promise(number=10)
    def test_no_give_back_brings_it_back(self, store: Store) -> None:
        run = start(store, "one")
        attempt = run.begin("push")
        attempt.xcom["q"].push("mine")
        drop(store.database, ["one/q#1"], None)
        run.end("failed")
        start(store, "one")
        assert states(store, "one") == [("mine", "removed+")]

    @pytest.mark.parametrize("taker", ["running", "step", "completed", "shell"])
    def test_one_that_is_not_there_is_refused_with_its_holder(
        self, command: Commands, store: Store, inbox: Any, taker: str
    ) -> None:
        if taker == "shell":
            command.ok("pop", "inbox", "files")
        else:
            attempt = start(store, "etl").begin("load")
            with acting_as(attempt):
                step("take", inbox.pop) if taker == "step" else inbox.pop()
            if taker == "completed":
                attempt.complete()
        me = identity()
        code, what = {
            "running": (75, held := f"is held by etl/load#1 (pid {me.pid} on {me.host}): wait until that has ended"),
            "step": (75, held),
            "completed": (2, "is taken by etl/load#1: only live, delayed and dead values can be {}"),
            "shell": (2, f"is taken by {me.user} on {me.host}: only live, delayed and dead values can be {{}}"),
        }[taker]
        before = all_rows(store)
        changes = {"dropped": ("drop", "inbox/files#3", "inbox/files#2"), "replaced": ("replace", "inbox/files#2", "1")}
        for done, args in changes.items():
            found = command(*args)
            assert (found.code, found.err) == (code, f"zrb-store: value inbox/files#2 {what.format(done)}\n")
        assert all_rows(store) == before

    @pytest.mark.promise(number=10)
    def test_one_that_a_dead_process_held_is_dropped(self, store: Store) -> None:
        store.session("inbox").xcom["files"].extend(["a", "b"])
        hold_and_die(store)
        drop(store.database, ["inbox/files#1"], None)
        assert fates(store) == [("a", "removed", 1), ("b", "live", 0)]

    @pytest.mark.on_sqlite
    def test_many_are_dropped_without_reading_their_histories(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zrb_store.operations.values.find_value", None)
        store.session("inbox").xcom["files"].extend(range(50))
        drop(store.database, [f"inbox/files#{seq}" for seq in range(1, 51)], None)
        assert states(store, "inbox", "files") == [(number, "removed") for number in range(50)]

    def test_a_fork_knows_how_often_it_had_failed(self, store: Store, inbox: Any) -> None:
        drop(store.database, ["inbox/files#1"], None)
        with store.session("inbox").run() as run, run.attempt("load"):
            pass
        store.fork("inbox", from_task="load")
        assert query(store, "SELECT count(*) FROM zrb_value WHERE state = 'removed' AND failed_deliveries = 2") == [
            (2,)
        ]

    def test_a_dropped_one_is_called_so_and_a_delayed_one_too(self, command: Commands, store: Store) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.push("a")
        queue.push("b", delay=timedelta(hours=1))
        drop(store.database, ["inbox/files#1"], None)
        me = identity()
        for args, what in {
            ("drop", "inbox/files#1"): f"#1 is dropped by {me.user} on {me.host}: only live, delayed and dead ",
            ("requeue", "inbox/files#2"): "#2 is delayed: only dead values can be requeued\n",
        }.items():
            done = command(*args)
            assert done.code == 2
            assert done.err.startswith(f"zrb-store: value inbox/files{what}")

    @pytest.mark.on_sqlite
    @pytest.mark.parametrize(
        ("args", "code", "what"),
        [
            (("drop", "inbox/files#2", "inbox/files#9"), 3, "there is no value inbox/files#9"),
            (("drop", "inbox/file#2"), 3, "no queue 'file'"),
            (("drop", "inbox/files"), 2, "'inbox/files' is not of the form SESSION/QUEUE#SEQ"),
            (("drop", "in/files#1"), 3, "there is no session in"),
            (("replace", "inbox/files#2", "{"), 2, "NEW is not JSON"),
            (("replace", "inbox/files#2", '"\ud800"', "--text"), 0, "replaced"),
            (("replace", "inbox/files#2", "x" * 200, "--text"), 1, "str of 202 bytes (the limit is 100; "),
        ],
    )
    def test_bad_input_is_told_in_one_line(
        self,
        command: Commands,
        store: Store,
        inbox: Any,
        monkeypatch: pytest.MonkeyPatch,
        args: Any,
        code: int,
        what: str,
    ) -> None:
        monkeypatch.setenv("ZRB_STORE_MAX_VALUE", "100")
        before = all_rows(store)
        done = command(*args)
        assert done.code == code
        assert what in done.err
        assert done.err.count("\n") == 1
        assert (all_rows(store) == before) == (code != 0)


def pop_all(pipe: Connection, location: str) -> None:
    """Take every value, one after the other, and tell which."""
    with open_store(location) as store:
        queue = store.session("inbox").xcom["race"]
        pipe.send("ready")
        pipe.recv()
        taken = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(queue.pop())
        pipe.send(taken)


@pytest.mark.promise(number=4)
def test_a_value_is_dropped_or_taken_but_not_both(store: Store, location: str) -> None:
    count = 60
    store.session("inbox").xcom["race"].extend(range(count))
    dropped = set()
    with Child(pop_all, location) as child:
        assert child.receive() == "ready"
        child.send("go")
        for number in reversed(range(count)):  # the two meet in the middle
            try:
                drop(store.database, [f"inbox/race#{number + 1}"], None)
            except (InvalidArgument, SessionBusy):
                break
            dropped.add(number)
        taken = child.receive()
    assert sorted([*taken, *dropped]) == list(range(count))
    assert len(taken) == len(set(taken))


class TestReplace:
    def test_it_stays_in_place_and_what_it_was_is_shown(self, command: Commands, store: Store, inbox: Any) -> None:
        done = command("replace", "inbox/files#1", '["mended", -1]', "--reason", "typo")
        assert (done.code, done.err) == (0, "zrb-store: replaced inbox/files#1\n")
        assert command("replace", "inbox/files#2", "-", "--text", stdin="b.csv\n").code == 0
        assert fates(store) == [(["mended", -1], "live", 0), ("b.csv", "live", 0), ("c", "live", 0)]
        mended = values(command)[0]
        (was,) = mended["replaced"]
        assert (mended["state"], mended["taken_from"]) == ("live", None)
        assert (was["value"], was["failed_deliveries"], was["replaced_by"]["reason"]) == ("deadly", 2, "typo")
        assert json.loads(command.ok("get", "inbox", "files", "--seq", "1", "--json")) == mended
        text = command.ok("show", "inbox")
        assert ': typo; was "deadly"\n' in text
        assert f"replaced by {identity().user} on" not in text  # how its death ended is told once
        history = parse("trace", command.ok("trace", "inbox/files#1", "--json"))
        assert [event["event"] for event in history["events"]][-2:] == ["died", "replaced"]
        died = history["events"][-2]["at"]
        then = values(command, "--at", died)
        assert [(one["value"], one["state"], one["failed_deliveries"], one["replaced"]) for one in then] == [
            ("deadly", "dead", 2, []),
            ("b", "live", 0, []),
            ("c", "live", 0, []),
        ]
        assert [inbox.pop(), inbox.pop()] == [["mended", -1], "b.csv"]

    def test_texts_of_every_length_replace_each_other(self, command: Commands, store: Store, inbox: Any) -> None:
        contents = ["b", LONG, LONGER, "short", LONGER, LONG, "c"]
        for new in contents[1:]:
            swap(store, 2, new)
            assert inbox[0] == new
        assert [json.loads(data) for (data,) in query(store, "SELECT data FROM zrb_replaced ORDER BY id")] == contents[
            :-1
        ]
        own = trace(store.database, "inbox", "files", 2).value.replaced
        with store.database.snapshot() as transaction:
            # Somebody has read the row while its text was in chunks, and looks for these now.
            assert chunks.whole(transaction, own[0].record.queue_id, 2, "") == '"c"'

    def test_a_fork_has_what_it_was_then(self, store: Store) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.extend(["short", LONGER, "as it is"])
        with store.session("inbox").run(task="load") as run:
            run.task("load", lambda: None)
        replace(store.database, "inbox/files#1", codec.encode(LONG), None)
        replace(store.database, "inbox/files#2", codec.encode("mended"), None)
        fork = store.fork("inbox", from_task="load")
        assert list(fork.xcom["files"]) == ["short", LONGER, "as it is"]

    @pytest.mark.promise(number=1)
    def test_it_is_retracted_with_its_pusher(self, store: Store) -> None:
        run = start(store, "one")
        run.begin("push").xcom["q"].push("mine")
        replace(store.database, "one/q#1", codec.encode("yours"), None)
        run.end("failed")
        start(store, "one")
        assert states(store, "one") == [("yours", "retracted")]

    def test_deliveries_count_anew_and_wait_for_a_dead_one_ends(self, store: Store, location: str, inbox: Any) -> None:
        drop(store.database, ["inbox/files#2", "inbox/files#3"], None)
        with Child(wait_for_one, location) as child:
            assert child.receive() == "waiting"
            swap(store, 1, "mended")
            assert child.receive() == "mended"
        inbox.push("d")
        deliver(store, inbox.pop)
        swap(store, 4, "e")  # delivered once, and replaced while live
        deliver(store, inbox.pop)
        assert fates(store)[3] == ("e", "live", 1)


def wait_for_one(pipe: Connection, location: str) -> None:
    """Wait for a value of the empty queue, and tell which it is."""
    with open_store(location) as store:
        pipe.send("waiting")
        pipe.send(store.session("inbox").xcom["files"].pop(wait=DEADLINE))
