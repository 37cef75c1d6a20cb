"""The commands of `zrb-store`, which inside zrb are also offered as `zrb xcom`."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zrb_store.cli.command_table import COMMANDS
from zrb_store.errors import ZrbStoreError
from zrb_store.observe import flush
from zrb_store.wings import load, place_of

if TYPE_CHECKING:
    from zrb_store.cli.resume import Resumer


def main(args: Sequence[str] | None = None, prog_name: str = "zrb-store") -> None:
    """Run one command and exit. The user never sees a traceback."""
    gc.set_threshold(100_000)  # imports allocate much and leave no garbage: searches for it take a tenth of a command
    args = sys.argv[1:] if args is None else args
    code = run(args, prog_name)
    if code == 128 + signal.SIGINT and any(COMMANDS[name].dies_of_interrupt for name in args[:1] if name in COMMANDS):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        flush()
        os.kill(os.getpid(), signal.SIGINT)
    gc.freeze()  # the last search, at the end of the process, would take another tenth
    sys.exit(code)


def run(args: Sequence[str], prog_name: str = "zrb-store", resumer: Resumer | None = None) -> int:
    """Run one command with the arguments as typed after `prog_name`. Without a resumer no tasks can be run.

    The exit code: 0 ok, 1 differs or unhealthy, 2 usage, 3 not found, 65 inputs differ, 69 no store, 75 busy; in place
    of these the command's own one for refusals, if it has one.
    """
    if args[:1] == ["__complete"]:  # a shell asks, by the script of `completion`
        from zrb_store.cli.completion import answer

        return answer([*args[1:]])

    def tell(message: str) -> None:
        from zrb_store.render.stderr import print_line

        print_line(message, prog_name)

    _replace_closed_streams()
    command = COMMANDS.get(args[0]) if args else None
    refusal = None if command is None else command.refusal
    if command is not None and command.answer is not None:
        try:
            if load(command.answer)(args[1:], tell):
                return 0
        except ZrbStoreError as error:
            tell(str(error))
            return error.exit_code if refusal is None else refusal
        except KeyboardInterrupt:
            return 130
    import click

    try:
        return _run_app(args, prog_name, resumer, tell)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.exceptions.Exit as error:
        return error.exit_code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a traceback would not help the user
        message, code = _in_words(error, prog_name)
    tell(message)
    return code if refusal is None or code == 130 else refusal


def _replace_closed_streams() -> None:
    """Replace what the parent process has closed, as with `>&-`: output cannot be printed, and messages go nowhere."""
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115, PTH123 - open until the process ends
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115


def _run_app(args: Sequence[str], prog_name: str, resumer: Resumer | None, tell: Callable[[str], None]) -> int:
    from zrb_store import settings
    from zrb_store.cli.command import app
    from zrb_store.render.stderr import printing_warnings

    for line in settings.unknown_variables():
        tell(line)
    with printing_warnings(tell):
        # Not `list(args)`: the command `list` is a module of this package, and so takes that name here.
        try:
            code = app.main(args=[*args], prog_name=prog_name, standalone_mode=False, obj=resumer)
        finally:
            if notifier := sys.modules.get(place_of("notifier") or ""):
                notifier.wait_for_all()  # its commands may warn of their failure
    if printing := sys.modules.get("zrb_store.render.printing"):
        printing.flush()
    return code if isinstance(code, int) else 0


def _in_words(error: BaseException, prog_name: str) -> tuple[str, int]:
    """Return the message and the exit code for what ended a command."""
    import click

    match error:
        case ZrbStoreError():
            return str(error), error.exit_code
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else prog_name
            message = error.format_message()
            missing = error.param if isinstance(error, click.MissingParameter) else None
            if missing and missing.name in ("session", "sessions"):
                message = f"{message.rstrip('.')}: `{prog_name} list` shows the sessions that exist"
            return f"{message} (see `{path} --help`)", 2
        case click.ClickException():
            return error.format_message(), error.exit_code
        case click.Abort() | KeyboardInterrupt():
            return "interrupted", 130
        case UnicodeEncodeError():
            return "an argument or a setting has bytes that are not UTF-8: give it as text", 2
        case OSError():
            return f"the system refuses this: {error}", 1
    return f"internal error, please report it: {type(error).__name__}: {error}", 1  # a bug of ours
