"""Which inputs a task reads: `ctx.input` is a view that notes each name.

A template reads for the task whose context renders it. Code of the user that reads the session's inputs without a
task's context reads for every task of the session. What is noted for a task counts for each of its attempts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyContext, Context, DotDict, SharedContext, to_snake_case

ALL: Final = "*"
"""What is noted of a task that reads its inputs as a whole."""

_Note = Callable[[str], object]


class InputsView(DotDict):
    """The inputs of a session, which it shares: what is read is noted by name.

    It also has a copy of them, as of the last `ctx.input`, for code in C that does not ask the methods of a subclass.
    """

    def __init__(self, inputs: DotDict, note: _Note) -> None:
        super().__init__(inputs)
        vars(self).update(_zrb_store_inputs=inputs, _zrb_store_note=note)

    def __getitem__(self, key: str) -> Any:
        vars(self)["_zrb_store_note"](key)
        return vars(self)["_zrb_store_inputs"][key]

    def __contains__(self, key: object) -> bool:
        vars(self)["_zrb_store_note"](str(key))
        return key in vars(self)["_zrb_store_inputs"]

    def get(self, key: str, default: Any = None) -> Any:
        vars(self)["_zrb_store_note"](key)
        return vars(self)["_zrb_store_inputs"].get(key, default)

    def refreshed(self) -> DotDict:
        """Return the view with a new copy of the inputs."""
        inputs = vars(self)["_zrb_store_inputs"]
        if dict.__len__(self) > len(inputs):
            dict.clear(self)  # not otherwise: another thread may look at it
        dict.update(self, inputs)
        return self


def _of_inputs(name: str, *, is_read: bool) -> Callable[..., Any]:
    def method(self: InputsView, *args: Any, **kwargs: Any) -> Any:
        if is_read:
            vars(self)["_zrb_store_note"](ALL)
        others = [vars(each)["_zrb_store_inputs"] if isinstance(each, InputsView) else each for each in args]
        return getattr(vars(self)["_zrb_store_inputs"], name)(*others, **kwargs)

    return method


for _name in ("__setitem__", "__delitem__", "update", "clear"):
    setattr(InputsView, _name, _of_inputs(_name, is_read=False))
for _name in (
    *("__iter__", "__len__", "__reversed__", "keys", "values", "items", "copy", "pop", "popitem", "setdefault"),
    *("__eq__", "__ne__", "__repr__", "__or__", "__ror__", "__ior__", "__reduce_ex__"),
):
    setattr(InputsView, _name, _of_inputs(_name, is_read=True))


def input_of_task(self: Context) -> DotDict:
    """Return what `ctx.input` of a task's context is."""
    own = vars(self)
    if compat.READ not in own:
        read: set[str] = set()
        own[compat.READ] = read, InputsView(vars(self._shared_ctx)["_input"], read.add)
    view: InputsView = own[compat.READ][1]
    return view.refreshed()


def input_of_session(self: SharedContext, rendering: Context | None) -> DotDict:
    """Return what `input` of a session's context is: for templates that of the task, for zrb itself the inputs."""
    if rendering is not None and rendering._shared_ctx is self:
        return input_of_task(rendering)
    inputs: DotDict = vars(self)["_input"]
    recorder = getattr(self.session, compat.RECORDER, None)
    caller = f"{sys._getframe(2).f_globals.get('__name__')}."
    if recorder is None or recorder.ended or caller.startswith(("zrb.", "zrb_store.")):
        return inputs
    contexts = recorder.zrb_session._context.values()

    def note(name: str) -> None:
        for ctx in contexts:
            input_of_task(ctx)
            vars(ctx)[compat.READ][0].add(name)

    return InputsView(inputs, note)


def spellings(names: Iterable[str]) -> dict[str, str]:
    """Return the inputs of these names as JSON, by both spellings under which a task may read them."""
    return {other: json.dumps(name) for name in names for other in (name, to_snake_case(name))}


def read_by(ctx: AnyContext, inputs: Mapping[str, str]) -> str:
    """Return the JSON list of the inputs that a task has read, of these `spellings`."""
    read = vars(ctx)[compat.READ][0] if compat.READ in vars(ctx) else ()
    found = {inputs[name] for name in read if name in inputs}
    return f'["{ALL}"]' if ALL in read else f"[{', '.join(sorted(found))}]"
