"""Consumers that are shell scripts, under fire: they are killed at any moment, and some values kill them."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.shell.consumers import Consumer, Shell
from tests.support.processes import DEADLINE
from tests.support.rows import faults, query, states
from zrb_store import open_store

SCRIPT = """
case $1 in poison*) kill -9 $PPID $$;; esac
echo "$1" >>done
"""
"""A script whose parent is the consumer. Each line that it writes is one that it began to do."""

_TAKEN = (
    "FROM zrb_value v JOIN zrb_queue q ON q.id = v.queue_id JOIN zrb_session s ON s.id = q.session_id "
    "LEFT JOIN zrb_attempt a ON a.id = v.taken_by WHERE s.name = 'inbox'"
)
LEFT = f"SELECT 1 {_TAKEN} AND (v.state = 'live' OR a.status <> 'completed') LIMIT 1"
TAKERS = f"SELECT v.state, a.status, count(*) {_TAKEN} GROUP BY v.state, a.status ORDER BY v.state"
ATTEMPTS_WITH_MORE = f"SELECT a.id {_TAKEN} GROUP BY a.id HAVING count(*) > 1 AND a.id IS NOT NULL"
DEATHS = "SELECT failed_deliveries, count(*) FROM zrb_value WHERE state = 'dead' GROUP BY failed_deliveries"
ENDS = (-signal.SIGKILL, 0, 1, 3)
RUNNING = "SELECT 1 FROM zrb_attempt WHERE status = 'running'"


def consume_in_shells_under_fire(
    folder: Path,
    location: str,
    *,
    consumers: int,
    values: int,
    poison: int,
    kills: int,
    pause: float,
    max_deliveries: int = 3,
    seed: int = 7,
) -> None:
    """Let `zrb-store consume` empty a queue while consumers are killed and replaced by new ones.

    Check that every good value is done by exactly one completed attempt, that every poison value was delivered as often
    as its queue allows and is dead, and that nothing is left held. No session is resumed or deleted.

    Args:
        folder: An empty folder.
        location: An empty store.
        consumers: How many work at the same time.
        values: How many values there are, with the poisonous ones.
        poison: How many of them kill their consumer and the script.
        kills: How many consumers get SIGKILL.
        pause: Seconds between two kills.
        max_deliveries: How often a value may be delivered. A good one must not die: it has to be more than those that
            the kills can hit.
        seed: Chooses who is killed, and what is poisonous.
    """
    dice = random.Random(seed)
    poisonous = set(dice.sample(range(values), poison))
    inbox = [f"poison-{number}" if number in poisonous else f"good-{number}" for number in range(values)]
    shell = Shell(folder, location)
    numbers = itertools.count()
    try:
        with open_store(location) as store:
            queue = store.session("inbox").xcom["files"]
            queue.extend(inbox)
            queue.max_deliveries = max_deliveries

            def start() -> Consumer:
                return shell.start_sh(SCRIPT, "--all", "--wait", "2", "-q", "--as", f"consumer-{next(numbers)}")

            living = [start() for _ in range(consumers)]
            next_kill, deadline = time.monotonic() + pause, time.monotonic() + DEADLINE + kills * pause
            while True:
                assert time.monotonic() < deadline, f"values are left: {query(store, TAKERS)}"
                if kills and time.monotonic() >= next_kill:
                    kills -= 1
                    next_kill += pause
                    with suppress(ProcessLookupError):
                        os.kill(dice.choice(living).pid, signal.SIGKILL)
                ended = [one for one in living if not one.is_running]
                living = [one for one in living if one.is_running]
                assert all(one.join() in ENDS for one in ended), [one.err for one in ended]
                if not kills and not query(store, LEFT):
                    break
                living += [start() for _ in range(consumers - len(living))]
                time.sleep(0.02)
            for one in living:
                assert one.join() in ENDS, one.err
            fates = states(store, "inbox", "files")
            assert [value for value, _ in fates] == inbox
            wrong = [(value, fate) for value, fate in fates if fate != ("dead" if "poison" in value else "taken")]
            assert not wrong
            assert query(store, TAKERS) == [("dead", None, poison), ("taken", "completed", values - poison)]
            assert query(store, DEATHS) == [(max_deliveries, poison)]
            assert query(store, ATTEMPTS_WITH_MORE) == []
            assert query(store, RUNNING) == []
            assert set((folder / "done").read_text().split()) == {value for value in inbox if "good" in value}
            assert faults(store) == []
    finally:
        shell.close()
