"""Checks of records: whether each field is valid, and whether the records of a session agree with each other."""

from __future__ import annotations

from typing import Any, NamedTuple

from zrb_store import output_text
from zrb_store.codec.json_text import size_of
from zrb_store.db.columns import LONGEST_LEASE
from zrb_store.names import split_id
from zrb_store.operations.transfer.fields import FIELDS
from zrb_store.queries.transfer import Record

_ORDER = {"session": 0, "run": 1, "queue": 2, "attempt": 3, "output": 4, "value": 5, "return": 5, "change": 6}
_LEFT_QUEUE = ("taken", "removed")


class _Attempt(NamedTuple):
    """What later records of the session must agree with. Equal ones are one object, since there may be very many.

    Attributes:
        task: Its task; of a step, the task that it is a step of.
    """

    task: str
    role: str
    running: bool
    given_back: bool
    parent: str | None


class InvalidRecord(ValueError):
    """A record that a healthy store cannot have.

    Attributes:
        line: Number of the line that is wrong, if it is not the line being checked.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def require(condition: Any, reason: str, line: int | None = None) -> None:
    """Raise `InvalidRecord` unless the condition holds."""
    if not condition:
        raise InvalidRecord(reason, line)


class Checker:
    """A check of a sequence of records.

    It refuses a session in which `doctor` would find an error. It cannot check what is said of attempts of other
    sessions.
    """

    def __init__(self, now: int) -> None:
        """Begin before the first record.

        Args:
            now: The clock of the store that the records come from or are written to, in microseconds.
        """
        self._now = now
        self._session: _SessionChecker | None = None
        self._previous = "change"

    def check(self, kind: str, record: Record, line: int = 0) -> None:
        """Check the next record.

        Args:
            kind: Its kind.
            record: Its other fields.
            line: Number of its line.

        Raises:
            InvalidRecord: A healthy store cannot have this record here.
        """
        fields = FIELDS[kind]
        require(record.keys() == fields.keys(), "its fields are not those of this format")
        for name, column in fields.items():
            problem = column.problem(record[name])
            require(problem is None, f"{name} {problem}")
        if kind == "session":
            self.finish()
            self._session = _SessionChecker(record, line, self._now + LONGEST_LEASE)
        else:
            require(self._session and _ORDER[kind] >= _ORDER[self._previous], "it is out of order")
            assert self._session is not None
            self._session.check[kind](record, line)
        self._previous = kind

    def finish(self) -> None:
        """Check what can be checked only after the last record of a session.

        Raises:
            InvalidRecord: The records do not agree with each other.
        """
        if self._session is not None:
            self._session.finish()
        self._session = None


class _SessionChecker:
    """A check of the records of one session, which remembers what later ones must agree with."""

    def __init__(self, record: Record, line: int, last_lease: int) -> None:
        self._record, self._line = record, line
        self._whose = f"session {record['name']}"
        self._last_lease = last_lease
        self._runs: dict[int, bool] = {}  # whether it has ended, by number
        self._queues: dict[str, Record] = {}
        self._attempts: dict[str, _Attempt] = {}  # by name
        self._distinct: dict[_Attempt, _Attempt] = {}
        self._numbers: dict[str, dict[str, int]] = {}  # of steps by name, of each task
        self._steps: dict[str, dict[int, str]] = {}  # their names by number
        self._results: dict[tuple[str, int], tuple[str, int]] = {}  # name and line of the attempt, by queue and seq
        self._last_piece: Record | None = None
        self._last_value: tuple[str, int] | None = None
        self._deliveries = 0  # of that value
        self._last_count: tuple[int, int] | None = None  # its last return that changed them: the number, and the line
        self.check = {
            "run": self._run,
            "queue": self._queue,
            "attempt": self._attempt,
            "output": self._output,
            "value": self._value,
            "return": self._return,
            "change": self._change,
        }
        require(
            (record["status"] in ("open", "running")) == (record["finished_at"] is None),
            "status and finished_at contradict each other",
        )

    def _run(self, record: Record, line: int) -> None:
        require(record["number"] not in self._runs, f"there is a run {record['number']} already")
        require(
            (record["ended_at"] is None) == (record["outcome"] is None), "ended_at and outcome contradict each other"
        )
        if record["ended_at"] is None:
            require(record["lease_expires_at"] <= self._last_lease, "lease_expires_at is more than a day from now")
        self._runs[record["number"]] = record["ended_at"] is not None

    def _queue(self, record: Record, line: int) -> None:
        require(record["name"] not in self._queues, f"there is a queue {record['name']} already")
        self._queues[record["name"]] = record

    def _attempt(self, record: Record, line: int) -> None:
        name = f"{record['task']}#{record['number']}"
        require(name not in self._attempts, f"there is an attempt {name} already")
        run, place = record["run"], (record["result_queue"], record["result_seq"])
        require(run is None or run in self._runs, f"{self._whose} names run {run}, which does not exist")
        require(run in (None, record["fence"]), "fence is not the number of its run")
        require(record["fence"] <= self._record["fence"], "fence is above that of its session")
        running, ended = record["status"] == "running", record["ended_at"] is not None
        require(running != ended, "status and ended_at contradict each other")
        require(not running or self._runs.get(run) is False, "it is running, but its run is not")
        require(ended or record["given_back_at"] is None, "it was given back, but has not ended")
        self._known_queue(record["result_queue"])
        require((place[0] is None) == (place[1] is None), "result_queue and result_seq contradict each other")
        if record["status"] == "completed" and place[0] is not None:
            require(place not in self._results, "its result belongs to another attempt")
            self._results[place] = name, line
        attempt = _Attempt(
            record["step_of"] or record["task"],
            record["role"],
            running,
            record["given_back_at"] is not None,
            record["parent"],
        )
        self._attempts[name] = self._distinct.setdefault(attempt, attempt)
        self._step(record)

    def _step(self, record: Record) -> None:
        """Check what only steps have."""
        task, step, number = record["step_of"], record["step"], record["step_number"]
        is_step = record["role"] == "step"
        require(
            all((field is not None) == is_step for field in (task, step, number)),
            "role, step_of, step and step_number contradict each other",
        )
        require(
            is_step or not (record["parent"] or record["once"] or record["result"]),
            "it is no step, but has a parent, a result or is done only once",
        )
        if not is_step:
            return
        require(record["task"] == f"{task}/{number}", "task is not STEP_OF/STEP_NUMBER")
        numbered = self._numbers.setdefault(task, {}).setdefault(step, number) == number
        named = self._steps.setdefault(task, {}).setdefault(number, step) == step
        require(numbered and named, f"step {step} of {task} has another number, or number {number} another step")
        require(record["result_queue"] is None, "its result lies in a queue")
        require(record["result"] is None or record["status"] == "completed", "it has a result, but has not completed")
        lies_undone = record["status"] in ("failed", "interrupted") and record["given_back_at"] is None
        require(record["run"] is None or not lies_undone, "it did not complete, but was not given back")
        parent = self._own(record["parent"])
        require(parent or record["parent"] is None, f"its parent is not of {self._whose}")
        require(record["status"] != "running" or (parent and parent.running), "it is running, but its parent is not")
        if parent is not None:
            require(parent.task == task, "its parent is not of its task")
            require(parent.role not in ("step", "delivery"), f"its parent is a {parent.role}")

    def _output(self, record: Record, line: int) -> None:
        last, self._last_piece = self._last_piece, record
        require(self._own(record["attempt"]), f"its attempt is not of {self._whose}")
        require(record["size"] == output_text.size_of(record["data"]), "size is not that of its lines")
        if last is not None and last["attempt"] == record["attempt"]:
            follows = (last["piece"] + 1, last["start"] + last["size"])
            require((record["piece"], record["start"]) == follows, "it does not follow the piece before it")

    def _value(self, record: Record, line: int) -> None:
        self._known_queue(record["queue"])
        queue, place = self._queues[record["queue"]], (record["queue"], record["seq"])
        if self._last_value is not None and self._last_value[0] == place[0]:
            require(place[1] > self._last_value[1], "seq is not above the one before it")
        require(queue["low"] <= record["seq"] <= queue["high"], "seq is not between low and high of its queue")
        self._settle_count()
        self._last_value, self._deliveries = place, record["deliveries"]
        self._last_count = None
        require(record["size"] == size_of(record["data"]), "size is not that of data in bytes")
        state, has_left = record["state"], record["state"] in _LEFT_QUEUE
        require(state != "dead" or record["deliveries"], "it is dead, but was never delivered")
        require((state == "live") == (record["ended_at"] is None), "state and ended_at contradict each other")
        require(has_left or record["taken_by"] is None, f"it is {state}, but taken_by names an attempt")
        require(has_left or not record["orphaned"], f"it is {state}, but orphaned")
        pusher, taker = self._own(record["pushed_by"]), self._own(record["taken_by"])
        require(not (taker and taker.given_back), f"taken_by names {record['taken_by']}, which was given back")
        if pusher and pusher.given_back:
            require(
                not taker or taker.parent != record["pushed_by"],
                f"a step holds it, but {record['pushed_by']}, which pushed it outside of steps, was given back",
            )
            require(
                state == "retracted" or record["orphaned"],
                f"pushed_by names {record['pushed_by']}, which was given back",
            )
        elif pusher and pusher.role != "check":  # a check is opened again after it was given back
            require(not record["orphaned"], "it is orphaned, but the attempt that pushed it was not given back")
        owner = self._results.pop(place, None)
        if owner:
            of_whom = f"{self._record['name']}/{owner[0]}"
            require(record["pushed_by"] == of_whom, f"it is the result of {of_whom}, but pushed_by does not say so")

    def _return(self, record: Record, line: int) -> None:
        require((record["queue"], record["seq"]) == self._last_value, "it does not follow its value")
        self._own(record["taken_by"])
        if record["deliveries"] is not None:
            self._last_count = record["deliveries"], line
            require(record["deliveries"] or record["taken_by"] is None, "it is of a dead value, but names a taker")

    def _settle_count(self) -> None:
        """Check that the deliveries of the last value are those of its last return that changed them."""
        if self._last_count is not None:
            count, line = self._last_count
            require(count == self._deliveries, f"its deliveries are {count}, but those of its value are another", line)

    def _change(self, record: Record, line: int) -> None:
        """Accept any change: no other record has to agree with it."""

    def _known_queue(self, name: str | None) -> None:
        require(name is None or name in self._queues, f"{self._whose} names queue {name}, which does not exist")

    def _own(self, owner: str | None) -> _Attempt | None:
        """Return an attempt of this session; None for any other attempt."""
        if owner is None:
            return None
        session, task, number = split_id(owner)
        if session != self._record["name"]:
            return None
        name = f"{task}#{number}"
        require(name in self._attempts, f"{self._whose} names attempt {name}, which does not exist")
        return self._attempts[name]

    def finish(self) -> None:
        self._settle_count()
        newest = max(self._runs, default=0)
        require(self._record["fence"] == newest, f"fence is not {newest}, the number of its newest run", self._line)
        still_open = sum(not ended for ended in self._runs.values())
        require(still_open <= 1, "it has more than one run that has not ended", self._line)
        is_running = self._record["status"] == "running"
        require(is_running == bool(still_open), "its status and its runs contradict each other", self._line)
        for (queue, seq), (attempt, line) in self._results.items():
            raise InvalidRecord(f"the result of {attempt}, {queue}#{seq}, does not exist", line)
