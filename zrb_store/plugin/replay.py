"""`zrb xcom replay`: one attempt of a task runs again, in a store where everything is as it was before (`Replay`).

zrb starts its session as ever, but in place of the task's chain only the action runs: as an attempt, and in a debugger
if one was asked for.
"""

from __future__ import annotations

import asyncio
import bdb
import contextlib
import importlib
import inspect
import os
import pdb
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from types import CodeType, FrameType, TracebackType
from typing import Any

from zrb_store.errors import TaskNotFound
from zrb_store.plugin import compat
from zrb_store.plugin.attach import opened_store
from zrb_store.plugin.attempts import Action, run_attempt
from zrb_store.plugin.compat import AnyTask
from zrb_store.plugin.graph import Graph
from zrb_store.plugin.inputs import Secrets
from zrb_store.plugin.recorder import Recorder
from zrb_store.plugin.resume import ResumedInputs, Resumer
from zrb_store.plugin.signals import signals
from zrb_store.process import current_project
from zrb_store.records import AttemptRecord, SessionRecord
from zrb_store.run import RunSpec

_FAILED = object()


class _Recorder(Recorder):
    """The recorder of a replay, in which nothing is given back: all is as it was."""

    def _choose_reruns(self, *_: object) -> None:
        return None


@dataclass(frozen=True)
class Replay:
    """The replay of one attempt of a task."""

    zrb_session: compat.Session
    main: AnyTask
    graph: Graph
    task: AnyTask
    attempt: AttemptRecord
    place: int  # which attempt of the task it was in its run
    at_exception: bool  # whether a debugger stops at an exception
    at_start: bool  # whether it stops at the first line of the action

    def run(self, inputs: Mapping[str, Any], texts: Mapping[str, str], *, prints: bool) -> int:
        """Run the action in the store that the settings name, perhaps print its result, and return the exit code."""
        setattr(self.zrb_session, compat.REPLAYED, self._run_action)
        self.zrb_session.shared_ctx.input.update(inputs)
        result = self.main.run(self.zrb_session, str_kwargs=dict(texts))
        if prints and result not in (None, _FAILED):
            print(result)
        return 1 if result is _FAILED else 0

    async def _run_action(self) -> Any:
        session, shared_ctx, name = self.zrb_session, self.zrb_session.shared_ctx, self.attempt.session
        secrets = Secrets(self.graph.names, shared_ctx.input)
        spec = RunSpec(
            task=self.graph.task_name(self.main),
            path=tuple(session.task_path),
            project=current_project(compat.CFG.INIT_FILE_NAME),
            origin="cli",
            command=secrets.mask_command(sys.argv),
            zrb_version=version("zrb"),
        )
        recorder = _Recorder(session, self.main, self.graph, secrets, opened_store(), name, spec)
        recorder.start(None, repeat_once=False, is_resume=False)
        session._name = name
        setattr(session, compat.RECORDER, recorder)
        vars(shared_ctx)["_xcom"] = recorder.ctx_xcom
        ctx = compat.enter(self.task, session, self.place)
        signals.begin(recorder)
        failure: BaseException | None = None
        try:
            result = await run_attempt(recorder, self._in_debugger(compat.action_of(self.task)), self.task, ctx)
            session.get_task_status(self.main).mark_as_completed()
        except BaseException as error:  # noqa: BLE001 - raised again below, when the run has been ended
            failure = error
        current = asyncio.current_task()
        interrupted = signals.received or (current is not None and current.cancelling() > 0)
        await recorder.wait_for_actions()
        recorder.end(failure, interrupted=interrupted or isinstance(failure, KeyboardInterrupt))
        signals.end(recorder)
        for reason in (recorder.fatal, *recorder.uncertain):
            if reason is not None:  # zrb only knows that the task was cancelled
                raise reason from None
        if isinstance(failure, Exception) or recorder.waits:  # it is stored with the attempt
            return _FAILED
        if failure is not None:
            raise failure
        return result

    def _in_debugger(self, action: Action) -> Action:
        async def debugged(task: AnyTask, ctx: compat.AnyContext) -> Any:
            try:
                if self.at_start:
                    _stop_in(compat.code_of_action(task))
                result = action(task, ctx)
                return await result if inspect.isawaitable(result) else result
            except Exception as error:
                if self.at_exception and not isinstance(error, bdb.BdbQuit):
                    _post_mortem(error.__traceback__)
                raise
            finally:
                if self.at_start:
                    sys.settrace(None)

        return debugged if self.at_start or self.at_exception else action


class Replayer(Resumer):
    """What finds the task of an attempt, as for a resume, and replays it. The command `replay` gets it as `ctx.obj`."""

    def replayer(
        self,
        session: SessionRecord,
        attempt: AttemptRecord,
        place: int,
        inputs: Mapping[str, str],
        *,
        prints: bool,
        at_exception: bool,
        at_start: bool,
    ) -> Callable[[object], int]:
        """Return what runs an attempt again in the store that the settings name by then, and gives the exit code."""
        graph = self.declared(session)
        ResumedInputs(self._task, session, inputs, asking=False)
        task = next((task for task, name in graph.names.items() if name == attempt.task), None)
        if task is None:
            raise TaskNotFound(f"task {attempt.task} of session {session.name} is no longer in the workflow")
        replay = Replay(self._zrb_session, self._task, graph, task, attempt, place, at_exception, at_start)

        def run(_: object) -> int:
            given = ResumedInputs(self._task, session, inputs, asking=True)
            return replay.run(given.values, given.texts, prints=prints)

        return run


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
