"""Many processes, threads and coroutines at one store."""

from __future__ import annotations

from tests.processes import Child
from tests.workers import fork_after_open
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
