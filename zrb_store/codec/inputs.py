"""What is stored of inputs and arguments, to be compared with those of later runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from zrb_store.codec.arguments import encode_arguments
from zrb_store.codec.differences import changes, is_opaque
from zrb_store.codec.json_text import dumps
from zrb_store.codec.text import DEFAULT_LIMIT, decode, encode, to_json
from zrb_store.errors import UnencodableValue, ValueTooLarge
from zrb_store.json_tree import JsonValue
from zrb_store.safe_text import mask_text, mask_texts


def without_secrets(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Mask the passwords of URLs in inputs, and the values that this process's command line gives to secret options.

    What is masked is not compared.
    """
    return {name: _without_secrets(value) for name, value in inputs.items()}


def _without_secrets(value: Any) -> Any:
    try:
        encoded = encode(value).data
    except (UnencodableValue, ValueTooLarge):
        return value  # only its type will be stored
    masked = mask_encoded(encoded)
    return value if masked == encoded else decode(masked)


def mask_encoded(encoded: str) -> str:
    """Mask the secrets in an encoded value that is stored only for comparison, as `without_secrets` does."""
    if mask_text(encoded) == encoded:
        return encoded
    return dumps(mask_texts(to_json(encoded)))


def describe_changes(before: str, after: str) -> str:
    """Describe where two encoded values differ, as `name: 1 became 2`, joined by commas; empty if they do not.

    What could not be stored of either one is not compared.
    """
    if before == after:
        return ""
    one, two = to_json(before), to_json(after)
    if type(one) is dict and type(two) is dict and "$" not in one and "$" not in two:
        return ", ".join(text for name in dict.fromkeys([*one, *two]) for text in _changes_of(name, one, two))
    return ", ".join(changes(one, two))


def _changes_of(name: str, one: Mapping[str, JsonValue], two: Mapping[str, JsonValue]) -> list[str]:
    # The names of inputs stand as they are, without the quotes that a path has around `day-of`.
    if name in one and name in two:
        return list(changes(one[name], two[name], name))
    return [f"{name} is {'new' if name in two else 'gone'}"]


def names_of(encoded: str) -> list[str]:
    """Return the names of encoded inputs."""
    tree = to_json(encoded)
    return [] if type(tree) is not dict or "$" in tree else list(tree)


def names_of_unstorable(encoded: str) -> set[str]:
    """Return the names of encoded inputs of which only the type could be stored."""
    tree = to_json(encoded)
    opaque = (name for name, value in tree.items() if is_opaque(value)) if type(tree) is dict else ()
    return set(opaque)


def without_names(encoded: str, names: Collection[str]) -> str:
    """Return encoded inputs without those of these names."""
    tree = to_json(encoded) if names else None
    if type(tree) is not dict or "$" in tree:
        return encoded
    return dumps({name: value for name, value in tree.items() if name not in names})


def stored_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], limit: int = DEFAULT_LIMIT) -> str:
    """Return what is stored of the arguments of a call, with secrets masked: the text of `[[...], {...}]`.

    Args:
        args: The positional arguments.
        kwargs: The named arguments.
        limit: How many bytes of text the arguments may have together.
    """
    return mask_encoded(encode_arguments(args, kwargs, limit))


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
