"""A chat that a person types at a terminal is left alone: none of its calls is a step."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.agents.zrb.project import Agents, on_newest, sqlite
from tests.zrb.conftest import Zrb
from tests.zrb.environments import environment
from zrb_store import open_store

pytestmark = [pytest.mark.slow, on_newest, sqlite]

DEADLINE = 600.0

CHATS = """
from zrb import LLMChatTask
from zrb.builtin.llm.chat import llm_chat
llm_chat._model = MODEL
llm_chat._yolo = True
llm_chat.append_tool(kill_at(-1))
talk = cli.add_task(LLMChatTask(name="talk", tools=[kill_at(-1)], model=MODEL, yolo=True, conversation_name="mine"))
"""


class Terminal:
    """A terminal of 120 columns, and a person at it.

    Attributes:
        pid: The process that runs in it.
    """

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._screen = b""

    @property
    def text(self) -> str:
        """What was written, without the codes that move the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._screen.decode(errors="replace"))

    def wait(self, condition: Callable[[], bool], key: bytes = b"") -> None:
        """Read until a condition holds, and press a key each second until then: the program may not listen yet."""
        ends = time.monotonic() + DEADLINE
        press_at = time.monotonic()
        while not condition():
            now = time.monotonic()
            assert now < ends, self.text
            if key and now > press_at:
                os.write(self._descriptor, key)
                press_at = now + 1
            if select.select([self._descriptor], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):  # it has ended
                    self._screen += os.read(self._descriptor, 65536)

    def type(self, text: str) -> None:
        """Type a text, without the enter key."""
        os.write(self._descriptor, text.encode())

    def ended(self) -> bool:
        """Whether the program has ended, with exit code 0."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.pid = 0
            assert os.waitstatus_to_exitcode(status) == 0, self.text
        return bool(pid)


@contextlib.contextmanager
def terminal(zrb: Zrb, *args: str, **env: str) -> Iterator[Terminal]:
    """Run zrb in a terminal."""
    program = str(environment(zrb.release) / "bin" / "zrb")
    environ = {**zrb.environ(**env), "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(zrb.folder)
        os.execve(program, [program, *args], environ)
    opened = Terminal(pid, descriptor)
    try:
        yield opened
    finally:
        if opened.pid:
            os.kill(opened.pid, signal.SIGKILL)
            os.waitpid(opened.pid, 0)
        os.close(descriptor)


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("task", ["llm chat", "talk"])
def test_a_chat_at_a_terminal_is_left_alone(zrb: Zrb, agents: Agents, task: str) -> None:
    agents.tasks(CHATS)
    env = {"ZRB_STORE_URL": agents.location, "ROUNDS": "2", "OPENAI_API_KEY": "none"}
    histories = agents.project.folder.parent / "home" / ".zrb" / "llm-history"

    def is_saved() -> bool:
        return any("3 receipts, 21" in one.read_text() for one in histories.glob("*.json"))

    with terminal(zrb, *task.split(), **env) as at:
        at.wait(lambda: "Ready" in at.text)
        at.type("charge")
        at.wait(lambda: ("model 2", "end") in agents.project.calls, key=b"\r")
        at.wait(is_saved)
        at.wait(lambda: "To run again" in at.text, key=b"\x03")
        at.wait(at.ended)
    calls = ("model 0", "tool 0", "model 1", "tool 10", "tool 11", "model 2")
    assert agents.project.begun == dict.fromkeys(calls, 1)
    assert agents.rows() == []
    with open_store(agents.location, read_only=True) as store:
        # A chat of the user's own is a session like other tasks, without steps.
        assert [one.status for one in store.sessions()] == ([] if task == "llm chat" else ["completed"])
