"""`zrb xcom resume`: runs what a stored session has left, with the inputs it was started with."""

from __future__ import annotations

from typing import Any

from zrb_store.plugin import attach, compat
from zrb_store.plugin.refusal import refusing


def dispatch(args: list[str], program: str) -> int:
    """Run the command with the arguments as typed; returns the exit code."""
    from zrb_store.cli import resume as command
    from zrb_store.cli import run

    command.inside_zrb = True
    code = run(args, program)
    if code == 0 and command.request is not None:
        with refusing:
            _resume(command.request.session, command.request.inputs)
    return code


def _resume(name: str, given: dict[str, str]) -> None:
    from zrb_store import codec
    from zrb_store.errors import TaskNotFound
    from zrb_store.plugin.inputs import ask_secrets
    from zrb_store.store import open_store

    with open_store(read_only=True) as store:
        record = store.session(name).record()
    task = compat.find_task(record.path) if record.path else None
    if task is None:
        where = f"`{compat.cli.name} {' '.join(record.path)}`" if record.path else "a command of zrb"
        raise TaskNotFound(
            f"the main task {record.task} of session {name} is not {where} here: "
            f"resume it from its project {record.project}, or start its program again with ZRB_STORE_SESSION={name}"
        )
    inputs: dict[str, Any] = codec.decode(record.inputs) if record.inputs else {}
    inputs.update(ask_secrets(task, given))
    session = compat.Session(shared_ctx=compat.SharedContext(args=[]), root_group=compat.cli)
    setattr(session, attach.NAME, name)
    result = task.run(session, kwargs=inputs)
    if compat.stock_exit_is_interrupt(session, task):
        raise KeyboardInterrupt
    if result is not None:
        print(result)
