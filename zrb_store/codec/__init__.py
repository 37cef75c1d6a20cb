"""Encode values as JSON text, and decode the text to values of equal type. Code in a stored text is never run.

The text is plain JSON. A value that JSON cannot express becomes an object with the key `"$"`, a tagged object:
`{"$": "tuple", "v": [1, 2]}`.

`text.py` encodes and decodes. `plain.py` handles the values of JSON's own types, with the fast libraries of
`fast_json.py`, and `walk.py` the values that need tags:
`standard.py` knows the types of the standard library, `classes.py` enums, dataclasses and zrb's CmdResult, and
`registry.py` the classes that users register. `stand_ins.py` has the objects that replace a value that cannot be
restored, `check.py` finds damaged texts, `arguments.py` stores values that are compared later, and `compare.py` and
`differences.py` compare them.
"""

from __future__ import annotations

from zrb_store.codec.classes import register_codec
from zrb_store.codec.compare import encode_arguments, encode_named, same
from zrb_store.codec.display import CmdResult, Opaque, Undecodable
from zrb_store.codec.text import Encoded, decode, encode, from_json, problem_of, to_json

__all__ = [
    "CmdResult",
    "Encoded",
    "Opaque",
    "Undecodable",
    "decode",
    "encode",
    "encode_arguments",
    "encode_named",
    "from_json",
    "problem_of",
    "register_codec",
    "same",
    "to_json",
]
