"""Secret inputs are never stored, and asked for again."""

from __future__ import annotations

import signal

import pytest

from tests.sessions import logged
from tests.zrb.conftest import Zrb, lines
from tests.zrb.test_names import TASKS, start


def found(zrb: Zrb, text: str) -> list[str]:
    """The files of the store that hold this text."""
    return [file.name for file in zrb.db.parent.glob("store.db*") if text.encode() in file.read_bytes()]


@pytest.mark.parametrize("outcome", ["success", "failure", "kill"])
def test_secrets_stay_out(zrb: Zrb, outcome: str) -> None:
    secret = "hunter2-is-not-enough"
    zrb.tasks(TASKS.replace("RuntimeError(", "RuntimeError(ctx.input.my_key + "))
    if outcome == "failure":
        zrb.mark("broken")
    if outcome == "kill":
        zrb.mark("slow")
    running = zrb.start("etl", "load", "--my-key", secret, "--day-of=x", "--rows=1", ZRB_STORE_SESSION="night")
    if outcome == "kill":
        running.reaches("in-load").signal(signal.SIGKILL)
    running.done()
    assert found(zrb, "night") != []
    assert found(zrb, secret) == []
    stored = zrb.stored("night")
    assert "my" not in (stored.record.inputs or "")
    if outcome == "failure":
        assert stored.attempts[0].error_message == "***broken"


def test_a_resume_asks_for_secrets_again(zrb: Zrb) -> None:
    zrb.tasks(TASKS.replace('return f"', 'return f"{ctx.input.my_key} '))
    zrb.mark("broken")
    start(zrb, code=1)
    (zrb.folder / "broken").unlink()
    (line,) = lines(zrb.resume("night", "--rows", "7", code=2).err)
    assert "--rows is no secret input of load" in line
    zrb.tasks(TASKS.replace('return f"', 'return f"{ctx.input.my_key} ').replace('"my-key", default="k1"', '"my-key"'))
    asked = zrb.resume("night", code=2).err
    assert "Traceback" not in asked
    assert lines(asked)[-1] == (
        "zrb-store: secret input my-key is not stored, and nobody can be asked: give --my-key VALUE"
    )
    assert zrb.resume("night", "--my-key", "k3").out.strip() == "k3 tue 5"


OUTER = """
from zrb import PasswordInput

inner = Task(name="inner", action=lambda ctx: "done")

@make_task(name="outer", input=PasswordInput("my-key", default="k1"), retries=0, group=cli)
async def outer(ctx):
    await asyncio.to_thread(inner.run)
    return {}[ctx.input.my_key]
"""


def test_secrets_stay_out_of_other_sessions_of_the_process_and_however_quoted(zrb: Zrb) -> None:
    zrb.tasks(OUTER)
    zrb.run("outer", "--my-key", "pa\"ss'w\\ord-zzqq", code=1, ZRB_STORE_SESSION="outer")
    assert found(zrb, "ord-zzqq") == []
    assert zrb.stored("outer").attempts[0].error_message == "'***'"
    with zrb.store() as store:
        (inner,) = [record.name for record in store.sessions() if record.name != "outer"]
        assert logged(store, inner)["runs"][0]["command"][-2:] == ["--my-key", "***"]


def test_a_secret_of_the_fallback_stays_out(zrb: Zrb) -> None:
    zrb.tasks(
        """
        from zrb import PasswordInput

        mend = Task(name="mend", input=PasswordInput("fb-key", default="k1"), action=lambda ctx: ran("mend"))
        cli.add_task(Task(name="main", action=lambda ctx: 1 / 0, retries=0, fallback=mend))
        """
    )
    zrb.run("main", code=1)
    for given in (["--fb-key", "hunter2-hunter2"], ["--fb-key=hunter2-hunter2"]):
        zrb.run("main", *given, code=None)  # some releases take it, some refuse it
    assert "mend" in zrb.ran
    assert found(zrb, "hunter2") == []


# A terminal whose user answers the prompt.
ANSWERING = """
import os, pty, sys

seen = b""

def read(terminal):
    global seen
    data = os.read(terminal, 1024)
    if b"my-key" not in seen and b"my-key" in seen + data:
        os.write(terminal, b"typed\\n")
    seen += data
    return data

sys.exit(os.waitstatus_to_exitcode(pty.spawn(["zrb", "xcom", "resume", "night"], read)))
"""


def test_a_resume_asks_at_the_terminal_or_takes_the_environments(zrb: Zrb) -> None:
    source = TASKS.replace('return f"', 'return f"{ctx.input.my_key} ')
    zrb.tasks(source.replace('default="k1"', 'default=os.environ.get("MY_KEY", "")'))
    for answer in ("typed", "of-environment"):
        zrb.mark("broken")
        start(zrb, code=1)
        (zrb.folder / "broken").unlink()
        done = zrb.run("-c", ANSWERING, program="python") if answer == "typed" else zrb.resume("night", MY_KEY=answer)
        assert f"{answer} tue 5" in done.out
        zrb.run("xcom", "rm", "night")
