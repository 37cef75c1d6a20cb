"""Stored inputs of a session and arguments of a step, with which a later run compares its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from zrb_store.codec.display import is_opaque, qualified_name
from zrb_store.codec.json_text import dumps
from zrb_store.codec.text import decode, encode, to_json
from zrb_store.errors import UnencodableValue, ValueTooLarge
from zrb_store.masking import mask_text, mask_texts
from zrb_store.records import JsonValue
from zrb_store.settings import DEFAULT_MAX_VALUE

T = TypeVar("T")


def stored_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], limit: int = DEFAULT_MAX_VALUE) -> str:
    """Return what is stored of the arguments of a call: the text of `[[...], {...}]`, with secrets masked.

    An argument that cannot be encoded, or that would exceed the limit, is stored as an `Opaque` with only its type.
    """
    try:
        encoded = encode([list(args), dict(kwargs)], limit=limit).data
    except (UnencodableValue, ValueTooLarge):
        encoder = _OneByOne(limit)
        encoded = dumps([[encoder.tree(value) for value in args], encoder.named(kwargs)])
    return mask_encoded(encoded)


def encode_named(values: Mapping[str, Any]) -> str:
    """Encode named values as the text of a dict, each as `stored_arguments` does."""
    try:
        return encode(dict(values)).data
    except (UnencodableValue, ValueTooLarge):
        return dumps(_OneByOne(DEFAULT_MAX_VALUE).named(values))


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


def without_secrets(inputs: Mapping[str, T]) -> dict[str, T]:
    """Mask the passwords of URLs in inputs, and the values that this process's command line gives to secret options.

    What is masked is not compared.
    """

    def masked(value: T) -> T:
        try:
            encoded = encode(value).data
        except (UnencodableValue, ValueTooLarge):
            return value  # only its type will be stored
        shown = mask_encoded(encoded)
        found: T = value if shown == encoded else decode(shown)
        return found

    return {name: masked(value) for name, value in inputs.items()}


def mask_encoded(encoded: str) -> str:
    """Mask the secrets in an encoded value that is stored only for comparison, as `without_secrets` does."""
    if mask_text(encoded) == encoded:
        return encoded
    return dumps(mask_texts(to_json(encoded)))


def names_of(encoded: str) -> list[str]:
    """Return the names of encoded inputs."""
    tree = to_json(encoded)
    return [] if type(tree) is not dict or "$" in tree else list(tree)


def names_of_unstorable(encoded: str) -> set[str]:
    """Return the names of encoded inputs of which only the type could be stored."""
    tree = to_json(encoded)
    return {name for name, value in tree.items() if is_opaque(value)} if type(tree) is dict else set()


def without_names(encoded: str, names: Collection[str]) -> str:
    """Return encoded inputs without those of these names."""
    tree = to_json(encoded) if names else None
    if type(tree) is not dict or "$" in tree:
        return encoded
    return dumps({name: value for name, value in tree.items() if name not in names})


def positional_and_named(encoded: str) -> tuple[list[JsonValue], dict[str, JsonValue]]:
    """Return the trees of stored arguments: the positional and the named ones; none if they are damaged."""
    tree = to_json(encoded)
    if type(tree) is not list or len(tree) != 2:
        return [], {}
    positional, named = tree
    return positional if type(positional) is list else [], named if type(named) is dict else {}


def call_text(arguments: str) -> str:
    """Return stored arguments as they stand in a call: `7, "a.csv", mode="fast"`; `none` if there are none."""
    positional, named = positional_and_named(arguments)
    if "$" in named:  # names that are no plain texts
        return arguments
    return ", ".join([*map(dumps, positional), *(f"{name}={dumps(value)}" for name, value in named.items())]) or "none"
