"""A secret input that was given when a session was started must be given again: its default never stands for it."""

from __future__ import annotations

import pytest

from tests.zrb.conftest import Done, Zrb, lines

pytestmark = pytest.mark.slow

TASKS = """
from zrb import PasswordInput

@make_task(name="first", retries=0)
def first(ctx):
    ran("first")

@make_task(
    name="load",
    input=[
        PasswordInput("token", default="of-default"),
        PasswordInput("pin", default=lambda ctx: f"pin-of-{ctx.input.token}", always_prompt=False),
        PasswordInput("minted", default=lambda ctx: os.urandom(8).hex(), always_prompt=False),
    ],
    upstream=first,
    retries=0,
    group=cli,
)
def load(ctx):
    ran("load")
    if not exists("mended"):
        raise RuntimeError("broken")
    return f"{ctx.input.token} {ctx.input.pin}"
"""
# zrb 1 also asks for an input if nobody is there to answer, and ends with an error of its own.
UNASKED = TASKS.replace('default="of-default"', 'default="of-default", always_prompt=False')
REFUSED = "was given at the start, and is not stored: give"


def fail(zrb: Zrb, *args: str, tasks: str = UNASKED) -> None:
    """Start the session with these inputs, and let it fail."""
    zrb.tasks(tasks)
    zrb.run("load", *args, code=1, ZRB_STORE_SESSION="night")
    zrb.mark("mended")


def refuses(done: Done, line: str) -> None:
    assert lines(done.err) == [line]
    assert done.out == ""


@pytest.mark.promise(number=9)
def test_no_way_takes_the_default_silently(zrb: Zrb) -> None:
    fail(zrb, "--token=given-token", "--pin", "given-pin")
    zrb.run("xcom", "fork", "night", "--from", "load", "--name", "copy")
    assert "zrb xcom resume night, which asks for token, pin\n" in zrb.run("xcom", "show", "night").out
    asked = "zrb xcom: secret input {0} is asked for, unless it is given: --{0} VALUE"
    assert lines(zrb.resume("night", "--plan", "--pin=1234").err) == [asked.format("token")]
    ways: list[list[str]] = [["night"], ["night", "--from", "first"], ["copy"]]
    for way in ways:
        refused = f"zrb xcom: secret input token {REFUSED} --token VALUE again"
        refuses(zrb.run("xcom", "resume", *way, code=2), refused)
        refused = f"zrb xcom: secret input pin {REFUSED} --pin VALUE again"
        refuses(zrb.run("xcom", "resume", *way, "--token=more", code=2), refused)
    for session in ("night", "copy"):
        line = (
            f"zrb-store: session {session} was started with a value for token, which is secret and not stored: "
            "give --token VALUE again\n"
        )
        assert line in zrb.run("load", "--pin=1234", code=65, ZRB_STORE_SESSION=session).err
        both = zrb.run("load", code=65, ZRB_STORE_SESSION=session).err
        assert "a value for token, pin, which is secret and not stored: give --token VALUE --pin VALUE again" in both
    assert zrb.ran == ["first", "load"]
    # The value may be another one, and the default too if it is given.
    assert zrb.resume("night", "--token=of-default", "--pin=other").out.strip() == "of-default other"
    assert zrb.run("load", "--token=t", "--pin=p", ZRB_STORE_SESSION="copy").out.strip() == "t p"
    # Nothing runs, so nothing is needed.
    for again in (zrb.resume("night"), zrb.run("load", ZRB_STORE_SESSION="night")):
        assert again.out.strip() == "of-default other"
    refuses(
        zrb.resume("night", "--from", "load", code=2), f"zrb xcom: secret input token {REFUSED} --token VALUE again"
    )


def test_a_default_that_was_taken_is_taken_again(zrb: Zrb) -> None:
    fail(zrb)
    assert zrb.resume("night").out.strip() == "of-default pin-of-of-default"
    # A later run that is given it makes it needed from then on.
    (zrb.folder / "mended").unlink()
    zrb.resume("night", "--from=load", "--token", "given", code=1)
    zrb.mark("mended")
    refuses(zrb.resume("night", code=2), f"zrb xcom: secret input token {REFUSED} --token VALUE again")
    assert zrb.resume("night", "--token", "t").out.strip() == "t pin-of-t"


# A terminal whose user answers prompts: `{prompt: answer, ...}`, then the command.
ANSWERING = """
import os, pty, sys

answers = eval(sys.argv[1])
seen = ""

def read(terminal):
    global seen
    data = os.read(terminal, 1024)
    seen += data.decode(errors="replace")
    for prompt in [prompt for prompt in answers if f"{prompt}: " in seen]:
        seen = seen.rpartition(f"{prompt}: ")[2]
        os.write(terminal, f"{answers[prompt].pop(0)}\\r".encode())
        if not answers[prompt]:
            del answers[prompt]
    return data

sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[2:], read)))
"""


def at_terminal(zrb: Zrb, answers: dict[str, list[str]], *command: str, code: int = 0, session: str = "") -> list[str]:
    named = session or None
    args = ("-c", ANSWERING, repr(answers), *command)
    done = zrb.run(*args, program="python", code=code, ZRB_STORE_SESSION=named)
    return [line.strip() for line in lines(done.out)]


def test_somebody_at_a_terminal_is_asked(zrb: Zrb) -> None:
    fail(zrb, "--token=given-token", "--pin", "given-pin", tasks=TASKS)
    resume = ("zrb", "xcom", "resume", "night")
    shown = at_terminal(zrb, {"token": ["typed"], "pin": [""]}, *resume, code=2)
    assert shown[-1].endswith(f"zrb xcom: secret input pin {REFUSED} --pin VALUE again")
    # zrb asks for `token` itself, and the default is not taken. It never asks for `pin`.
    answers = {"token": ["", "t"], "pin": ["p"]}
    assert "t p" in at_terminal(zrb, answers, "zrb", "load", session="night")
    zrb.run("xcom", "fork", "night", "--from", "load", "--name", "copy")
    assert "t2 p2" in at_terminal(zrb, {"token": ["t2"], "pin": ["p2"]}, "zrb", "xcom", "resume", "copy")
