"""How values become JSON text and come back with equal type and value, without running code on reading.

The text is plain JSON. What JSON cannot say is written as an object with the key `"$"`: `{"$": "tuple", "v": [1, 2]}`.
`text.py` has the three functions and their fast path, `walk.py` goes through the values that need tags, `standard.py`
knows the types of the standard library, `classes.py` enums, dataclasses and zrb's CmdResult, `registry.py` the classes
users register, `stand_ins.py` what stands for a value that cannot come back, `check.py` finds damaged texts. `apart.py`
stores what will be compared, `compare.py` compares it.
"""

from __future__ import annotations

from zrb_store.codec.apart import encode_arguments, encode_named
from zrb_store.codec.check import problem_of
from zrb_store.codec.compare import same
from zrb_store.codec.registry import register_codec
from zrb_store.codec.stand_ins import CmdResult, Opaque, Undecodable
from zrb_store.codec.text import Encoded, decode, encode, from_json, to_json

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
