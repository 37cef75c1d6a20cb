"""Random programs of attempts and steps, run on a store and on a model: what stands, what comes back, and when.

They are not left to Hypothesis, which prefers short programs and few rules.
"""

from __future__ import annotations

import inspect
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.machines.machine import PLACES, RUNNERS, TASKS, Operation
from tests.machines.steps_machine import Boom, StepMachine
from tests.support.rows import faults
from zrb_store import open_store


@pytest.fixture
def machine(location: str) -> Iterator[type[StepMachine]]:
    """A machine on this store."""
    with open_store(location) as runs_of:
        yield type("Bound", (StepMachine,), {"location": location, "runs_of": runs_of})
        assert faults(runs_of) == []


WEIGHTS = {
    "run_step": 9,
    "begin_step": 2,
    "inside_step": 3,
    "complete_step": 2,
    "fail_step": 1,
    "inside": 3,
    "outside": 1,
    "begin": 1,
    "complete": 1,
    "fail": 2,
    "die": 1,
    "end": 1,
    "run_again": 1,
    "limit": 1,
    "requeue": 1,
    "look_back": 1,
    "compare_history": 1,
}


class Choices:
    """The arguments of the rules, by their names."""

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator

    def __call__(self, parameter: inspect.Parameter) -> Any:
        choice, few = self._generator.choice, self._generator.randrange(10)
        match parameter.name:
            case "name":
                return choice(RUNNERS)
            case "task" | "begun_for":
                return choice(TASKS)
            case "base":
                return choice(["page", "clean"])
            case "place":
                return self._generator.randrange(len(PLACES))
            case "operation":
                return self.operation()
            case "outside":
                return [(self._generator.randrange(len(PLACES)), self.operation())] if few < 3 else []
            case "changes":
                return [(self._generator.randrange(len(PLACES)), self.operation()) for _ in range(1 + few % 2)]
            case "succeeds" | "storable":
                return few < 8
            case "error":
                return choice([Boom, KeyboardInterrupt])
            case "status":
                return choice(["failed", "interrupted"])
            case "limit":
                return choice([None, 1, 2])
            case "result":
                return few
            case _:
                return self._generator.randrange(1000)

    def operation(self) -> Operation:
        choice, few = self._generator.choice, self._generator.randrange(10)
        return choice([
            ("pop", ()), ("pop", ()), ("popright", ()), ("push", (few,)), ("push", (few,)), ("appendleft", (few,)),
            ("extend", ([few, few + 1],)), ("rotate", (few - 5,)), ("insert", (few - 5, few)), ("reverse", ()),
            ("clear", ()), ("set", (few,)), ("__setitem__", (0, few)), ("__imul__", (2,)),
        ])  # fmt: skip


def run_program(machine: StepMachine, seed: int) -> None:
    """Apply sixty rules, and compare after each."""
    generator = random.Random(seed)
    choices = Choices(generator)
    machine.start()
    machine.remember()
    for _ in range(60):
        action = getattr(machine, generator.choices(list(WEIGHTS), list(WEIGHTS.values()))[0])
        action(**{name: choices(parameter) for name, parameter in inspect.signature(action).parameters.items()})
        machine.contents_agree()
        machine.remember()
    machine.compare_history()
    machine.teardown()


@pytest.mark.promise(number=11)
@pytest.mark.slow
def test_random_programs_with_steps(machine: type[StepMachine]) -> None:
    """For more of them, set the number in the environment: STEPS_PROGRAMS=1000."""
    for seed in range(int(os.environ.get("STEPS_PROGRAMS", "6"))):
        try:
            run_program(machine(), seed)
        except BaseException as error:
            error.add_note(f"in the program of seed {seed}")
            raise
