"""The commands of `zrb-store`, offered a second time as `zrb xcom`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from zrb_store.errors import ZrbStoreError


def main(args: Sequence[str] | None = None, prog_name: str = "zrb-store") -> None:
    """Run one command and exit. No traceback reaches the user."""
    sys.exit(run(list(sys.argv[1:] if args is None else args), prog_name))


def run(args: Sequence[str], prog_name: str = "zrb-store") -> int:
    """Run one command.

    Args:
        args: The arguments as typed.
        prog_name: What the user typed before them.

    Returns:
        The exit code: 0 ok, 1 differs or unhealthy, 2 usage, 3 not found, 65 inputs differ, 69 no store, 75 busy.
    """
    import click  # only now: the plugin imports this module with every zrb

    from zrb_store.cli import output
    from zrb_store.cli.app import app

    if sys.stdout is None:  # closed by who started us, as with `>&-`
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
    try:
        code = app.main(args=list(args), prog_name=prog_name, standalone_mode=False)
        output.flush()
        return code if isinstance(code, int) else 0
    except ZrbStoreError as error:
        return _complain(prog_name, str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else prog_name
        return _complain(prog_name, f"{error.format_message()} (see `{command} --help`)", 2)
    except click.ClickException as error:
        return _complain(prog_name, error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _complain(prog_name, "interrupted", 130)
    except click.exceptions.Exit as error:
        return error.exit_code
    except UnicodeEncodeError:
        return _complain(prog_name, "an argument or a setting has bytes that are not UTF-8: give it as text", 2)
    except OSError as error:
        return _complain(prog_name, f"the system refuses this: {error}", 1)
    except Exception as error:  # noqa: BLE001 - a fault of this program; a traceback would not help who typed this
        return _complain(prog_name, f"internal error, please report it: {type(error).__name__}: {error}", 1)


def _complain(prog_name: str, message: str, code: int) -> int:
    from zrb_store.masking import mask_text  # only now, as click

    print(f"{prog_name}: {' '.join(mask_text(message).split())}", file=sys.stderr)
    return code
