"""For a browser: `report` writes a session as one file, `page` serves the store."""

from __future__ import annotations

import contextlib
import tempfile
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zrb_store.cli.arguments import format_option, output_option, session_argument, whole_number
from zrb_store.cli.command import command
from zrb_store.errors import ZrbStoreError
from zrb_store.inspect import session_names
from zrb_store.inspect.resume import ResumeOptions
from zrb_store.page.content import Plan
from zrb_store.records import SessionRecord
from zrb_store.render.document import on_terminal
from zrb_store.render.format import program_name
from zrb_store.render.printing import echo, noting_damage, whole_file, write_bytes
from zrb_store.render.stderr import as_typed
from zrb_store.store import Store, open_store

if TYPE_CHECKING:
    from zrb_store.cli.resume import Resumer


@command(
    "report",
    "{} etl-2026-11-24 > run.html",
    "{} @last --redact -o for-strangers.html",
    "{} @last-failed --format svg -o card.svg",
    details="The file needs a browser, but no network and no other program, so it can be attached to a ticket or "
    "a mail. `--format svg` writes the card at its head alone, a picture for a chat.",
)
@session_argument
@output_option
@format_option("html", choices=("html", "svg"), help_text="Format of the file.")
@click.option(
    "--redact",
    is_flag=True,
    help="Leave out values, inputs, output, texts of errors, commands, users, hosts and folders, for strangers.",
)
@click.option("--open", "opens", is_flag=True, help="Open the file in the browser; without -o, a temporary file.")
@click.pass_obj
def report(
    resumer: Resumer | None, session: str, file: str | None, output_format: str, redact: bool, opens: bool
) -> None:
    if file is None and not opens and on_terminal():
        raise click.UsageError("a report is not for a terminal: give -o FILE, or --open, or redirect stdout to a file")
    path = None if file is None else Path(file)
    with open_store(read_only=True) as store:
        from zrb_store.page import report as pages  # late: imports Jinja2

        record = session_names.resolve(store.database, session)
        write_page = pages.picture if output_format == "svg" else pages.report
        plan = _plan(resumer, store, record)
        with noting_damage():
            content = write_page(store.database, record.name, program_name(), plan, redact=redact)
    if opens and path is None:
        path = Path(tempfile.mkdtemp(prefix="zrb-store-")) / f"{record.name}.{output_format}"
    with contextlib.nullcontext(write_bytes) if path is None else whole_file(path) as write:
        write(content)
    if path is not None and opens and not webbrowser.open(path.resolve().as_uri()):
        click.echo(f"no browser could be started: open {path} in one")


def _plan(resumer: Resumer | None, store: Store, session: SessionRecord) -> Plan | None:
    """Return what a resume would do, or why that cannot be told."""
    if not session.path or session.is_finished:
        return None
    try:
        if session.argv:
            from zrb_store.cli.resume import command_resumer

            resumer = command_resumer(session)
        if resumer is None:
            return None
        decisions = resumer.plan(store, session, ResumeOptions())
    except ZrbStoreError as error:
        return Plan(as_typed(str(error), program_name()), [])
    return Plan(None, decisions)


@command(
    "page",
    "{}",
    "{} --port 8080 --no-token",
    details="Prints its address, and serves pages until Ctrl-C: the list of sessions, each session as it runs, a "
    "comparison of two sessions, the queues with their held and dead values, and statistics. The pages only read. "
    'Needs pip install "zrb-store[page]".\n\n'
    "The printed address contains a token, so other users of this machine cannot see the store. Under zrb's own "
    "web server, `zrb server start`, the same pages are at /xcom/.",
)
@click.option(
    "--port",
    type=whole_number(0, 65535),
    default=21214,  # the one after that of zrb's own web server
    show_default=True,
    help="The port; 0 for any free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="NAME",
    show_default=True,
    help="The address to listen on, e.g. 0.0.0.0 for all addresses of this machine.",
)
@click.option("--no-token", is_flag=True, help="Show the pages to all users of this machine, without a token.")
@click.option("--open", "opens", is_flag=True, help="Open the address in the browser.")
def page(port: int, host: str, no_token: bool, opens: bool) -> None:
    if not all(map(find_spec, ("starlette", "uvicorn"))):
        raise ZrbStoreError('the page needs a web server: pip install "zrb-store[page]"')
    from zrb_store.page.access import is_loopback  # late: these import the web server
    from zrb_store.page.server import listen, serve

    if no_token and not is_loopback(host):
        raise click.UsageError(f"--no-token is for this machine alone: leave it out, or leave out --host {host}")
    with listen(host, port) as listener:
        serve(listener, host, program_name(), echo, has_token=not no_token, opens=opens)
