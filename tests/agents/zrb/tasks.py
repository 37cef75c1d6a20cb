"""Tasks with agents that run without a network, and what is known of their model calls and tools beside the store.

The text is the start of `zrb_init.py`. Each call of a model or a tool is a line of the file `calls`: its name, whether
it begins or ends, and the pid.
"""

AGENTS = '''
import asyncio, json, os, random, signal, sys
from pathlib import Path

from pydantic_ai import ModelRetry
from pydantic_ai.messages import ModelResponse, ToolReturnPart
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from zrb import LLMTask, cli, make_task

HERE = Path(__file__).parent
ROUNDS = int(os.environ.get("ROUNDS", "50"))

def log(name, what):
    with (HERE / "calls").open("a") as file:
        file.write(f"{name}\\t{what}\\t{os.getpid()}\\n")

def once_here(name):
    """Return True the first time that any process comes here."""
    try:
        (HERE / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True

def kill_me():
    os.kill(os.getpid(), signal.SIGKILL)

def answers(messages):
    return sum(isinstance(one, ModelResponse) for one in messages)

def calls_of(messages):
    """Return the tool results of the last request: content by call id."""
    return {p.tool_call_id: str(p.content) for p in messages[-1].parts if isinstance(p, ToolReturnPart)}

async def work():
    await asyncio.sleep(random.uniform(0, 0.004))

async def think(messages, info):
    """Call one to five tools in each round, and answer with a digest of the whole conversation."""
    number = answers(messages)
    log(f"model {number}", "begin")
    await work()
    if number < ROUNDS:
        for index in range(1 + number % 5):
            call = f"c{number}-{index}"
            args = json.dumps({"n": 10 * number + index})
            yield {index: DeltaToolCall(name="charge", json_args=args, tool_call_id=call)}
    else:
        texts = [str(p.content) for one in messages for p in one.parts if isinstance(p, ToolReturnPart)]
        yield f"{len(texts)} receipts, {sum(int(one.split()[1]) for one in texts if one.startswith('receipt'))}"
    log(f"model {number}", "end")

MODEL = FunctionModel(stream_function=think)

def tools_of(ctx):
    async def charge(n: int) -> str:
        """Charge."""
        log(f"tool {n}", "begin")
        ticket = ctx.xcom["tickets"].pop()
        await work()
        ctx.xcom["out"].push(n)
        log(f"tool {n}", "end")
        return f"receipt {n}"
    return [charge]

@make_task(name="seed", retries=0, group=cli)
def seed(ctx):
    for number in range(5 * ROUNDS):
        ctx.xcom["tickets"].push(number)

def kill_at(number):
    """Return a tool that is killed once in the call with this number."""
    async def charge(n: int) -> str:
        log(f"tool {n}", "begin")
        if n == number and once_here("killed"):
            kill_me()
        return f"receipt {n}"
    return charge

def agent(name="triage", cls=LLMTask, **more):
    given = {
        "message": "Charge them all.",
        "system_prompt": "You charge.",
        "tool_factories": [tools_of],
        "model": MODEL,
        "yolo": True,
        "retries": 0,
    }
    return cli.add_task(cls(name=name, **{**given, **more}))
'''

# One call in each round, with an id that the test chooses.
_ONE_AT_A_TIME = """
async def one_at_a_time(messages, info):
    number = answers(messages)
    log(f"model {number}", "begin")
    if number < 4:
        yield {0: DeltaToolCall(name="charge", json_args=json.dumps({"n": 10 * number}), tool_call_id=ID)}
    else:
        texts = [str(p.content) for one in messages for p in one.parts if isinstance(p, ToolReturnPart)]
        yield "all receipts: " + json.dumps(texts)

TELLER = FunctionModel(stream_function=one_at_a_time)
"""


def rounds(call_id: str = 'f"c{number}"') -> str:
    """Return a model that makes four calls, one in each round, and answers with their results.

    Args:
        call_id: The expression for the id of a call.
    """
    return _ONE_AT_A_TIME.replace("ID", call_id)
