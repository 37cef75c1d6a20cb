"""The exception that says why a value cannot be stored."""

from __future__ import annotations

from zrb_store.codec.display import shorten_path
from zrb_store.errors import UnencodableValue, ZrbStoreError

NO_CODEC = (
    "no codec takes it; register one with register_codec, or push a value made of None, bool, numbers, text, bytes, "
    "lists, tuples, sets, dicts, dates and paths"
)


class Unencodable(Exception):
    """A part of a value cannot be stored.

    Attributes:
        what: The part's type, for display.
        why: The reason.
        error: The class of the error that the caller of `encode` gets.
        segments: The path to the part, the innermost segment first. Each level adds its segment while the exception
            passes it.
    """

    def __init__(self, what: str, why: str = NO_CODEC, error: type[ZrbStoreError] = UnencodableValue) -> None:
        super().__init__(what, why)
        self.what = what
        self.why = why
        self.error = error
        self.segments: list[str] = []

    def path(self, root: str) -> str:
        """Return the path from the root to the part."""
        return shorten_path(root + "".join(reversed(self.segments)))
