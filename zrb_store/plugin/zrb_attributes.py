"""The names of the attributes that the plugin sets on zrb's objects."""

from __future__ import annotations

from typing import Final

RECORDER: Final = "_zrb_store_recorder"
"""On a session: its `Recorder`."""
RESUMED: Final = "_zrb_store_resumed"
"""On a session that `zrb xcom resume` starts: its `ResumeRequest`."""
CHILD: Final = "_zrb_store_child"
"""On a session that a trigger starts: the name that it is stored under."""
NEVER: Final = "_zrb_store_never"
"""On a task whose sessions are never stored."""
VIEW: Final = "_zrb_store_view"
"""On a task's context: `ctx.xcom` of its attempt."""
CHECKS: Final = "_zrb_store_checks"
"""On a trigger: its default readiness checks."""
BUILTIN: Final = "_zrb_store_builtin"
"""On a task: whether zrb itself declared it."""
