"""Many processes, threads and coroutines at one store."""

from __future__ import annotations

from tests.processes import Child
from tests.workers import fork_after_open, rotate_until_told
from zrb_store import open_store


def test_what_a_forked_child_pushes_stays(location: str) -> None:
    """Also after its parent has closed the store: SQLite's locks do not cross a fork."""
    with Child(fork_after_open, location) as child:
        assert child.receive() == "forked"
        child.send("push and close")
        assert child.receive() == 0
        with open_store(location) as store:
            assert sorted(store.session("s").xcom["q"]) == [
                "before",
                "child",
                "child, after the parent closed",
                "parent",
            ]


def test_iterating_over_a_long_queue_while_another_process_moves_its_values(location: str) -> None:
    """It is one snapshot, though read page by page: no value is met twice, none is missed."""
    with Child(rotate_until_told, location, 2500) as child, open_store(location) as store:
        child.receive()
        queue = store.session("s").xcom["q"]
        for _ in range(40):
            assert sorted(queue) == list(range(2500))
        child.send("enough")
        assert child.join() == 0
