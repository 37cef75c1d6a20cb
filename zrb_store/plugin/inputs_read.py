"""Which inputs a task reads, and what it assigns to them: `ctx.input` is a view that notes each name.

A template reads for the task whose context renders it. Code of the user that reads the session's inputs without a
task's context reads for every task of the session. What is noted for a task counts for each of its attempts.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Final, SupportsIndex

from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyInput, Context, DotDict, SharedContext, to_snake_case

ALL: Final = "*"
"""What is noted of a task that reads its inputs as a whole."""

inside: ContextVar[Context | None] = ContextVar("zrb_store_inside", default=None)
"""The context of the task whose action runs: an override that calls super() begins no second attempt."""
rendering: ContextVar[Context | None] = ContextVar("zrb_store_rendering", default=None)
"""The context whose template is being rendered: zrb gives templates the session's context, not the task's."""


ABSENT: Final = object()
"""What is assigned to an input that is deleted."""


def put(inputs: DotDict, name: str, value: Any) -> None:
    """Assign to an input, or delete it."""
    if value is not ABSENT:
        inputs[name] = value
    elif name in inputs:
        del inputs[name]


class InputsView(DotDict):
    """The inputs of a session, which it shares: what is read is noted by name, and what is assigned is passed on.

    It also has a copy of them, as of the last `ctx.input`, for code in C that does not ask the methods of a subclass.
    """

    def __init__(
        self, inputs: DotDict, note: Callable[[str], object], assign: Callable[[str, Any], object] | None = None
    ) -> None:
        super().__init__(inputs)
        assign = assign or functools.partial(put, inputs)
        vars(self).update(_zrb_store_inputs=inputs, _zrb_store_note=note, _zrb_store_assign=assign)

    def __getitem__(self, key: str) -> Any:
        vars(self)["_zrb_store_note"](key)
        return vars(self)["_zrb_store_inputs"][key]

    def __contains__(self, key: object) -> bool:
        vars(self)["_zrb_store_note"](str(key))
        return key in vars(self)["_zrb_store_inputs"]

    def get(self, key: str, default: Any = None) -> Any:
        vars(self)["_zrb_store_note"](key)
        return vars(self)["_zrb_store_inputs"].get(key, default)

    def __setitem__(self, key: str, value: Any) -> None:
        vars(self)["_zrb_store_assign"](key, value)

    def __delitem__(self, key: str) -> None:
        if key not in vars(self)["_zrb_store_inputs"]:
            raise KeyError(key)
        vars(self)["_zrb_store_assign"](key, ABSENT)

    def clear(self) -> None:
        for key in list(vars(self)["_zrb_store_inputs"]):
            del self[key]

    def pop(self, key: str, *default: Any) -> Any:
        if default and key not in self:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        for key in reversed(self):
            return key, self.pop(key)
        raise KeyError("popitem(): dictionary is empty")

    def __ior__(self, other: Any) -> InputsView:  # type: ignore[override, misc]  # __or__ returns a plain dict
        self.update(other)
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        vars(self)["_zrb_store_note"](ALL)
        return DotDict, (dict(vars(self)["_zrb_store_inputs"]),)

    def refreshed(self) -> DotDict:
        """Return the view with a new copy of the inputs."""
        inputs = vars(self)["_zrb_store_inputs"]
        if dict.__len__(self) > len(inputs):
            dict.clear(self)  # not otherwise: another thread may look at it
        dict.update(self, inputs)
        return self


def _of_inputs(name: str) -> Callable[..., Any]:
    def method(self: InputsView, *args: Any, **kwargs: Any) -> Any:
        vars(self)["_zrb_store_note"](ALL)
        others = [vars(each)["_zrb_store_inputs"] if isinstance(each, InputsView) else each for each in args]
        return getattr(vars(self)["_zrb_store_inputs"], name)(*others, **kwargs)

    return method


for _name in ("update", "setdefault"):  # those of a dict in C do not call the methods of a subclass
    setattr(InputsView, _name, getattr(MutableMapping, _name))
for _name in (
    *("__iter__", "__len__", "__reversed__", "keys", "values", "items", "copy"),
    *("__eq__", "__ne__", "__repr__", "__or__", "__ror__"),
):
    setattr(InputsView, _name, _of_inputs(_name))


class _Names(set[str]):
    """The names that a task has read. They count also for the task whose action has started it."""

    outer: _Names | None = None

    def add(self, name: str) -> None:
        super().add(name)
        if self.outer is not None:
            self.outer.add(name)


def read_of(ctx: Context) -> tuple[_Names, InputsView]:
    """Return what a task has read, and the view that notes it."""
    own = vars(ctx)
    if compat.READ not in own:
        outer, inputs = inside.get(), vars(ctx._shared_ctx)["_input"]
        is_nested = outer is not None and outer is not ctx and inputs_of(outer) is inputs
        names = _Names()
        if outer is not None and is_nested:
            names.outer = read_of(outer)[0]

        def note(name: str) -> None:
            names.add(name)
            if recorder := _recorder_of(ctx, inputs):
                recorder.note_input(ctx, name)

        def assign(name: str, value: Any) -> None:
            if recorder := _recorder_of(ctx, inputs):
                recorder.assign_input(ctx, name, value)
            else:
                put(inputs, name, value)

        own[compat.READ] = names, InputsView(inputs, note, assign)
    found: tuple[_Names, InputsView] = own[compat.READ]
    return found


def _recorder_of(ctx: Context, inputs: DotDict) -> Any:
    """Return the recorder of a task's session if it runs, and has these inputs."""
    recorder = getattr(ctx._shared_ctx.session, compat.RECORDER, None)
    return recorder if recorder is not None and not recorder.ended and recorder.inputs.inputs is inputs else None


def inputs_of(ctx: Context) -> DotDict | None:
    """Return the inputs of a context; None if its shared context is not zrb's, or keeps them in its own way."""
    shared_ctx = ctx._shared_ctx
    is_stock = isinstance(shared_ctx, SharedContext) and type(shared_ctx).input is SharedContext.input
    return vars(shared_ctx).get("_input") if is_stock else None


def input_of_task(self: Context) -> DotDict:
    """Return what `ctx.input` of a task's context is."""
    if inputs_of(self) is None:
        found: DotDict = self._shared_ctx.input  # as in zrb
        return found
    return read_of(self)[1].refreshed()


def input_of_session(self: SharedContext) -> DotDict:
    """Return what `input` of a session's context is: for templates that of the task, for zrb itself the inputs."""
    ctx = rendering.get()
    if ctx is not None and ctx._shared_ctx is self:
        return input_of_task(ctx)
    inputs: DotDict = vars(self)["_input"]
    recorder = getattr(self.session, compat.RECORDER, None)
    caller = f"{sys._getframe(1).f_globals.get('__name__')}."
    if recorder is None or recorder.ended or caller.startswith(("zrb.", "zrb_store.")):
        return inputs
    contexts = [ctx for ctx in recorder.zrb_session._context.values() if inputs_of(ctx) is not None]

    def note(name: str) -> None:
        for ctx in contexts:
            read_of(ctx)[0].add(name)
        if is_own:
            recorder.note_input(None, name)

    is_own = recorder.inputs.inputs is inputs
    return InputsView(inputs, note, functools.partial(recorder.assign_input, None) if is_own else None)


def spellings(inputs: Iterable[AnyInput]) -> dict[str, str]:
    """Return the names of inputs as JSON, by both spellings under which a task may read them."""
    return {other: json.dumps(each.name) for each in inputs for other in (each.name, to_snake_case(each.name))}


def read_by(ctx: Context, inputs: Mapping[str, str]) -> str:
    """Return the JSON list of the inputs that a task has read, of these `spellings`.

    A name that is no input's may be one that another task has set: it counts as reading all.
    """
    if inputs_of(ctx) is None:  # nobody sees what it reads
        return f'["{ALL}"]'
    read = set(read_of(ctx)[0])  # a copy: a thread of the task may still read
    if any(not name.startswith("_") for name in read - inputs.keys()):
        return f'["{ALL}"]'
    return f"[{', '.join(sorted({inputs[name] for name in read & inputs.keys()}))}]"
