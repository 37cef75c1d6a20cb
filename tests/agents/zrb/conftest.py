"""The fixtures of tests of agents of zrb: those of tests of zrb, and projects with agents."""

from tests.agents.zrb.project import agents, servers
from tests.zrb.conftest import fork_servers, release, zrb

__all__ = ["agents", "fork_servers", "release", "servers", "zrb"]
