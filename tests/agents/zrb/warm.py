"""Run zrb again and again in forks of one process that has loaded it: an agent's libraries take seconds to load.

`python tests/agents/zrb/warm.py` reads a JSON object on each line of stdin ({"args", "cwd", "env", "output"}), forks,
and runs zrb's command line in the child. It answers with the child's pid, and then with the exit status.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
import threading
from typing import Any

MODULES = (
    "zrb_store.plugin",
    "zrb_store.plugin.recorder",
    "zrb_store.agents.llm_tasks.agent_run",
    "zrb_store.store",
    "zrb_store.db.migrate",
    "zrb.__main__",
    "zrb.llm.hook.executor",
    "zrb.llm.task.chat.task",
    "zrb.llm.task.llm_task",
    "zrb.llm.util.stream_response",
    "pydantic_ai.models.function",
    "pydantic_ai.models.openai",
    "tiktoken",
)
# What a first run imports besides. Not every release of zrb and pydantic-ai has all of it.
LATER_MODULES = (
    "_strptime",
    "anyio._backends._asyncio",
    "fastmcp.client.transports.stdio",
    "genai_prices.data",
    "msgspec",
    "pydantic_ai.mcp",
    "zrb.llm.agent.run.multimodal_describe",
    "zrb.llm.agent.types",
    "zrb.llm.hook.creator",
    "zrb.llm.tool.journal_index",
    "zrb.llm.tool.plan",
    "zrb.llm.tool.shell_background",
    "zrb.session_state_log.session_state_log",
    "zrb_store.cli.resume",
    "zrb_store.codec.tagged",
    "zrb_store.inspect.resume",
    "zrb_store.agents.llm_tasks.hooks",
    "zrb_store.plugin.resume",
    "zrb_store.queries.by_hand",
)


def child(order: dict[str, Any]) -> None:
    """Become a zrb process."""
    os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["zrb", *order["args"]]
    sys.modules["zrb.__main__"].serve_cli()


def build_type_adapters() -> None:
    """Build the schemas that pydantic would build at their first use, in each child: half of what a short run costs."""
    from pydantic import TypeAdapter

    for found in gc.get_objects():
        if type(found) is TypeAdapter:
            found.rebuild(raise_errors=False)


def parse_yaml_fast() -> None:
    """Let C parse the heads of zrb's skills, which each run reads: a sixth of what it costs."""
    yaml: Any = importlib.import_module("yaml")
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def main() -> None:
    """Serve until stdin ends."""
    for module in MODULES:
        importlib.import_module(module)
    for module in LATER_MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    build_type_adapters()
    parse_yaml_fast()
    # Threads do not come along. zrb starts these for hooks, and starts them again when it needs them.
    sys.modules["zrb.llm.hook.executor"].shutdown_hook_executor(wait=True)
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                child(order)
                status = 0
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


main()
