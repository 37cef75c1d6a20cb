"""`last`: the newest result of a task."""

from __future__ import annotations

from datetime import timedelta

import click

from zrb_store.cli import completion
from zrb_store.cli.command import command, format_option, parse_duration
from zrb_store.inspect.get import last_result
from zrb_store.render.values import print_value
from zrb_store.store import open_store


@command(
    "last",
    "rows=$({} load --max-age 26h) || exit",
    "{} load --any-project --path '$.rows[0]'",
    "{} load --of nightly.py",
    details="Looks in the current project: the folder of the nearest zrb_init.py, else the working "
    "directory. Sessions that belong to no project count everywhere, among them those of Python programs. --of keeps "
    "these apart: by the task that session.run(task=...) names, else by the script, module or installed program that "
    "ran, as a path or the last part of it. The result of a step is not found: it lies in no queue.",
)
@click.argument("task", shell_complete=completion.main_tasks)
@click.option("--max-age", type=parse_duration, metavar="LENGTH", help="Exit 3 if it is older, e.g. 90m, 26h, 2d.")
@click.option("--any-project", is_flag=True, help="Look in every project.")
@click.option("--of", metavar="NAME", help="Only sessions of this main task, or of this script or program.")
@click.option("--path", metavar="PATH", help="Only a part of it, e.g. $.rows[0].name.")
@format_option("value")
def last(
    task: str, max_age: timedelta | None, any_project: bool, of: str | None, path: str | None, output_format: str
) -> None:
    with open_store(read_only=True) as store:
        stored = last_result(store.database, task, max_age=max_age, any_project=any_project, of=of)
    print_value(stored, output_format, path)
