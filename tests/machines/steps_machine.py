"""A store and a model of queues, attempts and steps, to which the same operations are applied."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.machines.machine import PLACES, RUNNERS, Machine, Operation
from tests.machines.model import Actor, Item, Queue, give_back
from tests.support.attempts import acting_as
from tests.support.stepping import execution
from zrb_store.attempt import Step
from zrb_store.attempt.steps import StoredResult
from zrb_store.testing import expire_lease
from zrb_store.xcom import current_attempt


class Boom(Exception):
    """The error with which a step fails."""


@dataclass(eq=False)
class StepActor(Actor):
    """A step, known by the name that its row gives it."""

    step: str = ""
    began: int = 0
    restorable: bool = True
    result: Any = None

    @property
    def in_effect(self) -> bool:
        return self.status == "completed" and not self.given_back


@dataclass(eq=False)
class OpenStep:
    """A step that was begun, and how to end it."""

    actor: StepActor
    step: Step
    execution: Any
    base: str


@dataclass
class Names:
    """Which steps an attempt has started, by their names."""

    started: Counter[str] = field(default_factory=Counter)
    failed: dict[str, list[int]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


class StepMachine(Machine):
    """The machine of test_state_machine.py, with steps."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0
        self.taken_at: dict[Item, int] = {}
        self.steps_of: dict[Actor, list[StepActor]] = {}
        self.names: dict[Actor, Names] = {}
        self.open: dict[str, list[OpenStep]] = {name: [] for name in RUNNERS}
        self.newest: dict[tuple[str, str], dict[str, StepActor]] = {}

    def teardown(self) -> None:
        for name in RUNNERS:
            self.drop_ended(name, every=True)
        super().teardown()

    # -- the rules of promise 11

    def change(self, actor: Actor | None, place: int, operation: Operation) -> None:
        super().change(actor, place, operation)
        self.clock += 1
        for item in self.queues[place].items:
            if item.holder is actor and actor is not None:
                self.taken_at.setdefault(item, self.clock)
            elif item.state == "live":
                self.taken_at.pop(item, None)

    def taking_from(self, parent: Actor, pusher: Actor, queues: Iterable[Queue]) -> set[StepActor]:
        """Return the completed steps of an attempt that hold what the attempt, or a step of it, pushed."""
        holders = {item.holder for queue in queues for item in queue.items if item.pusher is pusher}
        return {step for step in self.steps_of.get(parent, ()) if step.in_effect and step in holders}

    def dependent(self, name: str, parent: Actor, *, elsewhere: bool) -> list[StepActor]:
        """Return the completed steps of an attempt that rest on what comes back, the newest first."""
        foreign = [queue for (home, _), queue in zip(PLACES, self.queues, strict=True) if home != name]
        found = self.taking_from(parent, parent, foreign if elsewhere else self.queues)
        takes = [self.taken_at[item] for queue in foreign for item in queue.items if item.holder is parent]
        if takes:
            found |= {step for step in self.steps_of.get(parent, ()) if step.in_effect and step.began >= min(takes)}
        new = list(found)
        while new:
            more = self.taking_from(parent, new.pop(), self.queues) - found
            new += more
            found |= more
        return sorted(found, key=lambda step: -step.began)

    def close_steps(self, name: str, parent: Actor, reason: str = "interrupted") -> None:
        """End the running steps of an attempt that ends."""
        for step in reversed(self.steps_of.get(parent, ())):
            if step.status == "running":
                step.status = "interrupted"
                self.give_back(step, reason)
        self.drop_ended(name)

    def give_back(self, actor: Actor, reason: str) -> None:
        give_back(self.queues, actor, reason)
        self.forget_takes()

    def forget_takes(self) -> None:
        self.taken_at = {item: moment for item, moment in self.taken_at.items() if item.holder is not None}

    def drop_ended(self, name: str, *, every: bool = False) -> None:
        """Let the code of steps that were closed end. That changes nothing."""
        for one in list(self.open[name]):
            if every or one.actor.status != "running":
                self.open[name].remove(one)
                with acting_as(one.step), contextlib.suppress(Boom):
                    one.execution.__exit__(Boom, Boom(), None)

    def undo_elsewhere(self, name: str, actor: Actor) -> None:
        self.close_steps(name, actor, actor.status)
        for step in self.dependent(name, actor, elsewhere=True):
            self.give_back(step, actor.status)
        super().undo_elsewhere(name, actor)
        self.forget_takes()

    def give_back_all(self, actors: list[Actor]) -> None:
        for actor in actors:
            name = actor.name.removeprefix(self.prefix).partition("/")[0]
            reason = "lost" if actor.status == "running" else actor.status
            of_attempt = [step for step in self.steps_of.get(actor, ()) if step.status == "running"]
            both = [*of_attempt, *self.dependent(name, actor, elsewhere=False)]
            for step in sorted(both, key=lambda step: -step.began):
                self.give_back(step, reason)
            self.give_back(actor, reason)
            self.drop_ended(name)

    # -- steps

    def begin_step(self, name: str, number: int, base: str, begun_for: str) -> None:
        if not self.running(name):
            self.begin(name, begun_for)
        running = self.running(name)
        parent, attempt = running[number % len(running)]
        if any(one.base == base and one.step.parent is attempt for one in self.open[name]):
            return
        names = self.names.setdefault(parent, Names())
        failed = names.failed.setdefault(base, [])
        if failed:
            count = failed.pop(0)
        else:
            names.started[base] += 1
            count = names.started[base]
        full = base if count == 1 else f"{base}~{count}"
        known = self.newest.setdefault((name, attempt.task), {}).get(full)
        block = execution(attempt, base)
        try:
            found = block.__enter__()
        finally:
            current_attempt.set(None)
        if known is not None and known.in_effect and known.restorable:
            assert isinstance(found, StoredResult)
            assert found.result == str(known.result)
            block.__exit__(None, None, None)
            return
        assert isinstance(found, Step)
        self.clock += 1
        if known is not None and known.in_effect:
            self.give_back(known, "not-restorable")
        actor = StepActor(found.full_name, step=full, began=self.clock)
        self.steps_of.setdefault(parent, []).append(actor)
        self.newest[name, attempt.task][full] = actor
        names.counts[base] = count
        self.open[name].append(OpenStep(actor, found, block, base))

    def run_step(
        self,
        name: str,
        number: int,
        base: str,
        begun_for: str,
        outside: list[tuple[int, Operation]],
        changes: list[tuple[int, Operation]],
        result: int,
        succeeds: bool,
    ) -> None:
        """Let an attempt change a queue, begin a step of it, let that change queues, and end it."""
        if not self.running(name):
            self.begin(name, begun_for)
        running = self.running(name)
        parent, attempt = running[number % len(running)]
        for place, operation in outside:
            with acting_as(attempt):
                self.change(parent, place, operation)
        before = len(self.open[name])
        self.begin_step(name, number, base, begun_for)
        if len(self.open[name]) > before:
            for place, operation in changes:
                self.inside_step(place, operation, name, -1)
            if succeeds:
                self.complete_step(name, -1, result, True)
            else:
                self.fail_step(name, -1, Boom)

    def pick(self, name: str, number: int) -> OpenStep | None:
        return self.open[name][number % len(self.open[name])] if self.open[name] else None

    def parent_of(self, one: OpenStep, name: str) -> Actor:
        return next(actor for actor, attempt in self.actors[name] if attempt is one.step.parent)

    def inside_step(self, place: int, operation: Operation, name: str, number: int) -> None:
        one = self.pick(name, number)
        if one is not None:
            with acting_as(one.step):
                self.change(one.actor, place, operation)

    def complete_step(self, name: str, number: int, result: int, storable: bool) -> None:
        one = self.pick(name, number)
        if one is not None:
            with warnings.catch_warnings(action="ignore"):
                one.step.complete(result if storable else object())
            self.open[name].remove(one)
            with acting_as(one.step):
                one.execution.__exit__(None, None, None)
            one.actor.status, one.actor.result, one.actor.restorable = "completed", result, storable

    def fail_step(self, name: str, number: int, error: type[BaseException]) -> None:
        one = self.pick(name, number)
        if one is not None:
            self.open[name].remove(one)
            with acting_as(one.step):
                assert not one.execution.__exit__(error, error(), None)
            one.actor.status = "failed" if error is Boom else "interrupted"
            self.give_back(one.actor, one.actor.status)
            names = self.names[self.parent_of(one, name)]
            names.failed[one.base].append(names.counts[one.base])

    # -- what the rules of attempts do besides

    def complete(self, name: str, number: int, place: int, result: int | None) -> None:
        running = self.running(name)
        super().complete(name, number, place, result)
        if running:
            self.close_steps(name, running[number % len(running)][0])

    def end(self, name: str) -> None:
        self.runs[name].end("failed")
        running = [actor for actor, _ in self.running(name)]
        steps = [step for actor in running for step in self.steps_of.get(actor, ()) if step.status == "running"]
        for step in sorted(steps, key=lambda step: -step.began):
            step.status = "interrupted"
            self.give_back(step, "interrupted")
        self.drop_ended(name)
        for actor in reversed(running):
            actor.status = "interrupted"
            self.undo_elsewhere(name, actor)
        self.runs[name] = self.runs_of.session(self.prefix + name).run().start()
        self.give_back_all(self.unfinished(name))

    def die(self, name: str) -> None:
        """Take the session over. What ran, attempts and steps, is lost, the newest first."""
        session = self.runs_of.session(self.prefix + name)
        expire_lease(session)
        self.runs[name] = session.run().start()
        unfinished: list[Actor] = self.unfinished(name)
        self.give_back_all(unfinished)

    def run_again(self, name: str, task: str) -> None:
        """Give back a completed attempt, with all steps of its task, whichever attempt they ran in."""
        done = self.runs[name].completed(task)
        if done:
            attempts = [actor for actor, attempt in self.actors[name] if attempt.task == task]
            steps = [step for actor in attempts for step in self.steps_of.get(actor, ()) if step.in_effect]
            for step in sorted(steps, key=lambda step: -step.began):
                self.give_back(step, "again")
        super().run_again(name, task)
        self.forget_takes()
