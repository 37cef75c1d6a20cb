"""Going through a value that needs tags, and through a JSON tree that has them.

Both walks are recursive and use at most three frames for each level of the value, so that MAX_DEPTH levels fit on
the stack.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from zrb_store.codec import classes, standard
from zrb_store.codec.collisions import FEW, FREE, TOO_MANY, excess_work
from zrb_store.codec.refusal import Refusal
from zrb_store.codec.shown import key_step, said, type_name
from zrb_store.codec.stand_ins import Undecodable
from zrb_store.codec.strict_json import MAX_DEPTH

READERS = standard.READERS | classes.READERS
"""By the tag of a tree: what reads it, and which keys it may have."""


class TooManyItems(Exception):
    """A value has more items than the size limit has room for."""


class Writer:
    """Makes the JSON tree of one value."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._free = FREE
        self._open: set[int] = set()

    def walk(self, value: Any) -> Any:
        """The tree of `value`."""
        kind = type(value)
        if kind in standard.LEAF_WRITERS:
            return standard.LEAF_WRITERS[kind](value)
        if id(value) in self._open:
            raise Refusal(type_name(kind), "it contains itself")
        if len(self._open) == MAX_DEPTH:
            raise Refusal(type_name(kind), f"it is nested more than {MAX_DEPTH} deep")
        self._open.add(id(value))
        try:
            write = standard.WRITERS.get(kind) or classes.writer_of(kind)
            if write is None:
                raise Refusal(type_name(kind))
            return write(value, self)
        except (Refusal, TooManyItems, RecursionError):
            raise
        except Exception as error:  # the value's own code, or its codec
            raise Refusal(type_name(kind), f"reading it raised {said(error)}") from error
        finally:
            self._open.discard(id(value))

    def items(self, values: Iterable[Any], step: str = "[{}]") -> list[Any]:
        """The trees of a container's items."""
        trees: list[Any] = []
        try:
            for item in values:
                self._spend()
                write = standard.LEAF_WRITERS.get(type(item))
                trees.append(write(item) if write else self.walk(item))
        except Refusal as refusal:
            refusal.steps.append(step.format(len(trees)))
            raise
        return trees

    def pairs(self, mapping: Mapping[Any, Any]) -> list[Any]:
        """The trees of a mapping whose keys may be of any type."""
        trees: list[Any] = []
        for key, item in mapping.items():
            self._spend()
            step = f".keys()[{len(trees)}]"
            try:
                key_tree = self.walk(key)
                step = key_step(key)
                trees.append([key_tree, self.walk(item)])
            except Refusal as refusal:
                refusal.steps.append(step)
                raise
        if len(mapping) > FEW:
            self.refuse_collisions(mapping, (key for key, _ in trees))
        return trees

    def named(self, mapping: Mapping[str, Any]) -> dict[str, Any]:
        """The trees of a mapping whose keys can be JSON keys."""
        trees: dict[str, Any] = {}
        for name, item in mapping.items():
            self._spend()
            try:
                trees[name] = self.walk(item)
            except Refusal as refusal:
                refusal.steps.append(key_step(name))
                raise
        return trees

    def refuse_collisions(self, value: Collection[Any], trees: Iterable[Any]) -> None:
        """Raise if it would be too much work to make this dict or set again from the trees of its keys."""
        self._free -= excess_work(value, trees)
        if self._free < 0:
            raise Refusal(type_name(type(value)), TOO_MANY)

    def _spend(self) -> None:
        # A value that shares its parts can be exponentially larger than its memory.
        self._room -= 1
        if self._room < 0:
            raise TooManyItems


class Reader:
    """Makes the value of one JSON tree, and leaves the tree as it is."""

    def __init__(self) -> None:
        self._hashed = 0
        self._free = FREE

    def walk(self, tree: Any) -> Any:
        """The value of `tree`; an `Undecodable` where a part cannot be read."""
        if type(tree) is list:
            items: list[Any] = []
            for item in tree:
                items.append(item if type(item) in standard.LEAF_WRITERS else self.walk(item))
            return items
        if type(tree) is not dict:
            return tree
        if "$" not in tree:
            return self.named(tree)
        tag = tree["$"]
        if type(tag) is not str or tag not in READERS:
            return self._undecodable(tree, "no such type")
        read, keys = READERS[tag]
        try:
            if not tree.keys() <= keys:
                raise ValueError("not of the form this version writes")
            return read(tree, self)
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001 - a registered codec may raise anything
            return self._undecodable(tree, said(error))

    def named(self, tree: dict[str, Any]) -> dict[str, Any]:
        """The values of a JSON object whose keys mean themselves."""
        values: dict[str, Any] = {}
        for name, item in tree.items():
            values[name] = item if type(item) in standard.LEAF_WRITERS else self.walk(item)
        return values

    def key(self, tree: Any) -> Any:
        """The value of a tree that becomes a dict's key or an element of a set."""
        self._hashed += 1
        try:
            return self.walk(tree)
        finally:
            self._hashed -= 1

    def refuse_collisions(self, keys: Collection[Any], trees: Iterable[Any]) -> None:
        """Raise if it is too much work to make a dict or a set of these keys."""
        self._free -= excess_work(keys, trees)
        if self._free < 0:
            raise ValueError(TOO_MANY)

    def plain(self, value: Any) -> Any:
        """Plain data that stands for an object of an unregistered class: hashable if the object had to be."""
        if not self._hashed:
            return value
        if type(value) is dict:
            return tuple(value.items())
        return tuple(value) if type(value) is list else value

    @staticmethod
    def _undecodable(tree: dict[str, Any], reason: str) -> Undecodable:
        claims = (tree.get("type"), tree["$"])
        return Undecodable(json.dumps(tree), next((claim for claim in claims if type(claim) is str), None), reason)
