"""What a task assigns to `ctx.input` is kept with its attempt: it is there after a kill, and gone with the attempt."""

from __future__ import annotations

import json

import pytest

from tests.zrb.conftest import Zrb, lines, only
from tests.zrb.workflows import GIVEN, MAIN, WITH_INPUTS, killed_and_resumed

pytestmark = pytest.mark.promise(number=7)


WAYS = {
    "attribute": "ctx.input.day = ctx.input.day.upper()",
    "item": "ctx.input['extra'] = 42",
    "setattr": "setattr(ctx.input, 'extra', (1, 2))",
    "update": "ctx.input.update({'day': 'x'}, extra=None)",
    "setdefault": "ctx.input.setdefault('extra', []).append(1)",
    "union": "given = ctx.input; given |= {'day': b'x'}",
    "del": "del ctx.input['day']",
    "delattr": "del ctx.input.file_name",
    "pop": "assert ctx.input.pop('day') == 'monday' and ctx.input.pop('none', 1) == 1",
    "popitem": "ctx.input.popitem()",
    "clear": "ctx.input.clear(); ctx.input.day = 'only'",
    "session": "ctx.session.shared_ctx.input['day'] = 'x'",
    "thread": "t = __import__('threading').Thread(target=setattr, args=(ctx.input, 'day', 'x')); t.start(); t.join()",
}


@pytest.mark.oldest
@pytest.mark.parametrize("way", WAYS)
def test_an_assignment_survives_a_kill(zrb: Zrb, way: str) -> None:
    body = "\n".join(f"    {line}" for line in WAYS[way].split("\n"))
    source = f"""
def change(ctx):
    ran("change")
{body}

tasks = [task("change", change)]
{MAIN}
"""
    zrb.mark("mended")
    zrb.tasks(WITH_INPUTS + source)
    undisturbed = zrb.run("main", ZRB_STORE_SESSION="whole").out.strip()
    (zrb.folder / "mended").unlink()
    assert undisturbed != str(sorted(GIVEN.items()))
    assert killed_and_resumed(zrb, source) == undisturbed
    assert zrb.ran == ["change", "change"]  # not a third time


@pytest.mark.oldest
def test_a_retry_finds_the_inputs_as_before_the_failed_attempt(zrb: Zrb) -> None:
    """What a task that it started has assigned, and what is changed in place, included. A fallback sees the change."""
    zrb.tasks(
        WITH_INPUTS
        + """
def start(ctx):
    ctx.input.parts = [1]

def by_other(ctx):
    ctx.input["file-name"] = "b.csv"

async def retried(ctx):
    ctx.xcom.seen.push(shown(ctx))
    ctx.input.day += "!"
    ctx.input.parts.append(2)
    ctx.input.extra = 1
    del ctx.input["file_name"]
    if not ran("main"):
        await other.exec_chain(ctx.session)
    raise RuntimeError

other = task("other", by_other)
fallback = task("fallback", lambda ctx: ctx.xcom.seen.push(shown(ctx)))
main = task("main", retried, upstream=[task("start", start)], fallback=[fallback], retries=2)
cli.add_task(main)
"""
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="s")
    first, second, third, after = (dict(seen) for seen, _ in zrb.stored("s").fates("seen"))
    assert first == {**GIVEN, "parts": [1]}
    assert second == third == {**first, "file-name": "b.csv"}
    assert after == {"day": "monday!", "file-name": "b.csv", "parts": [1, 2], "extra": 1}


@pytest.mark.oldest
def test_a_resume_assigns_in_the_order_of_then(zrb: Zrb) -> None:
    """Of two tasks the one that ended last has the last word. A task that runs again sees what it saw."""
    done = killed_and_resumed(
        zrb,
        """
async def late(ctx):
    await wait_for("early")
    ctx.input.by = "late"

def early(ctx):
    ctx.input.by = "early"
    mark("early")

def unstorable(ctx):
    ctx.xcom.seen.push(sorted(ctx.input))
    return object()

def change(ctx):
    ctx.input.day = "done"

before = task("unstorable", unstorable)
tasks = [
    task("late", late),
    task("early", early),
    task("change", change, upstream=[before], execute_condition=lambda ctx: ctx.input.day != "done"),
]
"""
        + MAIN,
    )
    assert done == str(sorted({**GIVEN, "by": "late", "day": "done"}.items()))
    stored = zrb.stored("s")
    assert [len(stored.task(name)) for name in ("late", "early", "change", "unstorable")] == [1, 1, 1, 2]
    first, second = (names for names, state in stored.fates("seen"))
    assert set(second) - set(first) <= {"by"}
    assert dict(stored.record.tasks).get("change") != "skipped"


@pytest.mark.slow
@pytest.mark.oldest
def test_a_change_in_place_is_kept_too(zrb: Zrb) -> None:
    source = """
def start(ctx):
    ctx.input.parts, ctx.input.more = [1], {}
    ctx.input.parts.append(2)

def change(ctx):
    ctx.input.parts.append(3)
    dict(ctx.input)["more"]["a"] = ctx.input.more

first = task("start", start)
tasks = [task("change", change, upstream=[first]), task("read", lambda ctx: len(ctx.input.parts), upstream=[first])]
""".replace("= ctx.input.more\n", "= 1\n")
    done = killed_and_resumed(zrb, source + MAIN)
    assert done == str(sorted({**GIVEN, "parts": [1, 2, 3], "more": {"a": 1}}.items()))
    assert assigned(zrb) == {"start": ["more", "parts"], "change": ["more", "parts"], "read": [], "main": []}


def assigned(zrb: Zrb) -> dict[str, list[str]]:
    """Return the names that the last attempt of each task of the session `s` has assigned."""
    shown = json.loads(zrb.run("xcom", "show", "s", "--json").out)
    return {task["task"]: task["attempts"][-1]["inputs_assigned"] for task in shown["tasks"] if task["attempts"]}


@pytest.mark.oldest
def test_steps_keep_what_they_have_assigned(zrb: Zrb) -> None:
    """A step that is not run again assigns again where it stands; one that fails has assigned nothing."""
    done = killed_and_resumed(
        zrb,
        """
from zrb_store import step

def change(ctx):
    ran("step")
    ctx.input.day += "!"
    ctx.input.parts.append(2)

def fail(ctx):
    ctx.input.day = "failed"
    raise ValueError

def work(ctx):
    ctx.input.parts = [1]
    seen = [ctx.input.day]
    step("change", lambda: change(ctx))
    seen.append(ctx.input.day)
    try:
        step("fail", lambda: fail(ctx))
    except ValueError:
        pass
    seen.append(ctx.input.day)
    ctx.xcom.seen.push(seen)
    if not ran("work"):
        raise RuntimeError
    if not exists("mended"):
        os.kill(os.getpid(), 9)

def last(ctx):
    if not exists("twice"):
        mark("twice")
        os.kill(os.getpid(), 9)
    return shown(ctx)

tasks = [task("work", work, retries=2)]
cli.add_task(task("main", last, upstream=tasks))
if exists("mended"):
    mark("twice")
""",
    )
    assert done == str(sorted({**GIVEN, "day": "monday!", "parts": [1, 2]}.items()))
    assert zrb.ran.count("step") == 1
    every = [seen for seen, _ in zrb.stored("s").fates("seen")]
    assert every == [["monday", "monday!", "monday!"]] * len(every)


@pytest.mark.oldest
def test_what_an_inner_task_has_assigned_comes_with_its_outer_one(zrb: Zrb) -> None:
    done = killed_and_resumed(
        zrb,
        """
def change(ctx):
    ran("inner")
    ctx.input.day = "inner"

inner = task("inner", change)

async def start(ctx):
    await inner.exec_chain(ctx.session)
    ctx.input.day += "+"

tasks = [task("outer", start)]
"""
        + MAIN,
    )
    assert done == str(sorted({**GIVEN, "day": "inner+"}.items()))
    assert zrb.ran == ["inner"]


SECRET = """
from zrb import PasswordInput

INPUTS.append(PasswordInput(name="my-key", default="", always_prompt=False))

def change(ctx):
    ran("change")
    ctx.input.url = "none"
    ASSIGN
    print("of", ctx.input.my_key, ctx.input.get("url"))

inner = task("inner", change)

async def start(ctx):
    ran("outer")
    await inner.exec_chain(ctx.session)

tasks = [task("outer", start)]
"""


@pytest.mark.oldest
@pytest.mark.parametrize(
    "assign", ["ctx.input.my_key = 'hunter' + '22222'", "ctx.input.url = f'db://me:{ctx.input.my_key}@db1'"]
)
def test_a_secret_is_not_stored_and_its_task_runs_again(zrb: Zrb, assign: str) -> None:
    zrb.tasks(WITH_INPUTS + SECRET.replace("ASSIGN", assign) + MAIN.replace("shown(ctx)", "len(ctx.input.url)"))
    key = ("--my-key", "hunter22222")
    first = zrb.run("main", *key, code=-9, ZRB_STORE_SESSION="s")
    (line,) = [line for line in lines(first.err) if "is or contains a secret" in line]
    line = line[line.index("zrb-store:") :]
    name = "my_key" if "url" not in assign else "url"
    assert line == (
        f"zrb-store: task inner: what it has assigned to input {name} is or contains a secret, which is not stored, "
        "and the task runs again on a resume that needs it"
    )
    zrb.mark("mended")
    done = zrb.resume("s", *key)
    assert done.out.splitlines()[-1] == ("23" if "url" in assign else "4")
    assert zrb.ran == ["outer", "change"] * 2
    assert b"hunter22222" not in b"".join(path.read_bytes() for path in zrb.db.parent.glob("store.db*"))
    assert assigned(zrb)["inner"] == sorted({name, "url"})
    assert "hunter22222" not in zrb.run("xcom", "show", "s", "--full").out


@only(lambda version: version >= (2,))  # zrb 1 cannot write the log of a session with such an input
def test_a_value_that_cannot_be_stored_lets_its_task_run_again(zrb: Zrb) -> None:
    zrb.tasks(
        WITH_INPUTS
        + """
class Connection:
    pass

def change(ctx):
    ran("change")
    ctx.input.connection = Connection()

def other(ctx):
    ran("other")
    ctx.input.day = "x"

tasks = [task("change", change), task("other", other)]

def last(ctx):
    if not exists("mended"):
        os.kill(os.getpid(), 9)
    return type(ctx.input.connection).__name__ + ctx.input.day

cli.add_task(task("main", last, upstream=tasks))
"""
    )
    first = zrb.run("main", code=-9, ZRB_STORE_SESSION="s")
    assert "runs again on a resume that needs it" in first.err
    assert "not-restorable" in zrb.resume("s", "--plan", "--json").out
    zrb.mark("mended")
    assert zrb.resume("s").out.strip() == "Connectionx"
    assert zrb.ran == ["change", "other", "change"]


@pytest.mark.oldest
def test_it_is_given_back_with_its_attempt(zrb: Zrb) -> None:
    """And a task that is gone leaves what it has assigned."""
    source = """
def change(ctx):
    ran("change")
    ctx.input.day += "!"

def gone(ctx):
    ctx.input.extra = 1

tasks = [task("change", change), task("gone", gone)]
"""
    assert killed_and_resumed(zrb, source + MAIN) == str(sorted({**GIVEN, "day": "monday!", "extra": 1}.items()))
    zrb.tasks(WITH_INPUTS + source.replace(', task("gone", gone)', "") + MAIN)
    assert zrb.resume("s", "--from", "change").out.strip() == str(
        sorted({**GIVEN, "day": "monday!", "extra": 1}.items())
    )
    assert zrb.ran == ["change", "change"]


@pytest.mark.oldest
@pytest.mark.needs("replay")
def test_a_replay_finds_what_was_assigned_before(zrb: Zrb) -> None:
    zrb.tasks(
        WITH_INPUTS
        + """
def change(ctx):
    ctx.input.day += "!"

def work(ctx):
    ctx.input.day += "?"
    return shown(ctx)

def last(ctx):
    ctx.input.day = "last"

changed = task("change", change)
worked = task("work", work, upstream=[changed])
cli.add_task(task("main", last, upstream=[worked]))
"""
    )
    zrb.run("main", ZRB_STORE_SESSION="s")
    assert zrb.run("xcom", "replay", "s/work#1", "--yes").out.strip() == str(
        sorted({**GIVEN, "day": "monday!?"}.items())
    )
    assert "assigned day" in zrb.run("xcom", "show", "s", "--full").out
