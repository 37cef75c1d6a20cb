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

# A validator refuses its first result, so that it has to give another.
STRUCTURED = """
from pydantic import BaseModel
from zrb.llm.agent import create_agent

class Report(BaseModel):
    receipts: int

class Typed(LLMTask):
    def _create_agent(self, ctx, system_prompt=None, toolsets=None):
        agent = create_agent(
            model=self.get_model(ctx), system_prompt=system_prompt, tools=self.get_all_tools(ctx), output_type=Report,
            yolo=True, resolve_model=False)
        @agent.output_validator
        async def enough(report: Report) -> Report:
            if report.receipts == 0:
                raise ModelRetry("count them")
            return report
        return agent

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
    args = json.dumps({"receipts": 0 if number == ROUNDS else count})
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

# A capability answers the calls of each answer at once, in place of a tool.
DEFERRED = """
from pydantic_ai import DeferredToolResults
from pydantic_ai.capabilities import HandleDeferredToolCalls
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import ExternalToolset

schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
bank = ExternalToolset([ToolDefinition(name="charge", description="Charge.", parameters_json_schema=schema)])

def keep_context(ctx):
    global charging
    (charging,) = tools_of(ctx)
    return []

async def handle(ctx, requests):
    numbers = {call.tool_call_id: json.loads(call.args)["n"] for call in requests.calls}
    return DeferredToolResults(calls={call: await charging(n) for call, n in numbers.items()})

seed >> agent(toolsets=[bank], tool_factories=[keep_context], capabilities=[HandleDeferredToolCalls(handler=handle)])
"""

# Each request has a summary in place of all but the last four messages.
COMPACTED = """
from pydantic_ai.capabilities import ProcessHistory
from pydantic_ai.messages import ModelRequest, UserPromptPart

def state_of(messages):
    found = [answers(messages), 0, 0]
    for part in (part for one in messages for part in one.parts):
        if isinstance(part, ToolReturnPart):
            found = [found[0], found[1] + 1, found[2] + int(str(part.content).split()[1])]
        elif isinstance(part, UserPromptPart) and part.content.startswith("So far: "):
            found = [one + more for one, more in zip(found, map(int, part.content.split()[2:]))]
    return found

def compact(messages):
    if len(messages) < 7:
        return messages
    state = " ".join(map(str, state_of(messages[:-4])))
    return [ModelRequest([UserPromptPart(f"So far: {state}")]), *messages[-4:]]

async def compacted(messages, info):
    number, receipts, total = state_of(messages)
    log(f"model {number}", "begin")
    await work()
    if number < ROUNDS:
        for index in range(1 + number % 5):
            args = json.dumps({"n": 10 * number + index})
            yield {index: DeltaToolCall(name="charge", json_args=args, tool_call_id=f"c{number}-{index}")}
    else:
        yield f"{receipts} receipts, {total}"
    log(f"model {number}", "end")

seed >> agent(model=FunctionModel(stream_function=compacted), capabilities=[ProcessHistory(compact)])
"""

# zrb streams each answer: this agent asks for whole ones.
UNSTREAMED = """
from pydantic_ai.messages import TextPart, ToolCallPart

class Whole(LLMTask):
    def _create_agent(self, *args, **kwargs):
        agent = super()._create_agent(*args, **kwargs)
        run = agent.run
        agent.run = lambda *args, event_stream_handler=None, **kwargs: run(*args, **kwargs)
        return agent

async def whole(messages, info):
    parts = []
    async for part in think(messages, info):
        if isinstance(part, str):
            parts.append(TextPart(part))
        else:
            parts += [ToolCallPart(call.name, call.json_args, call.tool_call_id) for call in part.values()]
    return ModelResponse(parts)

seed >> agent(cls=Whole, model=FunctionModel(whole))
"""

# The result of each call is a text and a picture, and the answer has a digest of all of them.
PICTURES = MCP.replace("import FastMCP", "import FastMCP, Image").replace("n: int) -> str", "n: int) -> list")
PICTURES = PICTURES.replace(
    'return f"receipt {n}"', 'return [f"receipt {n}", Image(data=bytes([n % 256]) * 9, format="png")]'
)
PICTURES = """
import hashlib

async def seeing(messages, info):
    results = [p.content for one in messages for p in one.parts if isinstance(p, ToolReturnPart)]
    contents = [(text, picture.media_type, picture.data) for text, picture in results]
    async for part in think(messages, info):
        yield f"{part} {hashlib.sha256(repr(contents).encode()).hexdigest()}" if isinstance(part, str) else part
""" + PICTURES.replace("tool_factories=[]", "tool_factories=[], model=FunctionModel(stream_function=seeing)")

KINDS = {
    "plain": PLAIN,
    "in a conversation with a fixed name": FIXED,
    "with tools that ask for a retry": RETRIES,
    "with a structured result": STRUCTURED,
    "with approvals, and ids of calls that come again": APPROVALS,
    "with the tools of an MCP server": MCP,
    "with the pictures of an MCP server": PICTURES,
    "with deferred calls that a capability answers": DEFERRED,
    "with a compacted conversation": COMPACTED,
    "without streaming": UNSTREAMED,
}
