"""Kinds of agents that are killed, each as the end of a `zrb_init.py` that begins with `AGENTS`."""

PLAIN = "seed >> agent()\n"

FIXED = 'seed >> agent(conversation_name=os.environ["ZRB_STORE_SESSION"])\n'

RETRIES = """
def retrying(ctx):
    (charge,) = tools_of(ctx)
    async def charging(n: int) -> str:
        text = await charge(n)
        if n % 7 == 3:
            raise ModelRetry("charge less")
        return text
    charging.__name__ = "charge"
    return [charging]

seed >> agent(tool_factories=[retrying])
"""

# Its first result is not valid, so that it has to give another.
STRUCTURED = """
from pydantic import BaseModel
from zrb.llm.agent import create_agent

class Report(BaseModel):
    receipts: int

class Typed(LLMTask):
    def _create_agent(self, ctx, system_prompt=None, toolsets=None):
        return create_agent(
            model=self.get_model(ctx), system_prompt=system_prompt, tools=self.get_all_tools(ctx), output_type=Report,
            yolo=True, resolve_model=False)

    def post_process_output(self, output):
        return f"{output.receipts} receipts"

async def report(messages, info):
    number = answers(messages)
    if number < ROUNDS:
        async for part in think(messages, info):
            yield part
        return
    log(f"model {number}", "begin")
    await work()
    count = sum(isinstance(p, ToolReturnPart) for one in messages for p in one.parts)
    args = '{"receipts": "many"}' if number == ROUNDS else json.dumps({"receipts": count})
    yield {0: DeltaToolCall(name=info.output_tools[0].name, json_args=args, tool_call_id=f"r{number}")}
    log(f"model {number}", "end")

seed >> agent(cls=Typed, model=FunctionModel(stream_function=report))
"""

# The model numbers its calls anew in each answer, and a person approves them.
APPROVALS = """
from pydantic_ai import ToolApproved

async def numbered(messages, info):
    async for part in think(messages, info):
        if isinstance(part, dict):
            ((index, call),) = part.items()
            call.tool_call_id = f"call_{index}"
        yield part

async def ask(call):
    log(f"ask {json.loads(call.args)['n']}", "begin")
    return ToolApproved()

seed >> agent(yolo=False, tool_confirmation=ask, model=FunctionModel(stream_function=numbered))
"""

# The server is a process of its own.
SERVER = '''
import os
import time

from mcp.server.fastmcp import FastMCP

server = FastMCP("bank", log_level="ERROR")

def log(name, what):
    with open("calls", "a") as file:
        file.write(f"{name}\\t{what}\\t{os.getpid()}\\n")

@server.tool()
def charge(n: int) -> str:
    """Charge."""
    log(f"tool {n}", "begin")
    time.sleep(0.002)
    log(f"tool {n}", "end")
    return f"receipt {n}"

server.run()
'''
MCP = f"""
from fastmcp.client.transports import StdioTransport
from pydantic_ai.mcp import MCPToolset

(HERE / "server.py").write_text({SERVER!r})
bank = MCPToolset(StdioTransport(sys.executable, ["server.py"]))
seed >> agent(toolsets=[bank], tool_factories=[])
"""

KINDS = {
    "plain": PLAIN,
    "in a conversation with a fixed name": FIXED,
    "with tools that ask for a retry": RETRIES,
    "with a structured result": STRUCTURED,
    "with approvals, and ids of calls that come again": APPROVALS,
    "with the tools of an MCP server": MCP,
}
