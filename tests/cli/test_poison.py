"""`queue`, `requeue`, and what other commands show of dead values."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.attempts import acting_as, failing, start
from tests.support.commands import Commands
from tests.support.consumers import deliver, fates
from tests.support.sessions import parse, parse_lines
from zrb_store import Store
from zrb_store.process import identity
from zrb_store.queries.clock import now_micros
from zrb_store.records import iso

pytestmark = pytest.mark.long_on_postgresql

ME = f"{identity().user} on {identity().host}"


@pytest.fixture
def inbox(store: Store) -> Any:
    """A queue with a dead value, one that was delivered once, and one that was not."""
    queue = store.session("inbox").xcom["files"]
    queue.max_deliveries = 2
    queue.extend(["deadly.csv", "b.csv", "c.csv"])

    def work() -> None:
        raise ValueError(f"no column 'price' in {queue.pop()}\nsecond line")

    for name in ("one", "two", "three"):
        with pytest.raises(ValueError, match="no column"), store.session(name).run() as run, run.attempt("convert"):
            work()
    return queue


class TestQueue:
    def test_shows_and_sets_the_limit(self, command: Commands, store: Store) -> None:
        assert command.ok("queue", "inbox", "files", "--max-deliveries", "5").split()[-1] == "5"
        queue = store.session("inbox").xcom["files"]
        assert queue.max_deliveries == 5
        shown = parse("queue", command.ok("queue", "inbox", "files", "--format", "json"))
        assert shown == {
            "session": "inbox",
            "queue": "files",
            "max_deliveries": 5,
            "retry_after": None,
            "paused_at": None,
        }
        assert command.ok("queue", "inbox", "files", "--max-deliveries", "unlimited").split()[-1] == "unlimited"
        assert queue.max_deliveries is None
        assert parse("queue", command.ok("queue", "inbox", "files", "--format", "json"))["max_deliveries"] is None
        log = parse("log", command.ok("log", "inbox", "--format", "json"))
        assert [(change["action"], change["detail"], change["user"]) for change in log["changes"]] == [
            ("queue", f"files: max_deliveries {limit}", identity().user) for limit in (5, "unlimited")
        ]

    @pytest.mark.on_sqlite
    @pytest.mark.parametrize("limit", ["0", "-1", "five", "1.5", "", "9" * 20, "²"])
    def test_other_limits_are_refused(self, command: Commands, store: Store, limit: str) -> None:
        assert command("queue", "inbox", "files", "--max-deliveries", limit).code == 2
        assert store.sessions() == []

    @pytest.mark.parametrize("limit", ["5", "unlimited"])
    def test_to_set_one_creates_the_queue(self, command: Commands, store: Store, limit: str) -> None:
        assert command.ok("queue", "inbox", "files", "--max-deliveries", limit).split()[-1] == limit
        assert "files" in store.session("inbox").xcom

    def test_to_show_it_creates_nothing(self, command: Commands, store: Store, inbox: Any) -> None:
        assert command("queue", "nobody", "files").code == 3
        assert "did you mean files?" in command("queue", "inbox", "file").err
        assert command("queue", "inbox", "file").code == 3
        assert command("queue", "@last", "files", "--max-deliveries", "5").code == 2
        assert len(command.ok("queue", "in", "files").splitlines()) == 2, "for reading, a unique beginning is enough"


class TestRequeue:
    def test_makes_values_live_again(self, command: Commands, store: Store, inbox: Any) -> None:
        done = command("requeue", "inbox/files#1")
        assert (done.code, done.out, done.err) == (0, "", "zrb-store: requeued 1 value\n")
        assert list(inbox) == ["deadly.csv", "b.csv", "c.csv"]
        log = command.ok("log", "inbox")
        assert re.search(rf"requeue +{identity().user}, pid \d+ on {identity().host} +files#1\n", log)

    def test_all_of_a_queue(self, command: Commands, store: Store, inbox: Any) -> None:
        inbox.max_deliveries = 1
        deliver(store, inbox.pop)
        assert command("requeue", "inbox", "files", "--all-dead").err == "zrb-store: requeued 2 values\n"
        assert command("requeue", "inbox", "files", "--all-dead").err == "zrb-store: requeued 0 values\n"

    @pytest.mark.on_sqlite
    def test_requeue_refuses_what_is_not_dead(self, command: Commands, store: Store, inbox: Any) -> None:
        refused: list[tuple[list[str], int]] = [
            (["inbox/files#1", "inbox/files#2"], 2),
            (["inbox/files#1", "inbox/files#9"], 3),
            (["in/files#1"], 3),
            (["@last/files#1"], 2),
            (["inbox/files"], 2),
            (["in", "files", "--all-dead"], 3),
            (["inbox", "--all-dead"], 2),
            (["inbox", "nothing", "--all-dead"], 3),
            ([], 2),
        ]
        for arguments, code in refused:
            assert (arguments, command("requeue", *arguments).code) == (arguments, code)
            assert fates(store)[0] == ("deadly.csv", "dead", 2)

    @pytest.mark.on_sqlite
    def test_says_how_to_name_all_of_a_queue(self, command: Commands, inbox: Any) -> None:
        for arguments in (["inbox", "files"], ["inbox/files"]):
            assert "add --all-dead to SESSION and QUEUE" in command("requeue", *arguments).err

    @pytest.mark.on_sqlite
    def test_knows_the_session_of_its_task(
        self, command: Commands, store: Store, inbox: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start(store, "inbox").begin("load")
        monkeypatch.setenv("ZRB_STORE_ATTEMPT", "inbox/load#1@1")
        assert command("requeue", "@this/files#1").code == 0
        assert fates(store)[0] == ("deadly.csv", "live", 0)


class TestShow:
    @pytest.mark.promise(number=10)
    def test_each_delivery_is_shown_with_its_error(self, command: Commands, inbox: Any) -> None:
        text = command.ok("show", "inbox")
        lines = [re.sub(r"\d\d:\d\d:\d\dZ", "TIME", line.strip()) for line in text.splitlines()]
        place = lines.index("Queue files: 2 live of 3, 1 dead, at most 2 deliveries")
        error = "failed, ValueError: no column 'price' in"
        assert [" ".join(line.split()) for line in lines[place + 2 :]] == [
            f'#1 "deadly.csv" str 12 B - delivery 1: TIME one/convert#1: {error} deadly.csv second line',
            "delivery 2: TIME two/convert#1: failed, the same error",
            "dead after 2 deliveries",
            '#2 "b.csv" str 7 B - given back by three/convert#1',
            "live, delivered 1 of 2",
            '#3 "c.csv" str 7 B - live',
            "",
            "Dead: zrb-store requeue inbox files --all-dead; or replace or drop single values",
        ]

    @pytest.mark.on_sqlite
    def test_a_long_error_is_cut(self, command: Commands, store: Store) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.max_deliveries = 1
        queue.push("a")
        with acting_as(start(store, "worker").begin("convert")) as attempt:
            queue.pop()
        attempt.fail(ValueError("x" * 5000))
        (value,) = parse("show", command.ok("show", "inbox", "--format", "json"))["queues"]["files"]["values"]
        assert value["returns"][0]["error"] == {"type": "ValueError", "message": "x" * 300}
        assert re.search(r"ValueError: x{50,}\.\.\.\n", command.ok("show", "inbox"))
        assert "ValueError: " + "x" * 5000 in command.ok("show", "inbox", "--full")

    @pytest.mark.long_on_postgresql(False)
    def test_a_long_queue_shows_what_is_held_dead_and_next(self, command: Commands, store: Store, inbox: Any) -> None:
        inbox.extend(f"{number}.csv" for number in range(40))
        with acting_as(start(store, "worker-7").begin("convert")):
            assert inbox.pop() == "b.csv"
        inbox.pop()
        ids = re.compile(r"^ *(#\d+) .*?((?:held by|dead|live).*)?$", re.MULTILINE)
        text = command.ok("show", "inbox")
        assert "Queue files: 40 live of 43, 1 held, 1 dead, at most 2 deliveries" in text
        assert "40 other values are not shown (39 live, 1 taken)" in text
        assert [seq for seq, _ in ids.findall(text)] == ["#1", "#2", "#4"]
        assert re.search(r"held by worker-7/convert#1 for .* \(alive\)", text)
        assert re.search(r"#4 +\"0\.csv\" .* live, next\n", text)
        for option, seqs in {"--held": ["#2"], "--next": ["#4"], "--dead": ["#1"]}.items():
            assert [seq for seq, _ in ids.findall(command.ok("show", "inbox", "files", option))] == seqs
            assert len(parse_lines("value", command.ok("show", "inbox", option, "--format", "jsonl"))) == 1
        assert command.ok("show", "inbox", "files", "--next").startswith("Queue files: 40 live, ")
        assert "--held and --next exclude each other" in command("show", "inbox", "--held", "--next").err
        [held] = parse_lines("held", command.ok("list", "--holds", "--format", "jsonl"))
        assert held == {
            "value": "inbox/files#2",
            "held_by": "worker-7/convert#1",
            "since": held["since"],
            "status": "alive",
        }
        assert re.search(r"inbox/files#2 +alive +\d.*s +worker-7/convert#1\n", command.ok("list", "--holds"))
        assert command.ok("list", "--holds", "--format", "value") == "inbox/files#2\n"

    @pytest.mark.long_on_postgresql(False)
    def test_only_the_dead_ones(self, command: Commands, inbox: Any) -> None:
        text = command.ok("show", "inbox", "files", "--dead")
        assert text.startswith("Queue files: 1 dead, at most 2 deliveries\n")
        assert "deadly.csv" in text
        assert "b.csv" not in text
        document = parse("show", command.ok("show", "inbox", "--dead", "--format", "json"))["queues"]["files"]
        assert document["live"] == ["b.csv", "c.csv"]
        assert document["max_deliveries"] == 2
        (value,) = document["values"]
        assert (value["state"], value["failed_deliveries"]) == ("dead", 2)
        assert (value["taken_by"], value["taken_at"]) == (None, None)
        assert [(each["failed_deliveries"], each["reason"], each["error"]["type"]) for each in value["returns"]] == [
            (1, "failed", "ValueError"),
            (2, "failed", "ValueError"),
        ]
        assert command.ok("show", "inbox", "--dead", "--format", "value") == "deadly.csv\n"
        assert parse_lines("value", command.ok("show", "inbox", "--dead", "--format", "jsonl")) == [value]
        assert "deadly" not in command.ok("show", "inbox", "--live")
        assert command("show", "inbox", "--live", "--dead").code == 2

    @pytest.mark.on_sqlite
    def test_a_value_that_is_held(self, command: Commands, store: Store, inbox: Any) -> None:
        with acting_as(start(store, "worker").begin("convert")):
            inbox.pop()
            assert re.search(
                r"held by worker/convert#1 for .* \(alive\), delivered 1 of 2\n", command.ok("show", "inbox")
            )

    @pytest.mark.on_sqlite
    def test_a_queue_that_is_empty_has_a_limit_too(self, command: Commands, store: Store) -> None:
        store.session("inbox").xcom["files"].max_deliveries = 1
        assert "Queue files: empty, at most 1 delivery\n" in command.ok("show", "inbox")

    @pytest.mark.on_sqlite
    def test_a_value_that_died_again(self, command: Commands, store: Store, inbox: Any) -> None:
        command("requeue", "inbox/files#1")
        deliver(store, inbox.pop, times=2)
        text = command.ok("show", "inbox", "files", "--dead")
        words = re.findall(r"delivery \d|requeued by \w+|dead after \d", text)
        assert words == [
            *("delivery 1", "delivery 2", f"requeued by {identity().user}", "delivery 1", "delivery 2", "dead after 2")
        ]

    def test_a_failed_attempt_that_pushed_it_is_pending(self, command: Commands, store: Store) -> None:
        run = start(store, "s")
        queue = store.session("s").xcom["q"]
        queue.max_deliveries = 1
        failing(run, "load", lambda: queue.push("a"))
        run.end("failed")
        assert "Pending:  values that load#1 pushed" in command.ok("show", "s")
        deliver(store, queue.pop)
        assert fates(store, "s", "q") == [("a", "dead", 1)]
        assert "Pending:  values that load#1 pushed" in command.ok("show", "s")
        start(store, "s").end("failed")
        assert fates(store, "s", "q") == [("a", "retracted", 1)]
        assert "Pending" not in command.ok("show", "s")

    @pytest.mark.long_on_postgresql(False)
    def test_at_an_earlier_moment(self, command: Commands, store: Store, inbox: Any) -> None:
        dead = iso(now_micros(store.database)) or ""
        command("requeue", "inbox/files#1")
        now = command.ok("show", "inbox", "files")
        assert now.count("dead") == 0 + now.count('"deadly.csv"')
        assert f"requeued by {ME}\n" in now
        then = command.ok("show", "inbox", "files", "--at", dead)
        assert then.startswith("Queue files: 2 live of 3\n"), "what the queue allows is known of now only"
        assert "dead after 2 deliveries\n" in then
        assert command.ok("show", "inbox", "files", "--dead").startswith("Queue files: 0 dead")
        assert command.ok("show", "inbox", "files", "--dead", "--at", dead).startswith("Queue files: 1 dead\n")
        assert command.ok("show", "inbox", "--dead", "--at", dead, "--format", "value") == "deadly.csv\n"


class TestOtherCommands:
    @pytest.mark.promise(number=10)
    def test_list_counts_the_dead_values(self, command: Commands, store: Store, inbox: Any) -> None:
        store.session("inbox").xcom["more"].max_deliveries = 1
        store.session("inbox").xcom["more"].push(1)
        deliver(store, store.session("inbox").xcom["more"].pop)
        (line,) = (line for line in command.ok("list").splitlines() if line.startswith("inbox "))
        assert "  open, 2 dead  " in line
        listed = parse("list", command.ok("list", "--format", "json"))
        assert {each["name"]: each["dead"] for each in listed if each["dead"]} == {"inbox": 2}
        assert parse_lines("header", command.ok("list", "--format", "jsonl")) == listed

    @pytest.mark.promise(number=10)
    def test_doctor_names_their_queues(self, command: Commands, inbox: Any) -> None:
        found = parse_lines("finding", command.ok("doctor", "--format", "jsonl"))
        (finding,) = (each for each in found if each["check"] == "dead-values")
        assert finding["level"] == "warning"
        assert "dead values in queue 'files' of session inbox: 1" in finding["what"]
        assert "zrb-store show inbox files --dead" in finding["remedy"]
        assert "zrb-store requeue inbox files --all-dead" in finding["remedy"]

    def test_trace_tells_of_deaths(self, command: Commands, store: Store, inbox: Any) -> None:
        command("requeue", "inbox/files#1")
        deliver(store, inbox.pop, times=2)
        history = parse("trace", command.ok("trace", "inbox/files#1", "--format", "json"))
        in_vain = ["taken", "given back"] * 2 + ["died"]
        assert [event["event"] for event in history["events"]] == ["pushed", *in_vain, "requeued", *in_vain]
        reasons = {event["reason"] for event in history["events"] if event["event"] in ("died", "requeued")}
        assert reasons == {"after 2 deliveries", f"requeued by {ME}"}
        assert "State    dead after 2 deliveries" in command.ok("trace", "inbox/files#1")
        assert "dead after 2 deliveries" in command.ok("get", "inbox", "files", "--seq", "1", "--format", "table")

    def test_trace_of_a_value_that_was_retracted_after_its_death(self, command: Commands, store: Store) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.max_deliveries = 1
        pushing = start(store, "pusher").begin("push")
        with acting_as(pushing):
            queue.push("a")
        deliver(store, queue.pop)
        between = iso(now_micros(store.database)) or ""
        pushing.fail()
        events = parse("trace", command.ok("trace", "inbox/files#1", "--format", "json"))["events"]
        assert [event["event"] for event in events] == ["pushed", "taken", "given back", "died", "retracted"]
        assert events[3]["at"] < between < events[4]["at"]
        assert events[4]["by"] == "pusher/push#1"

    @pytest.mark.on_sqlite
    def test_trace_of_a_copy_that_is_dead(self, command: Commands, store: Store) -> None:
        run = start(store, "s")
        queue = store.session("s").xcom["q"]
        queue.max_deliveries = 1
        queue.push("a")
        deliver(store, queue.pop)
        run.begin("load").complete()
        store.fork("s", from_task="load", name="copy")
        events = parse("trace", command.ok("trace", "copy/q#1", "--format", "json"))["events"]
        assert [(event["event"], event["reason"]) for event in events] == [
            ("pushed", None),
            ("died", "after 1 delivery"),
            ("copied from", None),
        ]

    @pytest.mark.on_sqlite
    def test_diff_leaves_them_out(self, command: Commands, store: Store, inbox: Any) -> None:
        store.session("other").xcom["files"].extend(["b.csv", "c.csv"])
        assert command("diff", "inbox", "other").code == 0
