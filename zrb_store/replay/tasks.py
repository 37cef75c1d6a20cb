"""`zrb xcom replay`: one attempt of a task runs again, in a store where everything is as it was before (`Replayer`).

zrb starts its session as for a resume, but in place of the task's chain only the action runs: as an attempt, and in a
debugger if one was asked for.
"""

from __future__ import annotations

import bdb
import contextlib
import importlib
import inspect
import os
import pdb
import sys
from collections.abc import Callable, Mapping
from types import CodeType, FrameType, TracebackType
from typing import Any

from zrb_store.errors import TaskNotFound
from zrb_store.inspect.resume import ResumeOptions
from zrb_store.plugin import compat
from zrb_store.plugin.attach import recorder_of
from zrb_store.plugin.attempts import run_attempt
from zrb_store.plugin.compat import Action, AnyTask
from zrb_store.plugin.inputs import given_again
from zrb_store.plugin.inputs_resumed import ResumedInputs
from zrb_store.plugin.resume import ResumeRequest, ZrbResumer
from zrb_store.records import AttemptRecord, SessionRecord
from zrb_store.replay.commands import Options


class Replayer(ZrbResumer):
    """What finds the task of an attempt, as for a resume, and replays it. The command `replay` gets it as `ctx.obj`."""

    def replayer(
        self, session: SessionRecord, attempt: AttemptRecord, place: int, inputs: Mapping[str, str], options: Options
    ) -> Callable[[object], int]:
        """Return what runs an attempt again in the store that the settings name by then, and gives the exit code.

        The attempt was number `place` of its task in its run.
        """
        graph = self.declared(session)
        wanted = ResumeOptions(inputs=inputs)
        ResumedInputs(self._task, session, wanted, asking=False)
        task = next((task for task, name in graph.names.items() if name == attempt.task), None)
        if task is None:
            raise TaskNotFound(f"task {attempt.task} of session {session.name} is no longer in the workflow")
        main, zrb_session = self._task, self._zrb_session

        async def run_action() -> Any:
            recorder, ctx = recorder_of(zrb_session), compat.enter(task, zrb_session, place)
            assert recorder is not None
            result = await run_attempt(recorder, _in_debugger(compat.action_of(task), options), task, ctx)
            zrb_session.get_task_status(main).mark_as_completed()
            return result

        def run(_: object) -> int:
            given = ResumedInputs(main, session, wanted, asking=True)
            again, changed = given_again(session), frozenset(given.changed)
            request = ResumeRequest(session, graph, wanted, secrets=again, changed_inputs=changed)
            setattr(zrb_session, compat.RESUMED, request)
            setattr(zrb_session, compat.REPLAYED, run_action)
            zrb_session.shared_ctx.input.update(given.values)
            try:
                result = main.run(zrb_session, str_kwargs=given.texts)
            except Exception:
                if recorder_of(zrb_session) is None:
                    raise
                return 1  # the error is stored with the attempt
            if result is not None and not options.compares:
                print(result)
            return 0

        return run


def _in_debugger(action: Action, options: Options) -> Action:
    async def debugged(task: AnyTask, ctx: compat.AnyContext) -> Any:
        try:
            if options.at_start:
                _stop_in(compat.code_of_action(task))
            result = action(task, ctx)
            return await result if inspect.isawaitable(result) else result
        except Exception as error:
            if options.at_exception and not isinstance(error, bdb.BdbQuit):
                _post_mortem(error.__traceback__)
            raise
        finally:
            if options.at_start:
                sys.settrace(None)

    return debugged


def _stop_in(code: CodeType) -> None:
    """Stop when this code is called: at its first line in pdb, and here in another debugger, one step before it."""
    if os.environ.get("PYTHONBREAKPOINT", "0") not in ("", "0", "pdb.set_trace"):
        sys.breakpointhook()
        return
    debugger = pdb.Pdb()

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "call" and frame.f_code is code:
            debugger.set_trace(frame)
            return debugger.trace_dispatch
        return None

    sys.settrace(trace)


def _post_mortem(frames: TracebackType | None) -> None:
    """Stop at an exception: in pdb, or in the debugger that `PYTHONBREAKPOINT` names, if it can."""
    module = os.environ.get("PYTHONBREAKPOINT", "").rpartition(".")[0]
    stop = pdb.post_mortem
    with contextlib.suppress(ImportError):
        stop = getattr(importlib.import_module(module or "pdb"), "post_mortem", stop)
    stop(frames)
