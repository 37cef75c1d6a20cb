"""How the main task of a zrb session was given its inputs: as texts, which zrb parses, or as objects."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from zrb_store.plugin import compat
from zrb_store.plugin.patches import Patches


class GivenInputs(NamedTuple):
    """How a task was given its inputs. Those that are in neither attribute are defaults.

    Attributes:
        texts: Those that zrb parses, by name.
        objects: Names of those that zrb takes as they are.
    """

    texts: Mapping[str, str]
    objects: Collection[str]


_given: ContextVar[GivenInputs | None] = ContextVar("zrb_store_given_inputs", default=None)


def given_inputs() -> GivenInputs:
    """Return how the task that begins here was given its inputs."""
    return _given.get() or GivenInputs({}, ())


def hook_runs(patches: Patches) -> None:
    """Note how each run of a task is given its inputs."""
    base_task: Any = compat.BaseTask
    run, async_run = base_task.run, base_task.async_run

    def given(session: Any, str_kwargs: Any, kwargs: Any) -> GivenInputs:
        # zrb takes the inputs that a session has already, and parses no others.
        known = session.shared_ctx.input if session is not None else ()
        return GivenInputs(str_kwargs or {}, {*known, *(kwargs or ())})

    @functools.wraps(run)
    def run_noting_inputs(
        self: Any, session: Any = None, str_kwargs: Any = None, kwargs: Any = None, *args: Any, **more: Any
    ) -> Any:
        token = _given.set(given(session, str_kwargs, kwargs))
        try:
            return run(self, session, str_kwargs, kwargs, *args, **more)
        finally:
            _given.reset(token)

    @functools.wraps(async_run)
    async def async_run_noting_inputs(
        self: Any, session: Any = None, str_kwargs: Any = None, kwargs: Any = None, *args: Any, **more: Any
    ) -> Any:
        token = _given.set(given(session, str_kwargs, kwargs))
        try:
            return await async_run(self, session, str_kwargs, kwargs, *args, **more)
        finally:
            _given.reset(token)

    patches.put(base_task, "run", run_noting_inputs)
    patches.put(base_task, "async_run", async_run_noting_inputs)
