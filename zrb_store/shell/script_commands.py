"""`step`, `result` and `wait`: what a script that `run` has started says about its work.

`commands.py` has `run` itself, whose imports a step does not need.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import timedelta

import click

from zrb_store import codec
from zrb_store.attempt.retries import Retries
from zrb_store.cli import arguments
from zrb_store.cli.command import command
from zrb_store.errors import SessionWaiting, Waiting, ZrbStoreError
from zrb_store.observe import configure
from zrb_store.queries import attempts, sessions
from zrb_store.render.format import program_name, shell_text
from zrb_store.render.stderr import print_line
from zrb_store.shell.child import stdin_for_child
from zrb_store.shell.step import TIMED_OUT, ShellStep
from zrb_store.shell.step import wait as wait_in_script
from zrb_store.shell.stored_step import write
from zrb_store.store import open_store


def _parse_pauses(text: str) -> list[timedelta]:
    return [arguments.length(each) for each in text.split(",")] if text else []


def retries_option(what: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return click.option("--retries", type=arguments.whole_number(0, 1000), default="0", help=f"{what}.")


retry_after_option = click.option(
    "--retry-after",
    type=_parse_pauses,
    default="",
    metavar="TIMES",
    help="Wait this long before each try, e.g. 10s,1m (the last one repeats); by default 1, 2, 4... seconds.",
)


def write_output(result: str) -> None:
    """Write the encoded result of a command: text and bytes as they are, anything else as JSON."""
    value = codec.decode(result)
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    write(value if isinstance(value, bytes) else f"{shell_text(codec.to_json(result))}\n".encode())


@command(
    "step",
    "{} dump --produces shop.sql -- pg_dump -f shop.sql shop",
    "rows=$({} rows -- psql -Atc 'select count(*) from orders')",
    "{} upload --once -- aws s3 cp shop.sql s3://backups/",
    details="For scripts that `run` or a CmdTask starts. A step that has completed with the same COMMAND prints its "
    "stdout. Otherwise COMMAND runs: what it pushes and pops is kept with its stdout, or given back if it fails. Its "
    "stdin is empty. It ends if the script that started the step is gone. Steps that run at the same time need "
    "different names; steps do not nest.\n\n"
    "Exit: that of COMMAND, 128 + N if signal N ended it; 0 if it has completed before; 124 after --timeout; 125 if "
    "the step is refused or the store fails.",
)
@click.argument("name")
@arguments.command_argument
@click.option("--once", is_flag=True, help="Do not run it again if it began and its end is unknown.")
@click.option(
    "--produces",
    type=click.Path(),
    metavar="FILE",
    multiple=True,
    help="A file that COMMAND writes. If it is gone or changed later, this step and all after it run again.",
)
@click.option("--timeout", type=arguments.seconds, help="End a command that takes longer.")
@retries_option("Run a command that fails N more times, and print only the last output")
@retry_after_option
@click.option(
    "--stdin",
    "reads_stdin",
    is_flag=True,
    help="Let COMMAND read this program's stdin. A completed step reads it to its end, so no other step may share it.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say so if the step does not run.")
def step(
    name: str,
    argv: tuple[str, ...],
    once: bool,
    produces: Sequence[str],
    timeout: float | None,
    retries: int,
    retry_after: Sequence[timedelta],
    reads_stdin: bool,
    verbose: bool,
) -> int:
    if timeout == 0:
        raise click.UsageError("--timeout 0 gives a command no time: leave it out for no limit")
    if retries and reads_stdin:
        raise click.UsageError("--retries has no stdin for a second try: leave out --stdin")
    stdin = stdin_for_child(arguments.binary_stdin().fileno()) if reads_stdin else None
    tell = functools.partial(print_line, program=program_name())
    configure()
    with open_store() as store:
        tries = Retries.of(retries, retry_after or None)
        return ShellStep(name, argv, once, produces, timeout, tries, stdin, verbose, tell).run(store, write_output)


@command(
    "result",
    "{} '{\"rows\": 12}'",
    "wc -l < shop.sql | {} --text -",
    details="For scripts that `run` starts. VALUE is JSON, or text with --text; - reads it from stdin. It replaces the "
    "task's stdout as its result.",
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


@command(
    "wait",
    "answer=$({} approve --timeout 2d --say 'Refund 120?')",
    details="For scripts that `run` starts. Prints the oldest value of this session's QUEUE. If there is none, the "
    "task ends here: exit 75, which the script passes on (`set -e`). `push SESSION QUEUE '\"yes\"'` answers. "
    "After that `resume --ready`, or a start by name, runs the script again, without its completed steps.\n\n"
    "Exit: 75 if there is no value yet, 124 if none came in time.",
)
@click.argument("queue", type=arguments.parse_queue)
@click.option("--timeout", type=arguments.length, help="How long to wait from the first time, e.g. 90m, 2d.")
@click.option("--say", metavar="TEXT", help="The question, which `list` and `show` show and ZRB_STORE_NOTIFY gets.")
@click.option("--name", metavar="NAME", help="Another name than `wait QUEUE` for this question: a second one needs it.")
def wait(queue: str, timeout: timedelta | None, say: str | None, name: str | None) -> int:
    configure()
    with open_store() as store:
        try:
            answer = wait_in_script(store, queue, timeout, say, name)
        except Waiting:
            return SessionWaiting.exit_code  # `run` says what it waits for
        except TimeoutError as late:
            print_line(str(late), program_name())
            return TIMED_OUT
    write_output(answer)
    return 0
