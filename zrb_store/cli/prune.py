"""`prune`: delete what is old."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import timedelta

import click

from zrb_store.cli.arguments import dry_run_option, format_option, length, whole_number
from zrb_store.cli.command import command
from zrb_store.operations.prune import Deletion, Policy
from zrb_store.operations.prune import prune as prune_store
from zrb_store.records import pick
from zrb_store.render.document import Column, Table, on_terminal
from zrb_store.render.format import counted
from zrb_store.render.printing import echo_json, print_document
from zrb_store.render.terminal import progress
from zrb_store.store import open_store

_STATUSES = ("open", "stale", "completed", "failed", "interrupted")


@command(
    "prune",
    "{} --older-than 30d --keep-last 20 --dry-run",
    "{} --older-than 1w --status completed",
    details="Deletes the sessions that meet every given condition, and prints the rule that applied to each. "
    "Running and pinned sessions are never deleted. An open session (without a run) loses only the values that "
    "left its queues longer ago than --older-than. ZRB_STORE_RETENTION=30d,keep=20 does the same after a run, "
    "once a day.\n\n"
    "--keep-last 20 keeps, for each task in each project, the last 20 sessions that ended and also the last 20 "
    "completed ones: failures do not displace the last results. A Python program's sessions belong to the task "
    "that session.run(task=...) names, or otherwise to the script, module or installed program. A session whose "
    "main task was skipped does not count as completed.",
)
@click.option("--older-than", type=length, help="Delete only what ended longer ago, e.g. 30d.")
@click.option(
    "--keep-last",
    type=whole_number(0, 10**9),
    help="Keep the last N sessions of each task, and the last N that completed.",
)
@click.option("--status", "statuses", multiple=True, type=click.Choice(_STATUSES), help="Only sessions of this status.")
@dry_run_option
@format_option(choices=("table", "json"))
def prune(
    older_than: timedelta | None, keep_last: int | None, statuses: tuple[str, ...], dry_run: bool, output_format: str
) -> None:
    policy = Policy(older_than, keep_last, statuses)
    with open_store(read_only=dry_run) as store:
        deletions = prune_store(store.database, policy, dry_run=dry_run)
        if on_terminal():  # the table follows the bar, which would be drawn over it
            with progress("pruning"):
                deletions = iter(list(deletions))
        try:
            _print_deletions(deletions, output_format, dry_run)
        except click.exceptions.Exit:  # the reader has seen enough, but the rest is deleted all the same
            deque(deletions, maxlen=0)


def _print_deletions(deletions: Iterator[Deletion], output_format: str, dry_run: bool) -> None:
    """Print each deletion as it happens: there may be a million."""
    if output_format == "json":
        echo_json(pick(deletion, "session", "values", "rule") for deletion in deletions)
        return
    columns = [Column("session"), Column("would delete" if dry_run else "deleted"), Column("rule")]
    rows = (
        (deletion.session, "all" if deletion.values is None else counted(deletion.values, "value"), deletion.rule)
        for deletion in deletions
    )
    print_document([Table(columns, rows, otherwise="nothing to delete" if dry_run else "")])
