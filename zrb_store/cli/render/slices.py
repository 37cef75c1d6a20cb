"""Long texts are written in slices, so that memory does not hold them once more."""

from __future__ import annotations

from collections.abc import Iterator

_SLICE = 1024 * 1024  # characters


def slices(text: str) -> Iterator[str]:
    """Yield the parts of a text one after the other."""
    return (text[start : start + _SLICE] for start in range(0, len(text), _SLICE))
