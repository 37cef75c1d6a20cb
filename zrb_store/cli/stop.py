"""`stop`: end the process that runs a session."""

from __future__ import annotations

from datetime import timedelta

import click

from zrb_store.cli.arguments import changed_session_argument, parse_duration
from zrb_store.cli.command import command
from zrb_store.inspect import session_names
from zrb_store.masking import one_line
from zrb_store.operations.stop import stop as stop_session
from zrb_store.render.format import counted
from zrb_store.render.printing import echo
from zrb_store.store import open_store


@command(
    "stop",
    "{} etl-2026-11-24",
    "{} consume.host-1.1 --timeout 2m",
    "{} etl-2026-11-24 --kill",
    details="The session becomes interrupted, and resume continues it. Its attempts are given back, and no "
    "delivery is counted. A session that waits no longer does. A consumer first lets the commands in hand finish.\n\n"
    "On this machine the process gets SIGTERM if it handles it, and otherwise SIGINT, which raises KeyboardInterrupt "
    "in Python. Any other process finds the request when it next renews its lease, within 15 "
    "seconds. A web server, and a process that also runs other sessions, is refused (exit 75).\n\n"
    "Waits until the session has ended, and prints its status, the attempts that did not complete and how many "
    "values came back to each queue. Exits 1 if it has not ended in time: the request stays.",
)
@changed_session_argument
@click.option(
    "--timeout",
    type=parse_duration,
    default="30s",
    show_default=True,
    metavar="LENGTH",
    help="How long to wait, e.g. 30s or 5m.",
)
@click.option("--kill", is_flag=True, help="Send SIGKILL after the timeout; only on the machine of the process.")
def stop(session: str, timeout: timedelta, kill: bool) -> None:
    with open_store() as store:
        name = session_names.resolve(store.database, session, exact=True).name
        stopped = stop_session(store.database, name, timeout=timeout.total_seconds(), kill=kill)
    echo(f"{name}: {stopped.status}")
    for attempt, status in stopped.back.attempts:
        echo(one_line(f"{attempt}: {status}"))
    for place, queue, count in stopped.back.values:
        echo(one_line(f"{place}/{queue}: {counted(count, 'value')} given back"))
