"""Conversations as they are read and compared, from the steps that agents leave."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest

from tests.agents.steps import keep
from tests.support.commands import Commands
from tests.support.sessions import parse, parse_lines
from zrb_store import Store, step
from zrb_store.page.content import describe

pytestmark = pytest.mark.long_on_postgresql

LONG = "line\n" * 5000


def answer(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a model's step, with calls of a tool, or a text."""
    usage = {"input_tokens": 5160, "output_tokens": 29}
    return {"kind": "answer", "response": {"parts": list(parts), "model_name": "gpt-5.2", "usage": usage}}


def said(kind: str, text: str = "", call: str | None = None, args: Any = None) -> dict[str, Any]:
    tool = None if call is None else "charge"
    return {"part_kind": kind, "content": text, "tool_name": tool, "tool_call_id": call, "args": args}


def prompt(text: str, *history: dict[str, Any]) -> dict[str, Any]:
    messages = [{"parts": [each]} for each in history]
    return {"kind": "prompt", "message": [{"parts": [said("user-prompt", text)]}], "history": messages}


PICTURE = {"media_type": None, "kind": "image-url", "url": "https://e.org/x.png"}
CALLS = [said("tool-call", call=f"c{n}", args={"who": "<Müller>", "file": LONG}) for n in range(3)]
A = {
    "a: prompt": prompt("Charge."),
    "a: model": answer(*CALLS),
    "a: tool charge c0": {"kind": "retry", "message": "less"},
    "a: tool charge c1": {"kind": "value", "value": [PICTURE]},
    "a: model~2": answer(said("text", LONG)),
    "a~2: prompt": prompt("And then?", said("user-prompt", "Charge."), said("text", "done")),
    "a~2: model": answer(said("text", "nothing")),
}
B = {"b: prompt": prompt("Look."), "b: model": answer(said("text", "seen"))}


def work(store: Store, session: str, steps: dict[str, Any], task: str = "talk") -> None:
    with store.session(session).run() as run, run.attempt(task) as attempt:
        for name, result in steps.items():
            keep(attempt, name, dict, result)


def test_a_conversation_is_read_and_compared(command: Commands, store: Store) -> None:
    """What is long is cut, what was given to an agent is folded; neither the order of agents nor of calls counts."""
    work(store, "one", A | B)
    calls = {name: A[name] for name in ("a: prompt", "a: model", "a: tool charge c1")}
    work(store, "two", B | calls | A)
    with store.session("none").run() as run, run.attempt("load"):
        step("model", dict, A["a: model"])  # of a user, who names it so
    assert "Their values are equal." in command.ok("diff", "one", "two")
    text, other = (
        re.sub(r", [\d:]+(Z| UTC)", "", command.ok("show", name, "--conversation")) for name in ("one", "two")
    )
    assert text.partition("b: ")[0] == other[other.index("a: ") :] + "\n"
    ends = "asks to try again: less", "[image, https://e.org/x.png]", "[not executed]"
    told = "\n\n".join(f"a: tool result charge\n{end}" for end in ends)
    assert f"{told}\n\na: assistant, gpt-5.2, 5,160 in / 29 out tokens\nline\n" in text
    assert "a~2: earlier conversation\n[2 turns]\n\na~2: user\nAnd then?\n" in text
    assert "more characters]" in text
    assert "more characters]" not in command.ok("show", "one", "--conversation", "--full")
    assert len(text) < 12_000
    turns = parse_lines("turn", command.ok("show", "one", "--conversation", "--format", "jsonl"))
    assert [turn["agent"] for turn in turns if turn["history"]] == ["a~2"] * 2
    assert parse("conversation", command.ok("show", "two", "--conversation", "--format", "json"))["turns"]
    assert "session none has no stored agent" in command("show", "none", "--conversation").err
    sums = command.ok("stats", "--format", "prometheus")
    assert re.search(r'kind="paid",direction="output"\} 232\n', sums), sums
    page = command.ok("report", "one").partition('<h2 id="conversation-title">')[2]
    assert "a: tool call charge</strong>" in page
    assert "&lt;Müller&gt;" in page
    ((_, ((_, kept, _),)),) = describe(store.database, "one").texts
    assert sum(len(turn.said(full=False)) for turn in kept) < 20_000
    work(store, "other", {**A, "a: tool charge c1": {"kind": "value", "value": "paid"}, **B})
    (path,) = re.findall(r"\$\S+", command("diff", "one", "other", "--format", "value").out)
    assert path == "$.talk.conversation.a[5].text"


def test_turns_that_are_no_answers(command: Commands, store: Store) -> None:
    """What a provider refused, what a person marked, and what failed are told in their place."""

    class Broken(Exception):
        pass

    def fail() -> None:
        raise Broken("no money")

    with contextlib.suppress(Broken), store.session("odd").run() as run, run.attempt("talk") as attempt:
        keep(attempt, "prompt", dict, prompt("Charge."))
        keep(attempt, "model", dict, {"kind": "refused", "text": "overloaded"})
        keep(attempt, "model~2", str, "Charge c1.")  # as `mark` stores it
        step("look", int)
        keep(attempt, "tool charge c1", fail)
    text = command.ok("show", "odd", "--conversation")
    told = [line for line in text.splitlines() if line.startswith(("[", "Charge c1"))]
    assert told == ["[refused: overloaded]", "Charge c1.", "[failed: no money]"]
    # An agent that stores nothing of what was said; `mark` keeps no arguments of a call.
    work(store, "odd", {"prompt": {}, "model": {}, "tool charge c1": {"kind": "value"}}, "private")
    assert "[not stored]" in command.ok("show", "odd", "private", "--conversation")
    marked = {"tool charge c1": {"kind": "value", "value": 1}}
    work(store, "marked", B | marked)
    work(store, "called", B | {"tool charge c1": {**marked["tool charge c1"], "call": {"n": 1}}})
    assert "conversation" not in command("diff", "marked", "called").out
    assert (
        "task other of session odd has no stored agent: name one of talk"
        in command("show", "odd", "other", "--conversation").err
    )
    work(store, "odd", B, "look")
    refused = command("show", "odd", "--conversation").err
    assert "session odd has several agents: name one of talk, private, look" in refused
