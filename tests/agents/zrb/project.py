"""A project with agents, whose zrb starts fast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.agents.zrb.fire import Project, WarmZrb
from tests.agents.zrb.tasks import AGENTS
from tests.support.rows import query
from tests.zrb.conftest import Zrb, only
from tests.zrb.environments import environment
from zrb_store import open_store

on_newest = only(lambda version: version >= (3, 28))
on_supported = only(lambda version: version >= (2, 69))
sqlite = pytest.mark.parametrize("location", ["sqlite"], indirect=True)


_servers: dict[str, WarmZrb] = {}  # by release, for all modules that import the fixture

ONCE_TOOL = """
from zrb_store import once_tool
{named}
@once_tool{policy}
async def charge(n: int) -> str:
    log(f"tool {{n}}", "begin")
    if n == 20 and once_here("killed"):
        kill_me()
    return f"receipt {{n}}"

"""
"""A tool that is killed once, in the definition of an agent's task: the task itself follows."""


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, WarmZrb]]:
    """The processes that have loaded a release, by release."""
    yield _servers
    while _servers:
        _servers.popitem()[1].close()


class Agents:
    """A project with agents, on a store.

    Attributes:
        project: The project.
        location: The store.
        session: Name of the session that runs.
    """

    def __init__(self, zrb: Zrb, warm: WarmZrb, location: str) -> None:
        self.project = Project(zrb.folder, zrb.environ(ZRB_STORE_URL=location))
        self.location = location
        self.warm = warm
        self.session = "s"
        self._zrb = zrb

    def tasks(self, source: str) -> None:
        """Write the project's tasks."""
        self._zrb.tasks(AGENTS + source, prelude=False)

    def run(self, *args: str, code: int = 0, **env: Any) -> str:
        """Run a task in the session, and return the output."""
        status, output = self.warm.run(self.project, *args, **{"ZRB_STORE_SESSION": self.session, **env})
        assert status == code, output
        return output

    def resume(self, code: int = 0, **env: Any) -> str:
        """Resume the session."""
        return self.run("xcom", "resume", self.session, code=code, **env)

    def twice(self, *names: str) -> None:
        """Check that these calls began twice, and all others once."""
        assert {name: count for name, count in self.project.begun.items() if count != 1} == dict.fromkeys(names, 2)

    def rows(self, columns: str = "step, status", where: str = "TRUE") -> list[Any]:
        """Return columns of the steps' attempts, oldest first."""
        with open_store(self.location, read_only=True) as store:
            sql = f"SELECT {columns} FROM zrb_attempt WHERE step_of IS NOT NULL AND {where} ORDER BY id"
            return [tuple(row) if len(row) > 1 else row[0] for row in query(store, sql)]

    def live(self, queue: str) -> list[Any]:
        """Return the live values of a queue of the session."""
        with open_store(self.location, read_only=True) as store:
            return list(store.session(self.session).xcom[queue])


@pytest.fixture
def agents(zrb: Zrb, servers: dict[str, WarmZrb], location: str) -> Agents:
    """A project with agents."""
    if zrb.release not in servers:
        servers[zrb.release] = WarmZrb(environment(zrb.release) / "bin" / "python")
    return Agents(zrb, servers[zrb.release], location)
