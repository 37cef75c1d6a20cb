"""`zrb xcom ...`: the commands of `zrb-store`, given to click as they were typed."""

from __future__ import annotations

import functools
from typing import Any

from zrb_store.cli.table import COMMANDS
from zrb_store.plugin import attach, compat
from zrb_store.plugin.notes import warn
from zrb_store.plugin.patches import Patches
from zrb_store.plugin.refusal import refusing

GROUP = "xcom"

_own_group: Any = None


def hook_command_line(patches: Patches) -> None:
    """Register the commands, and hand `zrb xcom ...` over before zrb takes its arguments apart."""
    global _own_group
    _hook_cli(patches)
    if compat.subgroup(compat.cli, GROUP) is not None:
        warn(f"your tasks have a group {GROUP!r}: use `zrb-store` in place of `zrb {GROUP}`")
        return
    group = compat.Group(name=GROUP, description="📦 Stored sessions and their values (zrb-store)")
    for name, (_, purpose) in COMMANDS.items():
        group.add_task(_task(name, purpose))
    _own_group = compat.cli.add_group(group)


def _task(name: str, purpose: str) -> Any:
    def action(ctx: Any) -> None:
        # Reached only where a program calls the task: the command line is handed over before.
        raise SystemExit(dispatch([name, *map(str, ctx.args)]))

    task = compat.BaseTask(name=name, description=purpose, cli_only=True, action=action, retries=0)
    setattr(task, attach.NEVER, True)
    return task


def dispatch(args: list[str]) -> int:
    """Run one command with the arguments as typed.

    Returns:
        The exit code, the same as `zrb-store`'s.
    """
    from zrb_store.cli import run

    program = f"{compat.cli.name} {GROUP}"
    if args[:1] != ["resume"]:
        return run(args, program)
    from zrb_store.plugin import resume

    return resume.dispatch(args, program)


def _hook_cli(patches: Patches) -> None:
    cli: Any = compat.Cli
    run, run_task, print_run_command = cli.run, cli._run_task, cli._print_run_command

    @functools.wraps(run)
    def run_or_dispatch(self: Any, str_args: list[str] | None = None, *args: Any, **kwargs: Any) -> Any:
        words = list(str_args or [])
        if words[:1] == [GROUP] and _own_group is not None and compat.subgroup(self, GROUP) is _own_group:
            raise SystemExit(dispatch(words[1:]))
        try:
            return run(self, words, *args, **kwargs)
        except Exception:
            # 2.20 trips over its own clean-up when a run is refused.
            if refusing.code is not None:
                raise SystemExit(refusing.code) from None
            raise

    @functools.wraps(run_task)
    def run_task_or_refuse(self: Any, *args: Any, **kwargs: Any) -> Any:
        with refusing:
            return run_task(self, *args, **kwargs)

    @functools.wraps(print_run_command)
    def print_run_command_if_run(self: Any, *args: Any, **kwargs: Any) -> Any:
        # A refusal is one line.
        return None if refusing.code is not None else print_run_command(self, *args, **kwargs)

    patches.put(cli, "run", run_or_dispatch)
    patches.put(cli, "_run_task", run_task_or_refuse)
    patches.put(cli, "_print_run_command", print_run_command_if_run)
