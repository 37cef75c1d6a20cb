"""`step` and `result`: what a script does inside an attempt of `run`, or of a CmdTask."""

from __future__ import annotations

from collections.abc import Sequence

import click

from zrb_store import codec
from zrb_store.cli import arguments
from zrb_store.cli.command import command
from zrb_store.cli.run import command_argument, write_output
from zrb_store.errors import ZrbStoreError
from zrb_store.queries import attempts, sessions
from zrb_store.render.format import program_name
from zrb_store.render.stderr import print_line
from zrb_store.shell.step import ShellStep
from zrb_store.shell.stored_step import again
from zrb_store.store import open_store


@command(
    "step",
    "{} dump --produces shop.sql -- pg_dump -f shop.sql shop",
    "rows=$({} rows -- psql -Atc 'select count(*) from orders')",
    "{} upload --once -- aws s3 cp shop.sql s3://backups/",
    details="For scripts that `run` or a CmdTask starts. NAME is unique in the task. If the step has completed with "
    "the same COMMAND, its stdout is printed again and COMMAND does not run. Otherwise COMMAND runs as a step: what it "
    "pushes and pops is kept with its stdout, even if the script fails later, or is given back if COMMAND fails. Its "
    "stdin is empty, so a step in `while read` takes no lines from it. COMMAND ends if the script that started "
    "the step is gone. Steps that run at the same time need different names; steps do not nest.\n\n"
    "Exit: that of COMMAND, 128 + N if signal N ended it; 0 if it has completed before; 124 after --timeout; 125 if "
    "the step is refused or the store fails.",
)
@click.argument("name")
@command_argument
@click.option(
    "--once", is_flag=True, help="Do not run it again if it began and its end is unknown: a person has to `mark` it."
)
@click.option(
    "--produces",
    metavar="FILE",
    multiple=True,
    help="A file that COMMAND writes. If it is gone or changed later, this step and all steps after it run again.",
)
@click.option(
    "--timeout", metavar="SECONDS", type=arguments.parse_seconds, help="End a command that takes longer; it has failed."
)
@click.option(
    "--retries",
    metavar="N",
    type=arguments.whole_number(0, 1000),
    default="0",
    help="Run a command that fails N more times, after 1, 2, 4... seconds. Only the last output is printed.",
)
@click.option("--stdin", "reads_stdin", is_flag=True, help="Let COMMAND read this program's stdin.")
@click.option("-v", "--verbose", is_flag=True, help="Say so if the step does not run.")
def step(
    name: str,
    argv: tuple[str, ...],
    once: bool,
    produces: Sequence[str],
    timeout: float | None,
    retries: int,
    reads_stdin: bool,
    verbose: bool,
) -> int:
    if timeout == 0:
        raise click.UsageError("--timeout 0 gives a command no time: leave it out for no limit")
    program = program_name()

    def write(result: str) -> None:
        write_output(result)
        if verbose:
            print_line(again(name), program)

    call = ShellStep(name, argv, once, produces, timeout, retries, reads_stdin)
    with open_store() as store:
        return call.run(store, write, lambda line: print_line(line, program))


@command(
    "result",
    "{} '{\"rows\": 12}'",
    "wc -l < shop.sql | {} --text -",
    details="For scripts that `run` starts. VALUE is JSON, or text with --text; - reads it from stdin. The task gives "
    "it instead of its stdout when it completes: it is pushed to the queue of the task's name, and `last` prints it. A "
    "second result replaces the first one.",
    unknown_options=True,  # a negative number is a value, not an option
)
@click.argument("value")
@click.option("--text", is_flag=True, help="Give VALUE as text; from stdin, without its final newline.")
def result(value: str, text: bool) -> None:
    item = arguments.typed_value(value, text=text)
    with open_store() as store:
        attempt = store.parent_attempt
        if attempt is None:
            raise ZrbStoreError("there is no task to give a result: start the script with `zrb-store run`")
        record = attempts.by_id(store.database, attempt.id)
        if record is None or record.step is not None or not sessions.get(store.database, attempt.session).argv:
            raise ZrbStoreError(f"{attempt.full_name} is no task of `zrb-store run`, which could give a result")
        encoded = codec.encode(item, limit=store.max_value)
        if not attempts.give_result(store.database, attempt.id, encoded.data):
            attempt.refuse_if_closed()
