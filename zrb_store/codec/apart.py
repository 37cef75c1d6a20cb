"""Values that are stored to be compared with others later: one that cannot be stored does not hide the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zrb_store.codec.shown import full_name
from zrb_store.codec.strict_json import dumps
from zrb_store.codec.text import DEFAULT_LIMIT, encode, to_json
from zrb_store.errors import UnencodableValue, ValueTooLarge


def encode_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], limit: int = DEFAULT_LIMIT) -> str:
    """Make the arguments of a call into the text of `[[...], {...}]`.

    Of an argument that no codec takes, or that the limit has no room for, only the type is kept, as an `Opaque`.

    Args:
        args: The positional arguments.
        kwargs: The named ones.
        limit: The most bytes of text that the arguments have together.
    """
    try:
        return encode([list(args), dict(kwargs)], limit=limit).data
    except (UnencodableValue, ValueTooLarge):
        apart = _Apart(limit)
        return dumps([[apart.tree(value) for value in args], apart.named(kwargs)])


def encode_named(values: Mapping[str, Any], limit: int = DEFAULT_LIMIT) -> str:
    """Make values by name into the text of a dict, likewise."""
    try:
        return encode(dict(values), limit=limit).data
    except (UnencodableValue, ValueTooLarge):
        return dumps(_Apart(limit).named(values))


class _Apart:
    """Makes values into trees one by one, as long as there is room."""

    def __init__(self, room: int) -> None:
        self._room = room

    def tree(self, value: Any) -> Any:
        try:
            data = encode(value, limit=self._room).data
        except (UnencodableValue, ValueTooLarge):
            # Without its repr, which may differ from run to run, or tell a secret.
            return {"$": "opaque", "type": full_name(type(value)), "repr": "", "path": "$", "cause": ""}
        self._room -= len(data)
        return to_json(data)

    def named(self, values: Mapping[str, Any]) -> Any:
        pairs = [(self.tree(name), self.tree(value)) for name, value in values.items()]
        if all(type(name) is str and name != "$" for name, _ in pairs):
            return dict(pairs)
        return {"$": "dict", "v": [list(pair) for pair in pairs]}
