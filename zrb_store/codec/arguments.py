"""Encode the arguments of a call for later comparison. One that cannot be encoded does not affect the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zrb_store.codec.display import qualified_name
from zrb_store.codec.json_text import dumps
from zrb_store.codec.text import DEFAULT_LIMIT, encode, to_json
from zrb_store.errors import UnencodableValue, ValueTooLarge
from zrb_store.json_tree import JsonValue


def encode_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], limit: int = DEFAULT_LIMIT) -> str:
    """Encode the arguments of a call as the text of `[[...], {...}]`.

    An argument that cannot be encoded, or that would exceed the limit, is stored as an `Opaque` with only its type.

    Args:
        args: The positional arguments.
        kwargs: The named arguments.
        limit: How many bytes of text the arguments may have together.
    """
    try:
        return encode([list(args), dict(kwargs)], limit=limit).data
    except (UnencodableValue, ValueTooLarge):
        encoder = _OneByOne(limit)
        return dumps([[encoder.tree(value) for value in args], encoder.named(kwargs)])


def encode_named(values: Mapping[str, Any], limit: int = DEFAULT_LIMIT) -> str:
    """Encode named values as the text of a dict, in the same way as `encode_arguments`."""
    try:
        return encode(dict(values), limit=limit).data
    except (UnencodableValue, ValueTooLarge):
        return dumps(_OneByOne(limit).named(values))


class _OneByOne:
    """An encoder that makes the tree of one value after the other, until their texts reach a limit."""

    def __init__(self, limit: int) -> None:
        self._room = limit

    def tree(self, value: Any) -> JsonValue:
        try:
            encoded = encode(value, limit=self._room)
        except (UnencodableValue, ValueTooLarge):
            # Without the repr, which may differ from run to run, or contain a secret.
            return {"$": "opaque", "type": qualified_name(type(value)), "repr": "", "path": "$", "cause": ""}
        self._room -= encoded.size
        return to_json(encoded.data)

    def named(self, values: Mapping[str, Any]) -> JsonValue:
        pairs = [(self.tree(name), self.tree(value)) for name, value in values.items()]
        named = {name: value for name, value in pairs if type(name) is str and name != "$"}
        return named if len(named) == len(pairs) else {"$": "dict", "v": [list(pair) for pair in pairs]}
