"""`doctor`: is the store healthy?"""

from __future__ import annotations

import contextlib
import dataclasses

from zrb_store.cli import output
from zrb_store.cli.command import command, format_option
from zrb_store.operations import doctor as facade
from zrb_store.operations import status


@command(
    "doctor",
    "{}",
    "{} --format json",
    details="One line for each finding, with its remedy. Exits 1 if one is an error; warnings do not fail. It "
    "only reads, and can be run while others write.",
)
@format_option()
def doctor(form: str) -> int:
    with contextlib.closing(status.open_unchecked()) as database:
        found = list(facade.examine(database))
    if form == "json":
        output.echo_json([dataclasses.asdict(finding) for finding in found])
    elif form == "jsonl":
        for finding in found:
            output.echo_json(dataclasses.asdict(finding), one_line=True)
    elif form == "value":
        for finding in found:
            output.echo(finding.check)
    elif found:
        for finding in found:
            output.echo(str(finding))
    else:
        output.echo("healthy")
    return 1 if any(finding.level == "error" for finding in found) else 0


COMMANDS = {"doctor": doctor}
