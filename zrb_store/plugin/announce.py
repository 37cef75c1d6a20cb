"""What a run says before it starts, or instead: what a resume runs and skips, or that the session has completed."""

from __future__ import annotations

from collections.abc import Sequence

from zrb_store.render.format import TimeFormat
from zrb_store.resume_plan import Decision

_NAMED = 5


def completed(session: str, finished_at: int | None, *, has_result: bool, is_resume: bool) -> str:
    """Say that a session has completed, and that nothing runs.

    Args:
        session: Its name.
        finished_at: When it completed, in microseconds.
        has_result: Whether its main task returned something.
        is_resume: Whether `zrb xcom resume` asked for it, and not `ZRB_STORE_SESSION`.
    """
    when = TimeFormat().full(finished_at)
    what = "this is its stored result, and nothing runs" if has_result else "it has no result, and nothing runs"
    advice = "--from TASK runs a part of it again" if is_resume else "another ZRB_STORE_SESSION starts a new one"
    return f"session {session} completed at {when}: {what}; {advice}"


def resumed(session: str, decisions: Sequence[Decision]) -> str:
    """Say what a resume runs and skips.

    Args:
        session: Its name.
        decisions: What was decided on each of its tasks.
    """
    runs = [decision.task for decision in decisions if decision.action == "run"]
    skips = [decision.task for decision in decisions if decision.action == "skip" and decision.reason == "completed"]
    skipped = f"skips {_named(skips)}, completed before" if skips else "skips nothing"
    return f"session {session} is resumed: runs {_named(runs)}; {skipped}"


def _named(tasks: Sequence[str]) -> str:
    more = f" and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else ""
    return f"{', '.join(tasks[:_NAMED]) or 'nothing'}{more}"
