"""Encode values as JSON text, and decode the text to values of equal type. Code in a stored text is never run.

The text is plain JSON. A value that JSON cannot express becomes an object with the key `"$"`, a tagged object:
`{"$": "tuple", "v": [1, 2]}`.

`text.py` encodes and decodes, and finds damaged texts; `tagged.py` does so with values that are more than JSON, by the
walks of `walk.py`. `standard.py` knows the types of the standard library, and `classes.py` enums, dataclasses and the
classes that users register. `arguments.py` stores inputs and arguments, and `compare.py` compares two stored values.
`display.py` describes values in messages, and replaces those that cannot be restored. `json_text.py` writes and reads
JSON.
"""

from __future__ import annotations

from zrb_store.codec.arguments import encode_named
from zrb_store.codec.display import Opaque, Undecodable
from zrb_store.codec.json_text import Encoded
from zrb_store.codec.text import decode, encode, from_json, problem_of, to_json

__all__ = ["Encoded", "Opaque", "Undecodable", "decode", "encode", "encode_named", "from_json", "problem_of", "to_json"]
