"""`zrb xcom resume`: runs what a stored session has left, with the inputs it was started with."""

from __future__ import annotations

from typing import Any

from zrb_store.plugin import attach, compat
from zrb_store.plugin.commands import GROUP, refusing


class Request:
    """What the command line asks for; click fills it, and the session runs when click is done.

    Attributes:
        session: Full name of the session.
        inputs: Inputs given on the command line: only secret ones are asked for again.
    """

    def __init__(self) -> None:
        self.session: str | None = None
        self.inputs: dict[str, str] = {}


request = Request()


def dispatch(args: list[str]) -> int:
    """Run `zrb xcom resume` with the arguments as typed; returns the exit code."""
    from zrb_store.cli import run

    code = run(args, prog_name=f"{compat.cli.name} {GROUP}")
    if code == 0 and request.session is not None:
        with refusing():
            _resume(request.session, request.inputs)
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
