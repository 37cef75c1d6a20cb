"""Whether records are such as a healthy store has: each field, and the records of a session among each other."""

from __future__ import annotations

from typing import Any

from zrb_store.columns import LONGEST_LEASE
from zrb_store.names import split_id
from zrb_store.operations.transfer.fields import FIELDS
from zrb_store.queries.transfer import Record

_ORDER = {"session": 0, "run": 1, "queue": 2, "attempt": 3, "value": 4, "return": 4, "change": 5}
_HELD = ("taken", "removed")


class Unsound(ValueError):
    """What is wrong with a record.

    Attributes:
        line: The line it is about, if that is not the one looked at.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def demand(condition: Any, reason: str, line: int | None = None) -> None:
    """Raise `Unsound` unless the condition holds."""
    if not condition:
        raise Unsound(reason, line)


class Checks:
    """Checks one record after the other.

    A session must not have what `doctor` would call an error. Attempts of other sessions are taken on trust.
    """

    def __init__(self, now: int) -> None:
        """Begin.

        Args:
            now: The clock of the store that the records are written to, or come from.
        """
        self._now = now
        self._session: _Session | None = None
        self._before = "change"

    def record(self, kind: str, record: Record, line: int = 0) -> None:
        """Check the next record, which is of line `line`.

        Raises:
            Unsound: It is not such as a store has.
        """
        fields = FIELDS[kind]
        demand(record.keys() == fields.keys(), "its fields are not those of this format")
        for name, column in fields.items():
            problem = column.problem(record[name])
            demand(problem is None, f"{name} {problem}")
        if kind == "session":
            self.end()
            self._session = _Session(record, line, self._now + LONGEST_LEASE)
        else:
            demand(self._session and _ORDER[kind] >= _ORDER[self._before], "it is not where it belongs")
            assert self._session is not None
            self._session.check[kind](record, line)
        self._before = kind

    def end(self) -> None:
        """Check what shows only when all records of a session were seen.

        Raises:
            Unsound: They do not fit together.
        """
        if self._session is not None:
            self._session.end()
        self._session = None


class _Session:
    """What is known of a session while its records go by."""

    def __init__(self, record: Record, line: int, last_lease: int) -> None:
        self._record, self._line = record, line
        self._whose = f"session {record['name']}"
        self._last_lease = last_lease
        self._runs: dict[int, bool] = {}  # by number: whether it has ended
        self._queues: dict[str, Record] = {}
        self._attempts: dict[str, tuple[str, bool]] = {}  # by name: role, and whether it was given back
        self._results: dict[tuple[str, int], tuple[str, int]] = {}  # by place: the attempt's name and line
        self._last_value: tuple[str, int] | None = None
        self.check = {
            "run": self._run,
            "queue": self._queue,
            "attempt": self._attempt,
            "value": self._value,
            "return": self._return,
            "change": self._change,
        }
        demand(
            (record["status"] in ("open", "running")) == (record["finished_at"] is None),
            "status and finished_at contradict each other",
        )

    def _run(self, record: Record, line: int) -> None:
        demand(record["number"] not in self._runs, f"there is a run {record['number']} already")
        demand(
            (record["ended_at"] is None) == (record["outcome"] is None), "ended_at and outcome contradict each other"
        )
        if record["ended_at"] is None:
            demand(record["lease_expires_at"] <= self._last_lease, "lease_expires_at is more than a day from now")
        self._runs[record["number"]] = record["ended_at"] is not None

    def _queue(self, record: Record, line: int) -> None:
        demand(record["name"] not in self._queues, f"there is a queue {record['name']} already")
        self._queues[record["name"]] = record

    def _attempt(self, record: Record, line: int) -> None:
        name = f"{record['task']}#{record['number']}"
        demand(name not in self._attempts, f"there is an attempt {name} already")
        run, place = record["run"], (record["result_queue"], record["result_seq"])
        demand(run is None or run in self._runs, f"{self._whose} names run {run}, which is not there")
        demand(run in (None, record["fence"]), "fence is not the number of its run")
        demand(record["fence"] <= self._record["fence"], "fence is above that of its session")
        running, ended = record["status"] == "running", record["ended_at"] is not None
        demand(running != ended, "status and ended_at contradict each other")
        demand(not running or self._runs.get(run) is False, "it is running, but its run is not")
        demand(ended or record["given_back_at"] is None, "it was given back, but has not ended")
        self._known_queue(record["result_queue"])
        demand((place[0] is None) == (place[1] is None), "result_queue and result_seq contradict each other")
        if record["status"] == "completed" and place[0] is not None:
            demand(place not in self._results, "its result is another attempt's")
            self._results[place] = name, line
        self._attempts[name] = record["role"], record["given_back_at"] is not None

    def _value(self, record: Record, line: int) -> None:
        self._known_queue(record["queue"])
        queue, place = self._queues[record["queue"]], (record["queue"], record["seq"])
        if self._last_value is not None and self._last_value[0] == place[0]:
            demand(place[1] > self._last_value[1], "seq is not above the one before it")
        demand(queue["low"] <= record["seq"] <= queue["high"], "seq is not between low and high of its queue")
        self._last_value = place
        demand(record["size"] == len(record["data"]), "size is not that of data")
        state, held = record["state"], record["state"] in _HELD
        demand((state == "live") == (record["ended_at"] is None), "state and ended_at contradict each other")
        demand(held or record["taken_by"] is None, f"it is {state}, but taken_by names an attempt")
        demand(held or not record["orphaned"], f"it is {state}, but orphaned")
        pusher, taker = self._own(record["pushed_by"]), self._own(record["taken_by"])
        demand(not (taker and taker[1]), f"taken_by names {record['taken_by']}, which was given back")
        if pusher and pusher[1]:
            demand(
                state == "retracted" or record["orphaned"],
                f"pushed_by names {record['pushed_by']}, which was given back",
            )
        elif pusher and pusher[0] != "check":  # which is opened again after it was given back
            demand(not record["orphaned"], "it is orphaned, but the attempt that pushed it was not given back")
        owner = self._results.pop(place, None)
        if owner:
            of_whom = f"{self._record['name']}/{owner[0]}"
            demand(record["pushed_by"] == of_whom, f"it is the result of {of_whom}, but pushed_by does not say so")

    def _return(self, record: Record, line: int) -> None:
        demand((record["queue"], record["seq"]) == self._last_value, "it does not follow its value")
        self._own(record["taken_by"])

    def _change(self, record: Record, line: int) -> None:
        """Nothing else says what people did."""

    def _known_queue(self, name: str | None) -> None:
        demand(name is None or name in self._queues, f"{self._whose} names queue {name}, which is not there")

    def _own(self, owner: str | None) -> tuple[str, bool] | None:
        """Role and fate of an attempt of this session; None for another session's, or none."""
        if owner is None:
            return None
        session, task, number = split_id(owner)
        if session != self._record["name"]:
            return None
        name = f"{task}#{number}"
        demand(name in self._attempts, f"{self._whose} names attempt {name}, which is not there")
        return self._attempts[name]

    def end(self) -> None:
        newest = max(self._runs, default=0)
        demand(self._record["fence"] == newest, f"fence is not {newest}, the number of its newest run", self._line)
        still_open = sum(not ended for ended in self._runs.values())
        demand(still_open <= 1, "it has more than one run that has not ended", self._line)
        is_running = self._record["status"] == "running"
        demand(is_running == bool(still_open), "its status and its runs contradict each other", self._line)
        for (queue, seq), (attempt, line) in self._results.items():
            raise Unsound(f"the result of {attempt}, {queue}#{seq}, is not there", line)
