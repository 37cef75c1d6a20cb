"""`page`: the store in a browser, live."""

from __future__ import annotations

import click

from zrb_store.cli.command import command, whole_number
from zrb_store.cli.program_name import program_name
from zrb_store.cli.render.output import echo
from zrb_store.errors import ZrbStoreError

_PORT = 21214  # the one after that of zrb's own web server


@command(
    "page",
    "{}",
    "{} --port 8080",
    "{} --host 0.0.0.0",
    details="Prints its address, and serves until Ctrl-C: the list of sessions, a page for each that follows it while "
    "it runs, a comparison of two, the queues with what is held and dead, and statistics. It only reads: nothing can "
    'be started or changed. Needs pip install "zrb-store[page]".\n\n'
    "With another --host than this machine it asks for a token, which is part of the address that it prints. Under "
    "zrb's own web server, `zrb server start`, the same pages are at /xcom/.",
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
def page(port: int, host: str) -> None:
    from zrb_store.page.server import listen, missing_parts, serve  # late: hardly any command needs it

    if missing := missing_parts():
        raise ZrbStoreError(missing)
    with listen(host, port) as listener:
        serve(listener, host, program_name(), lambda address: echo(f"{address}  (Ctrl-C ends it)"))
