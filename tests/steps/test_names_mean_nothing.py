"""Steps and queues of a user that are named like those of agents and waits: they are shown as any others."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Commands
from tests.support.scripts import Scripts
from tests.support.sessions import parse
from zrb_store import Store, Waiting, step, wait
from zrb_store.inspect.list import ready
from zrb_store.inspect.show import open_session

ANSWER = {
    "kind": "answer",
    "response": {
        "parts": [{"part_kind": "tool-call", "tool_name": "x", "tool_call_id": "1", "args": {}}],
        "model_name": "gpt",
        "usage": {"input_tokens": 5, "output_tokens": 6},
    },
}
STEPS: dict[str, Any] = {
    "prompt": {"kind": "prompt", "message": [{"parts": [{"content": "Go."}]}], "history": [], "system_prompt": ""},
    "model": ANSWER,
    "tool x": {"kind": "value", "value": 1, "call": {}},
    "tool x 1": {"kind": "approval", "metadata": None},
    "desk: model": ANSWER,
    "desk: tool x 1": {"kind": "unknown", "value": "?"},
    "approval 1": {"kind": "approved"},
    "deferred 1": {"kind": "denied"},
    "budget of agents": {"tokens": 7},
    "wait": None,
    "wait approve": "yes",
}
QUEUES = ("approve", "load: approval 1", "load: desk: approval 1", "load: budget")
_OTHERS = str.maketrans("aeo", "430")


def work(store: Store, session: str, *, plainly: bool = False, more: int = 0) -> None:
    """Run a program with these names, or with others of the same length."""

    def named(name: str) -> str:
        return name.translate(_OTHERS) if plainly else name

    with contextlib.suppress(ZeroDivisionError), store.session(session).run() as run, run.attempt("load") as attempt:
        for name, result in STEPS.items():
            step(named(name), lambda result: result, result)
            step(named(name), lambda result: [result, more], result)  # named with ~2
        for queue in QUEUES:
            attempt.xcom[named(queue)].extend([True, {"tokens": 5}])
        step(named("tool y 1"), lambda: 1 // 0)


def scrubbed(text: str, session: str) -> str:
    """Return a text without what differs between two sessions that do the same."""
    text = re.sub(r"\d[\d.:,TZ-]*( ?(ms|s|µs)\b)?", "#", text.replace(session, "S").translate(_OTHERS))
    return re.sub(r"[\s─]+", " ", re.sub("#+", "#", text))


@pytest.mark.slow
@pytest.mark.needs("agents", "page", "watch")
@pytest.mark.promise(number=11)
def test_names_of_steps_and_queues_mean_nothing(command: Commands, store: Store) -> None:
    from zrb_store.page.content import describe

    work(store, "odd")
    work(store, "sim", plainly=True)
    for words in (("show",), ("show", "--format", "json"), ("log",), ("report",)):
        odd, sim = (scrubbed(command(*words[:1], name, *words[1:]).out, name) for name in ("odd", "sim"))
        assert words == ("report",) or odd == sim
        assert "conversation-title" not in odd
        assert " tokens" not in odd
    assert "session odd has no stored agent" in command("show", "odd", "--conversation").err
    assert not [line for line in command.ok("stats", "--format", "prometheus").splitlines() if "} 5" in line]
    assert json.loads(command.ok("stats", "--format", "json"))[0]["tokens"] is None
    check = command("check")
    assert scrubbed(check.out, "odd").count("agent") == scrubbed(check.out, "odd").count("wait") == 0
    document = describe(store.database, "odd")
    assert (document.texts, document.waits) == ([], [])
    assert not any(one.tokens for task in document.tasks for one in task.steps)
    with open_session(store.database, "odd") as seen:
        assert {one.to_json()["kind"] for one in seen.tasks[0].steps} == {"step"}
        assert [one.executions for one in seen.tasks[0].steps] == [1] * 23
    assert ready(store.database, store.session("odd").record().project or "") == []
    for more in ((), ("1",), ("--budget", "tokens=9")):
        assert "session odd does not wait for" in command("approve", "odd", *more).err


@pytest.mark.promise(number=11)
def test_their_results_are_compared_as_those_of_any_step(command: Commands, store: Store) -> None:
    work(store, "one")
    work(store, "two", more=1)
    found = command("diff", "one", "two").out
    assert found.count(".steps") == len(STEPS)
    assert ".conversation" not in found


@pytest.mark.needs("agents")
@pytest.mark.promise(number=18)
def test_waits_for_queues_of_such_names(command: Commands, store: Store) -> None:
    """They wait for values that anybody pushes."""

    def load() -> list[Any]:
        with store.session("odd").run() as run, run.attempt("load") as attempt:
            attempt.complete([step("wait approve", int, 3), *map(wait, QUEUES)])
        return list(store.session("odd").xcom["load"])

    for queue in QUEUES:
        with pytest.raises(Waiting, match=re.escape(f"""push odd {shlex.quote(queue)} '"yes"'""")):
            load()
        assert "approve" not in command("approve", "odd").out
        assert "does not wait for an approval" in command("approve", "odd").err
        (waits,) = parse("show", command.ok("show", "odd", "--format", "json"))["waits"]
        assert waits["queue"] == queue
        store.session("odd").xcom[queue].push(queue)
    assert load() == [[3, *QUEUES]]


@pytest.mark.promise(number=11)
def test_steps_of_one_name_and_of_two_kinds(store: Store) -> None:
    """A step of the user and a wait keep their own results, whatever they are called, and whichever comes first."""

    def load(first: str) -> list[Any]:
        def asked() -> list[Any]:
            return [wait("approve"), wait("more", name="model")]

        with store.session("odd").run(again=True) as run, run.attempt("load") as attempt:
            found = asked() if first == "wait" else []
            found += [step("wait approve", int, 1), step("model", int, 2)]
            found += asked() if first == "step" else []
            attempt.complete(found)
            return found

    for queue in ("approve", "more"):
        store.session("odd").xcom[queue].push(queue)
    assert load("step") == [1, 2, "approve", "more"]
    assert store.session("odd").xcom["load"].pop() == [1, 2, "approve", "more"]


@pytest.mark.promise(number=11)
@pytest.mark.slow
@pytest.mark.long_on_postgresql
def test_commands_of_such_names(location: str, tmp_path: Path, command: Commands, store: Store) -> None:
    scripts = Scripts(tmp_path, location)
    lines = [f"zrb-store step '{name}' -- echo '{json.dumps(result)}'" for name, result in STEPS.items()]
    waits = ["zrb-store wait approve", "zrb-store wait 'backup: approval 1'"]
    scripts.write("script.sh", "\n".join(["set -e", "echo >>ran", *lines, *waits]))
    first = scripts.night()
    assert (first.code, first.out.splitlines()) == (75, [json.dumps(result) for result in STEPS.values()])
    with open_session(store.database, "night") as seen:
        assert [one.last.kind for one in seen.tasks[0].steps] == [*["step"] * len(STEPS), "wait"]
        assert [one.step for one in seen.waits] == ["wait approve"]
    assert "session night has no stored agent" in command("show", "night", "--conversation").err
    for name in ("wait approve", "night: approval 1", "model", "budget of agents"):
        store.session("night").xcom[name].push(True)
    assert scripts.run("zrb-store", "resume", "--ready") == (0, "", ""), "none of these is what it waits for"
    for queue in ("approve", "backup: approval 1"):
        assert command("approve", "night").code == 3
        store.session("night").xcom[queue].push(queue)
        last = scripts.night()
    assert (last.code, last.out.splitlines()[-2:]) == (0, ['"yes"', "approvebackup: approval 1"])
    assert len(scripts.lines("ran")) == 3
