"""The tasks of a workflow and the order between them, described without zrb."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A task of a workflow. It refers to other tasks by their names in the store."""

    name: str
    upstreams: Sequence[str] = ()  # the tasks that must be done or skipped before it starts
    successors: Sequence[str] = ()  # the tasks that start once it has completed
    checks: Sequence[str] = ()  # its readiness checks; a task that has some is a server
    fallbacks: Sequence[str] = ()  # the tasks that start once it has failed and is not retried any more
    condition: bool | None = True  # whether its condition holds; None if that is decided only when its turn comes
    compares_steps: bool = False  # whether it decides itself which of its completed steps it uses again


def in_order_of_start(tasks: Iterable[str]) -> list[Node]:
    """Return the tasks of a program, whose order nobody declares: each may read what those that began before it left.

    They are given as they began, perhaps several times.
    """
    names = list(dict.fromkeys(tasks))
    return [Node(name, names[place - 1 : place] if place else ()) for place, name in enumerate(names)]


class Workflow:
    """The tasks of a session, by name in order of registration, and the order between them.

    By name, `owners` are the tasks whose fallback a task is, and `checked` those whose readiness check it is.
    """

    def __init__(self, nodes: Iterable[Node], main: str) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.main = main
        self._after: dict[str, list[str]] = {name: [] for name in self.nodes}
        self._starters: dict[str, list[str]] = {name: [] for name in self.nodes}
        self.owners: dict[str, list[str]] = {name: [] for name in self.nodes}
        self.checked: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for upstream in node.upstreams:
                self._after[upstream].append(node.name)
                self._starters[node.name].append(upstream)
            for started in () if node.condition is False else (*node.successors, *node.checks):
                self._starters[started].append(node.name)
            for check in node.checks:
                self.checked[check].append(node.name)
            for fallback in node.fallbacks:
                self.owners[fallback].append(node.name)

    def order(self) -> list[str]:
        """Return every task, each after its upstreams and before the tasks that it starts."""
        found: dict[str, None] = {}
        entered: set[str] = set()
        waiting = [(name, False) for name in reversed(self.nodes) if name != self.main] + [(self.main, False)]
        while waiting:
            name, left = waiting.pop()
            node = self.nodes[name]
            if left:
                found[name] = None
            elif name not in entered:
                entered.add(name)
                started = (*node.checks, *node.successors, *node.fallbacks)
                waiting += [(other, False) for other in reversed(started)]
                waiting.append((name, True))
                waiting += [(other, False) for other in reversed(node.upstreams)]
        return list(found)

    def reachable(self) -> set[str]:
        """Return the tasks that run if nothing fails and every condition that can hold does hold."""
        found: set[str] = set()
        waiting = [self.main]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.nodes[name].upstreams
        while new := [name for name in self.nodes if name not in found and self._starts(name, found)]:
            found.update(new)
        return {name for name in found if self.nodes[name].condition is not False}

    def _starts(self, name: str, found: set[str]) -> bool:
        # As soon as one starter of a task is done, of whichever kind, zrb considers the task, and starts it if all its
        # upstreams are done or skipped. The fallbacks of a task that completes are skipped.
        return any(starter in found for starter in self._starters[name]) and all(
            upstream in found
            or any(owner in found and self.nodes[owner].condition is not False for owner in self.owners[upstream])
            for upstream in self.nodes[name].upstreams
        )

    def downstream(self, name: str, *, with_fallbacks: bool = False) -> list[str]:
        """Return the tasks that follow this one, directly or not, and so may read its output.

        With fallbacks, also those that start if one of these fails, and what follows them.
        """
        found: dict[str, None] = {}
        waiting = [name]
        while waiting:
            current = waiting.pop()
            following = [*self._after[current], *self.nodes[current].successors, *self.checked[current]]
            following += self.nodes[current].fallbacks if with_fallbacks else ()
            new = [other for other in following if other not in found and other != name]
            found.update(dict.fromkeys(new))
            waiting += new
        return list(found)
