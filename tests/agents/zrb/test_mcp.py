"""Tools of a real MCP server, a process of its own: a completed call is not executed again after a kill."""

from __future__ import annotations

import pytest

from tests.agents.zrb.project import Agents, on_newest, sqlite

pytestmark = [pytest.mark.slow, on_newest, sqlite]

# It kills zrb, its parent, amid a call.
SERVER = '''
import os, signal
from pathlib import Path

from mcp.server.fastmcp import FastMCP, Image

server = FastMCP("bank", log_level="ERROR")

def log(name, what):
    with Path("calls").open("a") as file:
        file.write(f"{name}\\t{what}\\t{os.getpid()}\\n")

@server.tool()
def picture() -> Image:
    """Show a receipt."""
    log("picture", "begin")
    return Image(data=b"\\x89PNG", format="png")

@server.tool()
def charge(n: int) -> str:
    """Charge."""
    log(f"tool {n}", "begin")
    if n == 20 and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getppid(), signal.SIGKILL)
    return f"receipt {n}"

log("server", "begin")
server.run()
'''

TASKS = """
PICTURE = False
from fastmcp.client.transports import StdioTransport
from pydantic_ai.mcp import MCPToolset

async def one_at_a_time(messages, info):
    number = answers(messages)
    log(f"model {number}", "begin")
    if number < 4 and PICTURE and number == 1:
        yield {0: DeltaToolCall(name="picture", json_args="{}", tool_call_id="p")}
    elif number < 4:
        args = json.dumps({"n": 10 * number})
        yield {0: DeltaToolCall(name="charge", json_args=args, tool_call_id=f"c{number}-0")}
    else:
        yield " ".join(str(p.content) for one in messages for p in one.parts if isinstance(p, ToolReturnPart))

bank = MCPToolset(StdioTransport(sys.executable, ["server.py"]), init_timeout=600)
triage = agent(toolsets=[bank], tool_factories=[], model=FunctionModel(stream_function=one_at_a_time))
"""
ALL = "receipt 0 receipt 10 receipt 20 receipt 30"


@pytest.mark.promise(number=11)
def test_a_completed_call_of_a_server_is_not_executed_again(agents: Agents) -> None:
    (agents.project.folder / "server.py").write_text(SERVER)
    agents.tasks(TASKS)
    agents.run("triage", code=-9)
    assert agents.project.begun.keys() == {"server", "model 0", "tool 0", "model 1", "tool 10", "model 2", "tool 20"}
    assert ALL in agents.resume()
    agents.twice("server", "tool 20")


def test_a_call_of_a_server_that_must_not_be_repeated(agents: Agents) -> None:
    (agents.project.folder / "server.py").write_text(SERVER)
    agents.tasks(TASKS + "triage.once_tools = ['charge']\n")
    agents.run("triage", code=-9)
    assert "step tool charge c2-0 of task triage" in agents.resume(code=1)
    mark = ("xcom", "mark", "s", "triage", "--step", "tool charge c2-0", "completed", "--result", '"receipt 20"')
    agents.run(*mark)
    assert ALL in agents.resume()
    assert all(agents.project.begun[f"tool {n}"] == 1 for n in (0, 10, 20, 30))


@pytest.mark.promise(number=11)
def test_a_picture_of_a_server_is_shown_again(agents: Agents) -> None:
    (agents.project.folder / "server.py").write_text(SERVER)
    agents.tasks(TASKS + "PICTURE = True\n")
    agents.run("triage", code=-9)
    assert "receipt 0 BinaryImage(data=b'\\x89PNG', media_type='image/png'" in agents.resume()
    agents.twice("server", "tool 20")
