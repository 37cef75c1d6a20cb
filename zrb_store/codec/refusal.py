"""Why a value cannot be stored."""

from __future__ import annotations

from zrb_store.codec.shown import shorten_path
from zrb_store.errors import UnencodableValue, ZrbStoreError

NO_CODEC = (
    "no codec takes it; register one with register_codec, or push a value made of None, bool, numbers, text, bytes, "
    "lists, tuples, sets, dicts, dates and paths"
)


class Refusal(Exception):
    """A part of a value cannot be stored.

    Attributes:
        what: The part's type, for display.
        why: Why it is refused.
        error: What the caller is told with.
        steps: The way to the part, innermost step first; it grows while the walk unwinds.
    """

    def __init__(self, what: str, why: str = NO_CODEC, error: type[ZrbStoreError] = UnencodableValue) -> None:
        super().__init__(what, why)
        self.what = what
        self.why = why
        self.error = error
        self.steps: list[str] = []

    def path(self, root: str) -> str:
        """The way to the part, from the root."""
        return shorten_path(root + "".join(reversed(self.steps)))
