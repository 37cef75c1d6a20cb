"""A model of queues and attempts, independent of the store: Python lists and the rules of promise 1.

See docs/promises.md, promise 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Actor:
    """An attempt, known by the name that its row gives it."""

    name: str
    status: str = "running"
    given_back: bool = False

    @property
    def is_unfinished(self) -> bool:
        return self.status != "completed" and not self.given_back


@dataclass(eq=False)
class Item:
    """A value. It keeps its place in the queue, whatever its state becomes."""

    value: Any
    pusher: Actor | None
    state: str = "live"
    holder: Actor | None = None
    orphaned: bool = False
    returns: list[tuple[str, str]] = field(default_factory=list)


class Queue:
    """Every item that was ever in the queue, in order."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    @property
    def live(self) -> list[Item]:
        return [item for item in self.items if item.state == "live"]

    @property
    def contents(self) -> list[Any]:
        return [item.value for item in self.live]

    def push(self, actor: Actor | None, values: Sequence[Any], *, left: bool = False) -> None:
        """Add values in this order, after all others or before them."""
        new = [Item(value, actor) for value in values]
        self.items = [*new, *self.items] if left else [*self.items, *new]

    def take(self, actor: Actor | None, items: Sequence[Item], state: str = "removed") -> list[Any]:
        """Take items out of the queue, and make the attempt their holder."""
        for item in items:
            item.state, item.holder = state, actor
        return [item.value for item in items]

    def rebuild(self, actor: Actor | None, place: int, dropped: int, new: Any) -> None:
        """Put `new` in place of `dropped` items at `place`. The shorter side of the queue becomes new items."""
        live = self.live
        before, after = live[:place], live[place + dropped :]
        self.take(actor, live[place : place + dropped])
        if len(after) <= len(before):
            self.push(actor, [new, *self.take(actor, after)])
        else:
            self.push(actor, [*self.take(actor, before), new], left=True)

    def rotate(self, actor: Actor | None, steps: int) -> None:
        """Rotate the queue. The shorter part becomes new items at the other end."""
        live = self.live
        right = steps % len(live) if live else 0
        if right and right <= len(live) - right:
            self.push(actor, self.take(actor, live[-right:]), left=True)
        elif right:
            self.push(actor, self.take(actor, live[:-right]))


def give_back(queues: Sequence[Queue], actor: Actor, reason: str) -> None:
    """Undo what an attempt did to any queue."""
    actor.given_back = True
    if actor.status == "running":
        actor.status = "lost"
    undo(queues, actor, reason)


def undo(queues: Sequence[Queue], actor: Actor, reason: str) -> None:
    """Undo what an attempt did to some queues."""
    for item in [item for queue in queues for item in queue.items]:
        if item.holder is actor:
            item.returns.append((actor.name, reason))
            item.state = "retracted" if item.orphaned or item.pusher is actor else "live"
            item.holder, item.orphaned = None, False
        elif item.pusher is actor:
            if item.state == "live":
                item.state = "retracted"
            elif item.state != "retracted":
                item.orphaned = True
