"""`doctor`: whether the store is healthy."""

from __future__ import annotations

import contextlib
import dataclasses

from zrb_store.cli.command import command, format_option
from zrb_store.inspect.doctor import examine
from zrb_store.operations.db import open_unchecked
from zrb_store.render import printing
from zrb_store.render.document import Lines
from zrb_store.render.messages import as_typed, program_name


@command(
    "doctor",
    "{}",
    "{} --format json",
    details="Prints one line for each finding, with its remedy. Exits 1 if a finding is an error. It "
    "only reads, and can be run while others write.",
)
@format_option()
def doctor(output_format: str) -> int:
    with contextlib.closing(open_unchecked()) as database:
        program = program_name()
        found = examine(database)
        findings = [dataclasses.replace(one, remedy=as_typed(one.remedy, program)) for one in found]
    if output_format == "json":
        printing.echo_json([dataclasses.asdict(finding) for finding in findings])
    elif output_format == "jsonl":
        for finding in findings:
            printing.echo_json(dataclasses.asdict(finding), one_line=True)
    elif output_format == "value":
        for finding in findings:
            printing.echo(finding.check)
    elif findings:
        printing.print_document([Lines([str(finding) for finding in findings])])
    else:
        printing.echo("healthy")
    return 1 if any(finding.level == "error" for finding in findings) else 0
