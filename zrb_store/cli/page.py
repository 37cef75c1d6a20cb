"""`page`: the store in a browser, live."""

from __future__ import annotations

import click

from zrb_store.cli.command import command, whole_number
from zrb_store.errors import ZrbStoreError
from zrb_store.render.messages import program_name
from zrb_store.render.printing import echo

_PORT = 21214  # the one after that of zrb's own web server


@command(
    "page",
    "{}",
    "{} --open",
    "{} --port 8080 --no-token",
    "{} --host 0.0.0.0",
    details="Prints its address, and serves until Ctrl-C: the list of sessions, a page for each that follows it while "
    "it runs, a comparison of two, the queues with what is held and dead, and statistics. It only reads: nothing can "
    'be started or changed. Needs pip install "zrb-store[page]".\n\n'
    "It asks for a token, which is part of the address that it prints, so that other users of this machine do not see "
    "the store. Under zrb's own web server, `zrb server start`, the same pages are at /xcom/.",
)
@click.option(
    "--port",
    type=whole_number(0, 65535),
    default=_PORT,
    metavar="N",
    show_default=True,
    help="The port; 0 for any that is free.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="NAME",
    show_default=True,
    help="The address to listen on, e.g. 0.0.0.0 for all of this machine's.",
)
@click.option("--no-token", is_flag=True, help="Show the pages to all users of this machine, without a token.")
@click.option("--open", "opens", is_flag=True, help="Open the address in the browser.")
def page(port: int, host: str, no_token: bool, opens: bool) -> None:
    # late: hardly any command needs it
    from zrb_store.page.access import is_loopback
    from zrb_store.page.server import listen, missing_parts, serve

    if no_token and not is_loopback(host):
        raise click.UsageError(f"--no-token is for this machine alone: leave it out, or leave out --host {host}")
    if missing := missing_parts():
        raise ZrbStoreError(missing)
    with listen(host, port) as listener:
        serve(listener, host, program_name(), echo, has_token=not no_token, opens=opens)
