"""Replacement of attributes of zrb's classes, all of them or none."""

from __future__ import annotations

from typing import Any

_ABSENT = object()


class Patches:
    """The attributes that were replaced, so that they can be restored."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any]] = []

    def put(self, owner: Any, name: str, new: Any) -> None:
        """Set an attribute of a class or a module."""
        self._replaced.append((owner, name, vars(owner).get(name, _ABSENT)))
        setattr(owner, name, new)

    def undo(self) -> None:
        """Restore everything, the last change first."""
        while self._replaced:
            owner, name, old = self._replaced.pop()
            if old is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, old)
