"""`resume` of several sessions: each runs in a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from zrb_store.errors import SessionBusy
from zrb_store.masking import one_line
from zrb_store.queries import runs
from zrb_store.queries.notify import last_errors
from zrb_store.render import printing
from zrb_store.render.format import program_name
from zrb_store.store import Store


def resume_each(store: Store, command: Callable[[str], list[str]], names: Sequence[str], jobs: int) -> int:
    """Resume sessions in a process of their own each, so many at a time, and print what becomes of them."""
    program = program_name()  # only this thread knows
    children: set[subprocess.Popen[bytes]] = set()

    def resume(name: str) -> tuple[bool, str]:
        return _resume_in_child(store, command(name), name, program, children)

    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(resume, name): name for name in names}
        try:
            went_well = [_print_outcome(running[each], *each.result()) for each in as_completed(running)]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(children):  # so that they end as interrupted, as after Ctrl-C on a terminal
                child.terminate()
            raise
    return 0 if all(went_well) else 1


def _print_outcome(name: str, is_well: bool, outcome: str) -> bool:
    printing.echo(one_line(f"{name}: {outcome}"))
    return is_well


def _resume_in_child(
    store: Store, command: Sequence[str], name: str, program: str, children: set[subprocess.Popen[bytes]]
) -> tuple[bool, str]:
    """Resume a session, and return what became of it, and before that whether all is well."""
    fence = store.session(name).record().fence
    # Nobody can be asked for a secret. What its tasks print is kept with their attempts.
    nothing = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE) as ended:
        children.add(ended)
        said = ended.communicate()[1]
        children.discard(ended)
    if ended.returncode == 0:
        return True, "completed"
    lines = said.decode(errors="replace").strip().splitlines() or [f"exit code {ended.returncode}"]
    refusal = lines[-1].removeprefix(f"{program}: ")
    if ended.returncode == SessionBusy.exit_code:  # it is run elsewhere
        return True, refusal
    session = store.session(name).record()
    last = runs.last(store.database, session.id)
    if last is None or session.fence == fence:
        return False, f"passed over: {refusal}"
    error = last_errors(store.database, [last.id]).get(last.id)
    return False, session.status if error is None else f"{session.status}: {error.text()}"
