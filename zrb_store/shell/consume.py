"""`consume`: a command for each value of a queue."""

from __future__ import annotations

import contextlib
import functools
import math
import sys

import click

from zrb_store import codec
from zrb_store.cli.arguments import (
    changed_session_argument,
    command_argument,
    queue_argument,
    refuse_usage,
    seconds,
    whole_number,
)
from zrb_store.cli.command import command
from zrb_store.errors import ValueNotFound
from zrb_store.inspect import session_names
from zrb_store.observe import configure
from zrb_store.operations.values import nothing_there_error
from zrb_store.render.format import program_name, shell_text
from zrb_store.render.stderr import print_line
from zrb_store.shell.command import CommandRunner, check_command
from zrb_store.shell.consumer import ShellConsumer
from zrb_store.store import open_store


@command(
    "consume",
    "{} inbox files --wait 60 -- ./convert.sh {}",
    "{} inbox files --all -j 4 -- ./convert.sh",
    "{} inbox files --forever --as converter -- ./convert.sh --file={}",
    details="Takes the oldest value in an attempt of its own. COMMAND gets the value on stdin, and as one "
    "argument in place of {}, never through a shell. Text is passed unchanged, any other value as JSON. If "
    "COMMAND exits with 0, the attempt completes. If it does not, or if a process is killed, the value is given "
    "back, and the last output of COMMAND is kept as the error. Another consumer may take the value; this one "
    "skips it. Pushes and pops of COMMAND with this program belong to the same attempt.\n\n"
    "After several failures in a row, consume pauses for up to a minute. The first SIGTERM or Ctrl-C lets the "
    "running command finish; the second one gives the value back at once. Exit: 0 if all went well, 1 if a "
    "command failed, 3 if there was no value in time, 75 if another process consumes under the same name, 128 + N "
    "if signal N ended it early.",
)
@changed_session_argument
@queue_argument
@command_argument
@click.option("--wait", type=seconds, help="How long to wait for a value if there is none.")
@click.option(
    "--all", "until_empty", is_flag=True, help="Continue until the queue is empty, or has only values that failed here."
)
@click.option("--forever", is_flag=True, help="Continue until SIGTERM, and try failed values again after a pause.")
@click.option("-j", "--jobs", type=whole_number(1, 1000), default="1", help="Run N commands at a time.")
@click.option("--timeout", type=seconds, help="End a command that takes longer; this counts as a failure.")
@click.option("--as", "name", metavar="NAME", help="The consumer's session; by default the first free consume.HOST.N.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report each value on stderr.")
def consume(
    session: str,
    queue: str,
    argv: tuple[str, ...],
    wait: float | None,
    until_empty: bool,
    forever: bool,
    jobs: int,
    timeout: float | None,
    name: str | None,
    quiet: bool,
) -> None:
    refuse_usage(
        (until_empty and forever, "--all ends when the queue is empty, --forever never: give one of them"),
        (forever and wait is not None, "--forever always waits: leave out --wait"),
        (jobs > 1 and not (until_empty or forever), "-j is for --all or --forever: without them one value is taken"),
        (timeout == 0, "--timeout 0 gives a command no time: leave it out for no limit"),
    )
    check_command(argv)
    configure()
    outputs = {"stdout": sys.stdout.fileno(), "stderr": sys.stderr.fileno()}
    with CommandRunner(argv, **outputs, timeout=timeout) as runner, open_store() as store:
        place = session_names.session_name(session), queue
        consumer = ShellConsumer(
            store,
            store.session(place[0]).xcom[queue],
            runner,
            name=name,
            wait=math.inf if forever else wait or 0.0,
            only_one=not (until_empty or forever),
            jobs=jobs,
            text=lambda data: shell_text(codec.to_json(data)),
            report=(lambda line: None) if quiet else functools.partial(_report, program_name()),
        )
        consumer.consume()
        signals = consumer.signals
        found_nothing = not consumer.tally and not forever and signals.first is None
        if found_nothing and not quiet:
            error = nothing_there_error(store.database, *place, f" after {wait:g} s" if wait else "")
            if str(error) != consumer.told:
                raise error
    if signals.first is not None and (signals.count > 1 or not forever):
        raise click.exceptions.Exit(128 + signals.first)
    if consumer.tally["failed"]:
        raise click.exceptions.Exit(1)
    if found_nothing:
        raise click.exceptions.Exit(ValueNotFound.exit_code)


def _report(program: str, line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it
        print_line(line, program, name="")
