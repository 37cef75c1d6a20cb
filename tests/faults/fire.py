"""Consumers of a shared queue that are killed at any moment."""

from __future__ import annotations

import itertools
import random
import signal
import time
from contextlib import ExitStack, suppress

from tests.support.processes import DEADLINE, Child
from tests.support.rows import faults, query, states
from tests.support.workers import POISON_EVERY, consume, is_poison
from zrb_store import Store, open_store

MAX_DELIVERIES = 3


def consume_under_fire(location: str, *, consumers: int, values: int, kills: int, pause: float, seed: int = 7) -> str:
    """Let consumers empty a queue while poison values and a hunter kill them. Each is replaced by one of another name.

    Nobody resumes or deletes the session of a dead consumer: the others take its values over.

    A good value that the hunter met three times would rightly die. So that no luck is needed, the hunter waits until
    what it has hit before is done. Poison values it may hit: they have their deliveries, whoever kills.

    Args:
        location: An empty store.
        consumers: How many work at the same time.
        values: How many values there are.
        kills: How many consumers the hunter kills, if the values last.
        pause: Seconds between two of these kills, at least.
        seed: Chooses who is killed.

    Returns:
        What happened, in figures.
    """
    dice = random.Random(seed)
    began = time.monotonic()
    hunted: list[str] = []
    poisoned = 0
    with open_store(location) as store, ExitStack() as stack:
        inbox = store.session("inbox").xcom["files"]
        inbox.max_deliveries = MAX_DELIVERIES
        inbox.extend(range(values))
        living: dict[str, Child] = {}
        names = (f"consumer-{number}" for number in itertools.count())
        next_kill, deadline = began, began + kills * pause + values / 10 + DEADLINE
        while not is_done(store):
            assert time.monotonic() < deadline, "not everything is done"
            poisoned += bury(living)
            while len(living) < consumers:
                name = next(names)
                living[name] = stack.enter_context(Child(consume, location, name))
            if len(hunted) < kills and time.monotonic() >= next_kill and is_settled(store, hunted):
                name = dice.choice(list(living))
                living.pop(name).kill()
                hunted.append(name)
                next_kill = time.monotonic() + pause
            time.sleep(0.05)
        for child in living.values():
            with suppress(BrokenPipeError):  # of one that poison has killed a moment ago
                child.send("end")
        ends = [child.join() for child in living.values()]
        assert {*ends} <= {0, -signal.SIGKILL}
        poisoned += ends.count(-signal.SIGKILL)
        check(store, values)
        hits = query(store, "SELECT count(*) FROM zrb_value WHERE state = 'taken' AND failed_deliveries > 0")[0][0]
    return (
        f"{consumers} consumers, {values} values in {time.monotonic() - began:.0f} s: {len(hunted)} killed at random "
        f"({hits} good values in their hands), {poisoned} by poison; each good value done once, "
        f"{values // POISON_EVERY} poison values dead after {MAX_DELIVERIES} deliveries"
    )


_OF_INBOX = (
    "v.queue_id = (SELECT q.id FROM zrb_queue q JOIN zrb_session s ON s.id = q.session_id WHERE s.name = 'inbox')"
)


def bury(living: dict[str, Child]) -> int:
    """Remove the consumers that poison has killed, and return how many there are."""
    dead = [name for name, child in living.items() if not child.is_running]
    for name in dead:
        assert living.pop(name).join() == -signal.SIGKILL
    return len(dead)


def is_done(store: Store) -> bool:
    """Whether no value is live and nobody is at work, seen at one moment: a value may come back between two."""
    live = f"SELECT 1 FROM zrb_value v WHERE {_OF_INBOX} AND v.ended_at IS NULL"
    return not query(store, f"{live} UNION ALL SELECT 1 FROM zrb_attempt WHERE status = 'running'")


def is_settled(store: Store, hunted: list[str]) -> bool:
    """Whether all that dead consumers held was taken over, and the good values that came back are done."""
    at_work = query(
        store, "SELECT s.name FROM zrb_attempt a JOIN zrb_session s ON s.id = a.session_id WHERE a.status = 'running'"
    )
    came_back = query(
        store,
        "SELECT v.data FROM zrb_value v LEFT JOIN zrb_attempt a ON a.id = v.taken_by "
        f"WHERE {_OF_INBOX} AND v.failed_deliveries > 0 AND v.state <> 'dead' "
        "AND (a.id IS NULL OR a.status <> 'completed')",
    )
    return not {name for (name,) in at_work}.intersection(hunted) and all(is_poison(int(data)) for (data,) in came_back)


def check(store: Store, values: int) -> None:
    """Check that each good value is done once and each poison value is dead, and that nothing is held."""
    good = [value for value in range(values) if not is_poison(value)]
    poison = [value for value in range(values) if is_poison(value)]
    assert sorted(store.session("done").xcom["files"]) == good
    assert states(store, "inbox", "files") == [
        (value, "dead" if is_poison(value) else "taken") for value in range(values)
    ]
    takers = query(
        store,
        "SELECT v.data, v.failed_deliveries, a.status, a.kind "
        "FROM zrb_value v LEFT JOIN zrb_attempt a ON a.id = v.taken_by "
        f"WHERE {_OF_INBOX} ORDER BY v.seq",
    )
    assert [tuple(row[2:]) for row in takers if not is_poison(int(row[0]))] == [("completed", "delivery")] * len(good)
    assert [row[1] for row in takers if is_poison(int(row[0]))] == [MAX_DELIVERIES] * len(poison)
    returns = query(
        store,
        "SELECT v.data, count(*), count(DISTINCT r.taken_by) FROM zrb_return r "
        f"JOIN zrb_value v ON v.queue_id = r.queue_id AND v.seq = r.seq WHERE {_OF_INBOX} GROUP BY v.data",
    )
    assert [tuple(row[1:]) for row in returns if is_poison(int(row[0]))] == [(MAX_DELIVERIES,) * 2] * len(poison)
    assert all(row[1] == 1 for row in returns if not is_poison(int(row[0])))
    lost = "SELECT count(*) FROM zrb_attempt WHERE status NOT IN ('completed', 'lost') OR kind <> 'delivery'"
    assert query(store, lost) == [(0,)]
    assert faults(store) == []
