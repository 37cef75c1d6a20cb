"""Secret inputs are never stored, and a resume asks for them again."""

from __future__ import annotations

import base64
import signal

import pytest

from tests.support.sessions import logged
from tests.zrb.conftest import Zrb, files_with, lines
from tests.zrb.workflows import ETL, INPUTS, start_etl
from zrb_store import codec
from zrb_store.db.location import store_url

pytestmark = pytest.mark.slow


@pytest.mark.promise(number=9)
@pytest.mark.oldest
@pytest.mark.parametrize("outcome", ["success", "failure", "kill"])
def test_secret_inputs_are_not_stored_however_a_task_ends(zrb: Zrb, outcome: str) -> None:
    secret = "hunter2-is-not-enough"
    zrb.tasks(ETL.replace("RuntimeError(", "RuntimeError(ctx.input.my_key + "))
    if outcome == "failure":
        zrb.mark("broken")
    if outcome == "kill":
        zrb.mark("slow")
    running = zrb.start("etl", "load", "--my-key", secret, "--day-of=x", "--rows=1", ZRB_STORE_SESSION="night")
    if outcome == "kill":
        running.reaches("in-load").signal(signal.SIGKILL)
    running.done()
    assert files_with(zrb, "night") != []
    assert files_with(zrb, secret) == []
    stored = zrb.stored("night")
    # That it was given is stored, since a resume must not take its default instead. Its value is not.
    assert codec.decode(stored.record.inputs or "") == {"day-of": "x", "rows": 1, "my-key": {"masked": "***"}}
    if outcome == "failure":
        assert stored.attempts[0].error_message == "***broken"


@pytest.mark.oldest
def test_a_resume_asks_for_secrets_again(zrb: Zrb) -> None:
    zrb.tasks(ETL.replace('return f"', 'return f"{ctx.input.my_key} '))
    zrb.mark("broken")
    start_etl(zrb, code=1)
    (zrb.folder / "broken").unlink()
    (line,) = lines(zrb.resume("night", "--rows", "7", code=2).err)
    assert line == (
        "zrb xcom: --rows is not a secret input of load: "
        "a resume takes the stored inputs, and from the command line only --my-key"
    )
    (line,) = lines(zrb.resume("night", "--my-kye", "7", code=2).err)
    assert line.endswith("and from the command line only --my-key; did you mean --my-key?")
    zrb.tasks(ETL.replace('return f"', 'return f"{ctx.input.my_key} ').replace('"my-key", default="k1"', '"my-key"'))
    asked = zrb.resume("night", code=2).err
    assert "Traceback" not in asked
    assert lines(asked)[-1] == (
        "zrb xcom: secret input my-key was given at the start, and is not stored: give --my-key VALUE again"
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


@pytest.mark.newest
@pytest.mark.promise(number=9)
def test_secrets_stay_out_of_other_sessions_of_the_process_and_however_quoted(zrb: Zrb) -> None:
    zrb.tasks(OUTER)
    zrb.run("outer", "--my-key", "pa\"ss'w\\ord-zzqq", code=1, ZRB_STORE_SESSION="outer")
    assert files_with(zrb, "ord-zzqq") == []
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
        zrb.run("main", *given, code=None)  # some releases accept the option, some refuse it
    assert "mend" in zrb.ran
    assert files_with(zrb, "hunter2") == []


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


@pytest.mark.oldest
def test_a_resume_asks_at_the_terminal_or_takes_the_environments(zrb: Zrb) -> None:
    source = ETL.replace('return f"', 'return f"{ctx.input.my_key} ')
    # Without always_prompt=False, zrb 1 asks for it although nobody is there.
    zrb.tasks(source.replace('default="k1"', 'default=os.environ.get("MY_KEY", ""), always_prompt=False'))
    for answer in ("typed", "of-environment"):
        zrb.mark("broken")
        # A secret that was given is asked for, one that came from the environment comes from there again.
        inputs = INPUTS if answer == "typed" else INPUTS[:4]
        zrb.run("etl", "load", *inputs, code=1, ZRB_STORE_SESSION="night", MY_KEY="earlier")
        (zrb.folder / "broken").unlink()
        done = zrb.run("-c", ANSWERING, program="python") if answer == "typed" else zrb.resume("night", MY_KEY=answer)
        assert f"{answer} tue 5" in done.out
        zrb.run("xcom", "rm", "night")


QUOTING = """
import base64, json, shlex, urllib.parse
from zrb import PasswordInput

@make_task(name="main", input=PasswordInput("my-key", default="k1"), retries=0, group=cli)
def main(ctx):
    key = ctx.input.my_key
    quoted = [key, repr(key), urllib.parse.quote(key), urllib.parse.quote_plus(key), shlex.quote(key), key.encode(),
              base64.b64encode(f"me:{key}".encode()), key.upper(), key.lower(), json.dumps({"key": key})]
    raise type(f"No{key.title()}Error", (Exception,), {})(*quoted)
"""


@pytest.mark.newest
def test_a_secret_however_it_is_quoted_and_in_the_name_of_the_error(zrb: Zrb) -> None:
    zrb.tasks(QUOTING)
    secret = "Zk7 @'wört\\"
    zrb.run("main", "--my-key", secret, code=1, ZRB_STORE_SESSION="night")
    (attempt,) = zrb.stored("night").attempts
    error = f"{attempt.error_type} {attempt.error_message} {attempt.error_traceback}"
    assert "No***Error" in (attempt.error_type or "")
    assert not any(
        part in error.lower() for part in ("zk7", "rt\\", base64.b64encode(secret.encode())[2:8].decode().lower())
    )
    assert (attempt.error_message or "").count("***") >= 10
    assert files_with(zrb, "Zk7") == []


@pytest.mark.newest
def test_what_is_shorter_than_four_characters_mangles_nothing(zrb: Zrb) -> None:
    zrb.tasks(ETL)
    zrb.mark("broken")
    zrb.run("etl", "load", "tue", "5", "e", code=1, ZRB_STORE_SESSION="night")
    stored = zrb.stored("night")
    assert stored.attempts[0].error_message == "broken"
    assert "Traceback (most recent call last)" in (stored.attempts[0].error_traceback or "")
    with zrb.store() as store:
        # It is masked as an argument of the command, although it is short.
        assert logged(store, "night")["runs"][0]["command"][1:] == ["etl", "load", "tue", "5", "***"]


def test_a_resume_gives_the_default_of_a_secret_what_it_is_made_of(zrb: Zrb) -> None:
    source = ETL.replace(
        'default="k1"', 'default=lambda ctx: ctx.env.get("KEYS", "") + ctx.input.day_of, always_prompt=False'
    )
    zrb.tasks(source.replace('return f"', 'return f"{ctx.input.my_key} '))
    zrb.mark("broken")
    zrb.run("etl", "load", "tue", "5", code=1, ZRB_STORE_SESSION="night", KEYS="not-for-")
    (zrb.folder / "broken").unlink()
    assert zrb.resume("night", KEYS="for-").out.strip() == "for-tue tue 5"


# The URL of the store contains a password, and every command of a CmdTask gets the URL.
COMMAND = """
cli.add_task(CmdTask(name="main", cmd='zrb-store push inbox q 1 && printf %s "$ZRB_STORE_URL" > url', retries=0))
"""


@pytest.mark.promise(number=9)
@pytest.mark.parametrize("persist", ["user", "named"])
def test_a_debug_output_has_no_password_of_the_store(zrb: Zrb, new_postgres: str, persist: str) -> None:
    zrb.url = new_postgres.replace("//postgres@", "//postgres:hunter2-is@") + "&sslpassword=hunter2-is"
    zrb.tasks(COMMAND)
    done = zrb.run("main", ZRB_LOGGING_LEVEL="DEBUG", ZRB_STORE_PERSIST=persist)
    assert "Environment map:" in done.err
    assert "//postgres:***@" in done.err
    assert "hunter2" not in done.err + done.out
    assert store_url((zrb.folder / "url").read_text()) == store_url(zrb.url)
    assert zrb.stored("inbox").live("q") == [1]
    assert len(zrb.sessions()) == (2 if persist == "user" else 1)


STEPS = """
import shlex
from zrb import PasswordInput

def command(ctx):
    key = shlex.quote(ctx.input.my_key)
    save = f"sh -c 'printf %s \\"$1\\" > key' - {key}"
    return f"zrb-store step login -- {save} && zrb-store step upload -- false me:{key}"

cli.add_task(CmdTask(name="main", cmd=command, input=PasswordInput("my-key"), retries=0))
"""


@pytest.mark.promise(number=9)
@pytest.mark.oldest
def test_a_secret_input_in_the_command_of_a_step(zrb: Zrb) -> None:
    secret = "it's hunter22222"
    zrb.tasks(STEPS)
    zrb.run("main", "--my-key", secret, code=None, ZRB_STORE_SESSION="s")
    assert (zrb.folder / "key").read_text() == secret
    assert files_with(zrb, "hunter22222") == []
    shown = zrb.run("xcom", "show", "s", "--full").out
    assert "login" in shown
    assert "upload" in shown
