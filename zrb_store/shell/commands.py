"""Commands for scripts: `run`, `resume` of its sessions, and what scripts do inside it: `step`, `wait` and `result`."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import click

from zrb_store import codec
from zrb_store.attempt.retries import Retries
from zrb_store.cli import arguments
from zrb_store.cli.command import command
from zrb_store.db.engine import Database
from zrb_store.errors import SessionWaiting, Waiting, ZrbStoreError
from zrb_store.inspect import session_names
from zrb_store.inspect.resume import Decision, ResumeOptions, commands_to_end, plan
from zrb_store.local_time import PERIODS, period_name
from zrb_store.observe import configure
from zrb_store.process import current_project
from zrb_store.queries import attempts, sessions
from zrb_store.queries.lease import SessionRunning
from zrb_store.records import SessionRecord
from zrb_store.render.format import program_name, shell_text
from zrb_store.render.stderr import print_line
from zrb_store.shell.child import stdin_for_child
from zrb_store.shell.run import CommandRun, stored_run, task_name
from zrb_store.shell.step import TIMED_OUT, ShellStep
from zrb_store.shell.step import wait as wait_in_script
from zrb_store.shell.stored_step import write
from zrb_store.store import Store, open_store


def _parse_pauses(text: str) -> list[timedelta]:
    return [arguments.length(each) for each in text.split(",")] if text else []


def _retries_option(what: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return click.option("--retries", type=arguments.whole_number(0, 1000), default="0", help=f"{what}.")


_retry_after_option = click.option(
    "--retry-after",
    type=_parse_pauses,
    default="",
    metavar="TIMES",
    help="Wait this long before each try, e.g. 10s,1m (the last one repeats); by default 1, 2, 4... seconds.",
)


@command(
    "run",
    "{} backup-2026-11-24 --task backup -- bash backup.sh",
    "{} backup --every day -q -- bash backup.sh",
    "{} backup --every day --retries 3 --retry-after 10s,1m --input HOST=db1 -- bash backup.sh",
    details="A new session runs COMMAND; one that failed, was interrupted or whose process died runs it again, and "
    "`step` inside it skips what has completed. A completed one prints its result: the last 64 KiB of stdout, or what "
    "`result` gave.\n\n"
    "stdout and stderr pass through, and `log` shows their end. COMMAND has an empty stdin, gets SIGINT, SIGTERM and "
    "SIGHUP, and dies with this process. What it pushes and pops with this program belongs to its attempt. Secrets in "
    "COMMAND and in those of its steps, and inputs with the name of a secret, are not stored. If COMMAND succeeds "
    "although one of its steps failed and did not complete later, a message, `list`, `show` and `check` say so.\n\n"
    "Exit: that of COMMAND, 128 + N if signal N ended it; 0 if it has completed before; 65 if the command or the "
    "inputs differ; 75 if the session is being run.",
)
@arguments.changed_session_argument
@arguments.command_argument
@click.option(
    "--task",
    metavar="NAME",
    help="Name of the task, for `last`, `check`, `stats` and `prune`; by default the script's path in the "
    "project, or COMMAND if there is none.",
)
@click.option(
    "--input",
    "inputs",
    metavar="NAME=VALUE",
    multiple=True,
    help="A variable of COMMAND that is the same in every run.",
)
@click.option(
    "--every",
    type=click.Choice(tuple(PERIODS)),
    help="SESSION names the job: its session is SESSION-2026-11-24, SESSION-2026-11-24T03+0100 or SESSION-2026-W48, "
    "and its task SESSION unless --task names it.",
)
@_retries_option("Run a command that fails N more times, as further attempts of this run")
@_retry_after_option
@click.option(
    "-q",
    "--quiet",
    is_flag=True,
    help="Print nothing unless it fails, then everything, to stderr. No result of a completed session is printed, and "
    "no message that another process runs it.",
)
def run(
    session: str,
    argv: tuple[str, ...],
    task: str | None,
    inputs: Sequence[str],
    every: str | None,
    retries: int,
    retry_after: Sequence[timedelta],
    quiet: bool,
) -> int:
    name, given = session_names.session_name(session), dict(map(_parse_input, inputs))
    if every is not None:
        task, name = task or name, f"{name}-{period_name(every)}"
    tries = Retries.of(retries, retry_after or None)
    return _run(CommandRun(name, argv, task or task_name(argv, given), given, retries=tries, quiet=quiet))


def _parse_input(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise click.UsageError(f"--input {text!r} is not of the form NAME=VALUE, where NAME could name a variable")
    return name, value


def _run(call: CommandRun) -> int:
    tell = functools.partial(print_line, program=program_name())
    configure()
    with open_store() as store:
        try:
            return call.run(store, write_output, tell)
        except (SessionRunning, SessionWaiting) as refused:  # no failure: who runs it says how it ends
            if not call.quiet:
                raise
            return refused.exit_code


def write_output(result: str) -> None:
    """Write the encoded result of a command: text and bytes as they are, anything else as JSON."""
    value = codec.decode(result)
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    write(value if isinstance(value, bytes) else f"{shell_text(codec.to_json(result))}\n".encode())


class ShellResumer:
    """Resumes sessions of `run`, and replays their attempts."""

    changed: Mapping[str, tuple[str, str]] = {}
    _call: CommandRun
    _session: SessionRecord

    @property
    def project(self) -> str:
        return current_project()

    def plan(self, store: Store, session: SessionRecord, options: ResumeOptions) -> list[Decision]:
        if options.changes:
            raise click.UsageError(
                f"session {session.name} runs a command, which has all inputs: start it with other ones as another "
                "session, with `zrb-store run NAME --input NAME=VALUE`"
            )
        if options.inputs:
            raise click.UsageError(f"session {session.name} runs a command, whose inputs are stored: leave them out")
        self._session = session
        call = stored_run(store.database, session, takes_over=options.takes_over)
        self._call = dataclasses.replace(call, forced=options.forced is not None, repeat_once=options.repeat_once)
        return plan(store.database, session, call.workflow, options)

    def explain(self, store: Store, decisions: list[Decision]) -> tuple[list[Decision], list[str]]:
        return decisions, commands_to_end(store.database, self._session, store.database.url)

    def replay(self, database: Database, session: SessionRecord) -> Callable[[Store], int]:
        call = stored_run(database, session, takes_over=False)
        return lambda store: call.run(store, lambda _: None, lambda _: None)

    def accept(self) -> None:
        raise click.exceptions.Exit(_run(self._call))


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
@_retries_option("Run a command that fails N more times, and print only the last output")
@_retry_after_option
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
    "task ends here: exit 75, which the script passes on (`set -e`). `push SESSION QUEUE JSON` answers. After that "
    "`resume --ready`, or a start by name, runs the script again, without its completed steps.\n\n"
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
