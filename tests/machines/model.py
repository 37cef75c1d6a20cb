"""A model of queues and attempts, independent of the store: Python lists and the rules of promises 1 and 10.

See guarantees.md, promise 1, and guarantees.md, promise 10.
"""

from __future__ import annotations

from collections import deque
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
    """A value. It keeps its place in the queue, whatever its state becomes.

    Each return has the name of the taker, the reason, and the count of deliveries if that changed. What it was before
    it was replaced is in `earlier`.
    """

    value: Any
    pusher: Actor | None
    state: str = "live"
    holder: Actor | None = None
    orphaned: bool = False
    continues: Item | None = None
    deliveries: int = 0
    delayed: bool = False  # meaningful while it is live: a delayed value is in its place, but nobody finds it
    returns: list[tuple[str | None, str, int | None]] = field(default_factory=list)
    earlier: list[Any] = field(default_factory=list)

    @property
    def is_at_hand(self) -> bool:
        """Whether a person may drop or replace it."""
        return self.state in ("live", "dead")

    def drop(self, reason: str) -> None:
        """Take it out for good."""
        if self.state == "dead":
            self.returns.append((None, reason, 0))
            self.deliveries = 0
        self.state = "removed"

    def replace(self, new: Any, reason: str) -> None:
        """Give it another value."""
        if self.state == "dead":
            self.returns.append((None, reason, 0))
        self.earlier.append(self.value)
        self.value, self.state, self.deliveries = new, "live", 0

    @property
    def shown(self) -> str:
        """The state that readers see."""
        return "delayed" if self.state == "live" and self.delayed else self.state


class Queue:
    """Every item that was ever in the queue, in order."""

    def __init__(self, session: str = "") -> None:
        self.session = session  # as it stands in the names of attempts
        self.items: list[Item] = []
        self.limit: int | None = None
        self.retries = False  # whether what comes back from other sessions is delayed
        self.paused = False

    @property
    def live(self) -> list[Item]:
        return [item for item in self.items if item.state == "live" and not item.delayed]

    @property
    def contents(self) -> list[Any]:
        return [item.value for item in self.live]

    def push(self, actor: Actor | None, values: Sequence[Any], *, left: bool = False) -> None:
        """Add values in this order, after all others or before them. An item is continued."""
        new = [
            Item(value.value, actor, continues=value, deliveries=value.deliveries)
            if isinstance(value, Item)
            else Item(value, actor)
            for value in values
        ]
        self.items = [*new, *self.items] if left else [*self.items, *new]

    def take(self, actor: Actor | None, items: Sequence[Item], state: str = "removed") -> list[Any]:
        """Take items out of the queue, and make the attempt their holder."""
        for item in items:
            item.state, item.holder = state, actor
        return [item.value for item in items]

    def move(self, actor: Actor | None, items: Sequence[Item]) -> Sequence[Item]:
        """Take items that are going to be continued at another place."""
        self.take(actor, items)
        return items

    def rebuild(self, actor: Actor | None, place: int, dropped: int, new: Any) -> None:
        """Put `new` in place of `dropped` items at `place`. The shorter side of the queue becomes new items."""
        live = self.live
        before, after = live[:place], live[place + dropped :]
        self.take(actor, live[place : place + dropped])
        if len(after) <= len(before):
            self.push(actor, [new, *self.move(actor, after)])
        else:
            self.push(actor, [*self.move(actor, before), new], left=True)

    def rotate(self, actor: Actor | None, steps: int) -> None:
        """Rotate the queue. The shorter part becomes new items at the other end."""
        live = self.live
        right = steps % len(live) if live else 0
        if right and right <= len(live) - right:
            self.push(actor, self.move(actor, live[-right:]), left=True)
        elif right:
            self.push(actor, self.move(actor, live[:-right]))

    def requeue(self, reason: str) -> int:
        """Make the dead items live again, and return how many there were."""
        dead = [item for item in self.items if item.state == "dead"]
        for item in dead:
            item.returns.append((None, reason, 0))
            item.state, item.deliveries = "live", 0
        return len(dead)

    def delivered_to(self, actor: Actor) -> list[Item]:
        """Return what the attempt took, and of what it had moved before, all the places."""
        found = [item for item in self.items if item.holder is actor and item.state == "taken"]
        for item in found:
            if item.continues is not None and item.continues.holder is actor:
                found.append(item.continues)
        return found


def give_back(queues: Sequence[Queue], actor: Actor, reason: str) -> None:
    """Undo what an attempt did to any queue."""
    actor.given_back = True
    if actor.status == "running":
        actor.status = "lost"
    undo(queues, actor, reason)


def undo(queues: Sequence[Queue], actor: Actor, reason: str) -> None:
    """Undo what an attempt did to some queues."""
    for queue in queues:
        counted = queue.delivered_to(actor) if actor.status in ("failed", "lost") else []
        for item in queue.items:
            if item.holder is actor:
                item.deliveries += item in counted
                item.returns.append((actor.name, reason, item.deliveries if item in counted else None))
                item.state = "retracted" if item.orphaned or item.pusher is actor else "live"
                if item.state == "live" and item in counted:
                    if queue.limit and item.deliveries >= queue.limit:
                        item.state = "dead"
                    else:
                        item.delayed = queue.retries and not actor.name.startswith(f"{queue.session}/")
                item.holder, item.orphaned = None, False
            elif item.pusher is actor:
                if item.state in ("live", "dead"):
                    item.state = "retracted"
                elif item.state != "retracted":
                    item.orphaned = True


def apply(name: str, contents: list[Any], arguments: tuple[Any, ...]) -> tuple[Any, list[Any]]:
    """Return what a deque returns or raises, and its contents afterwards."""
    queue = deque(contents)
    # the names and the `pop` of zrb
    renamed = {"push": "append", "pop": "popleft", "popright": "pop"}
    try:
        if name == "set":
            return None, [arguments[0]]
        return getattr(queue, renamed.get(name, name))(*arguments), list(queue)
    except (IndexError, ValueError) as error:
        return error, contents


def apply_to_model(model: Queue, actor: Actor | None, name: str, arguments: Any) -> None:
    """Apply an operation of a queue to its model."""
    live = model.live
    match name, arguments:
        case ("push" | "append", [new]):
            model.push(actor, [new])
        case ("appendleft", [new]):
            model.push(actor, [new], left=True)
        case ("extend" | "__iadd__", [new]):
            model.push(actor, new)
        case ("extendleft", [new]):
            model.push(actor, new[::-1], left=True)
        case ("pop" | "popleft", _):
            model.take(actor, live[:1], "taken")
        case ("popright", _):
            model.take(actor, live[-1:], "taken")
        case ("clear", _):
            model.take(actor, live)
        case ("set", [new]):
            model.take(actor, live)
            model.push(actor, [new])
        case ("remove", [old]):
            model.take(actor, [next(item for item in live if item.value == old)])
        case ("__delitem__", [at]):
            model.take(actor, [live[at]])
        case ("insert", [at, new]):
            place = max(at + len(live), 0) if at < 0 else min(at, len(live))
            model.rebuild(actor, place, 0, new)
        case ("__setitem__", [at, new]):
            model.rebuild(actor, at % len(live), 1, new)
        case ("rotate", [steps]):
            model.rotate(actor, steps)
        case ("reverse", _):
            if len(live) > 1:
                model.push(actor, model.move(actor, live)[::-1])
        case ("__imul__", [times]):
            if times <= 0:
                model.take(actor, live)
            else:
                model.push(actor, live * (times - 1))
