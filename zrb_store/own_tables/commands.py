"""`db own-tables`: the table of the user's database in which executions are noted."""

from __future__ import annotations

import contextlib

import click

from zrb_store.cli.command import command
from zrb_store.errors import InvalidArgument
from zrb_store.operations import db as operations
from zrb_store.own_tables import done, upkeep
from zrb_store.render.printing import echo, echo_raw


@command(
    "own-tables",
    "{} postgresql://owner@db/shop",
    "{} shop.db --sql",
    "{} shop.db --prune",
    purpose=f"Make the table {done.NAME} in a database of yours, for `step.transaction`.\n\n"
    "URL is a PostgreSQL URL, or a SQLite file that exists. The table is otherwise made at its first use, if the role "
    "may. Each execution adds a row, which is needed as long as its session is there.",
)
@click.argument("url", metavar="URL")
@click.option("--sql", is_flag=True, help="Print the statement, and change nothing.")
@click.option(
    "--prune",
    is_flag=True,
    help="Delete the rows of sessions that the store does not have. Not where several stores use one database.",
)
def own_tables(url: str, sql: bool, prune: bool) -> None:
    if sql and prune:
        raise InvalidArgument("--sql prints how the table is made: leave out --prune")
    if sql:
        for line in upkeep.table_statement(url).splitlines():
            echo_raw(line)
    elif prune:
        with contextlib.closing(operations.open_unchecked()) as database:
            count = upkeep.prune(database, url)
        echo(f"deleted {count:,} {'row' if count == 1 else 'rows'}")
    else:
        echo(f"made the table {done.NAME}" if upkeep.make_table(url) else f"the table {done.NAME} is there already")
