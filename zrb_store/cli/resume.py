"""`resume`: it finds the session to resume. The plugin runs tasks of zrb, and a wing commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import click

from zrb_store.cli import completion
from zrb_store.cli.arguments import format_option, refuse_usage, since_option, whole_number, words_argument
from zrb_store.cli.command import command
from zrb_store.db.engine import Database
from zrb_store.errors import SessionBusy, StoreMissing, ZrbStoreError
from zrb_store.inspect import session_names
from zrb_store.inspect.resume import Decision, PlannedResume, ResumeOptions, is_of_event
from zrb_store.local_time import Since
from zrb_store.masking import one_line
from zrb_store.process import current_folder, current_project
from zrb_store.queries import runs
from zrb_store.records import JsonTree, SessionRecord
from zrb_store.render.stderr import PROGRAM, print_line
from zrb_store.run.lifecycle import refuse_waiting
from zrb_store.store import Store, open_store
from zrb_store.wings import load, place_of

if TYPE_CHECKING:

    class Resumer(Protocol):
        """What plans a resume and runs it later. The plugin passes one to `zrb_store.cli.run`."""

        @property
        def project(self) -> str:
            """The project of the working directory."""

        def plan(self, store: Store, session: SessionRecord, options: ResumeOptions) -> list[Decision]:
            """Decide what a resume of this session runs and skips. Nothing is run or written."""

        def explain(self, store: Store, decisions: list[Decision]) -> tuple[list[Decision], list[str]]:
            """Add what becomes of steps, where that is known, and return what else a user should know, line by line."""

        @property
        def changed(self) -> Mapping[str, tuple[str, str]]:
            """The inputs that `plan` found to change, each with its text before and from now on."""

        def accept(self) -> None:
            """Let what was planned be run after click is done, with zrb's own exit codes."""

    class CommandResumer(Resumer, Protocol):
        """What resumes sessions that run a command, and replays their attempts."""

        def replay(self, database: Database, session: SessionRecord) -> Callable[[Store], int]:
            """Return what runs the command in a scratch store, and returns its exit code."""


@command(
    "resume",
    "{} etl-2026-11-24",
    "{} @last-failed --plan",
    "{} etl-2026-11-24 --from transform --password=secret",
    "{} etl-2026-11-24 --set region=eu --plan",
    "{} etl-2026-11-24 --here --yes",
    "{} etl-2026-11-24 etl-2026-11-25 -j 2",
    "{} --failed --since 12h --task load --plan",
    "{} --ready",
    details="Completed tasks do not run again: their stored results are used, and so are the stored inputs. "
    "Secret inputs are not stored: give them as --NAME VALUE, or answer the prompt. The default of a secret input "
    "given at the start is never substituted. An input that contained a secret, or was declared after the start, "
    "is computed from its default unless you give it. An input that no longer takes its stored value must be "
    "given. SESSION may be the unique beginning of a name, @last or @last-failed. A running session is refused, "
    "also by --plan.\n\n"
    "The session of a Python program starts that program again, with the command line and in the folder of its last "
    "run, and with the Python of zrb-store. Downstream of a task is then each that first began after it.\n\n"
    "Several sessions are resumed in a process of their own each, in the order given, or with --failed in the "
    "order in which they ended. A line says what became of each. One that needs a secret input is passed over. If "
    "one of the names does not exist, nothing starts. Exits 0 if each completed, waits or is run by another "
    "process, and otherwise 1.\n\n"
    "Reasons of --plan: how the task's last attempt ended (completed, failed, interrupted, lost, waiting, "
    "never-started); forced and downstream-of:TASK (--from); readiness (a readiness check, or its server); "
    "not-restorable (its result, or a value that it pushed or assigned, is needed and cannot be restored); "
    "fallback (runs if another task fails); condition (runs if its condition holds when its turn comes, is skipped "
    "if it never holds); gone (completed, and no longer in the workflow). With --set, a task that is "
    "`not known: runs` has read all inputs at once, has forked, or was marked as completed.",
    unknown_options=True,  # the options of secret inputs are not known here
)
@words_argument("SESSION...", completion.sessions)
@click.option(
    "--failed",
    is_flag=True,
    help="Resume all sessions of this project that failed, were interrupted or are stale, except child sessions.",
)
@click.option(
    "--ready",
    is_flag=True,
    help="Resume the sessions of this project whose wait is over. If there are none, exit 0 silently.",
)
@since_option("With --failed: only sessions that ended within this time, e.g. 12h, or since this moment, e.g. 18:00.")
@click.option(
    "--task",
    metavar="NAME",
    shell_complete=completion.main_tasks,
    help="With --failed: only sessions of this main task.",
)
@click.option("-j", "--jobs", type=whole_number(1, 100), default="1", help="Resume N sessions at a time.")
@click.option("--plan", is_flag=True, help="Print which tasks would run or be skipped, and why; run nothing.")
@click.option(
    "--from",
    "forced",
    metavar="TASK",
    shell_complete=completion.tasks,
    help="Give back TASK and all downstream tasks, and run them again, even in a completed session.",
)
@click.option(
    "--set",
    "changes",
    metavar="NAME=VALUE",
    multiple=True,
    help="Change an input from now on. Give back the tasks that read it and all downstream tasks, and run them again.",
)
@click.option(
    "--repeat-once",
    is_flag=True,
    help="With --from or --set: also run completed `once` steps again. Without this option, they are refused.",
)
@click.option("--here", is_flag=True, help="Let the session belong to the project of this folder.")
@click.option("--yes", is_flag=True, help="With --here: do not ask.")
@format_option(None, choices=("table", "json"), help_text="Format of --plan: table (plain text in a pipe) or json.")
@click.pass_obj
def resume(
    resumer: Resumer | None,
    words: tuple[str, ...],
    failed: bool,
    ready: bool,
    since: Since | None,
    task: str | None,
    jobs: int,
    plan: bool,
    forced: str | None,
    changes: tuple[str, ...],
    repeat_once: bool,
    here: bool,
    yes: bool,
    output_format: str | None,
) -> int:
    names, inputs = parse_words(words)
    options = ResumeOptions(forced, inputs, _parse_changes(changes), repeat_once, here)
    several = failed or ready or len(names) > 1
    refuse_usage(
        ((failed or ready) and names, f"--{'failed' if failed else 'ready'} takes no names"),
        (failed and ready, "--failed and --ready exclude each other"),
        (not (several or names), "name the sessions, or give --failed or --ready"),
        (not failed and (since is not None or task is not None), "--since and --task are for --failed"),
        (several and options.are_of_one_session, "inputs, --set, --from and --here are for one session"),
        (output_format is not None and not plan, "--format is for --plan, which runs nothing"),
        (yes and not here, "--yes is for --here"),
        (
            repeat_once and not options.repeats,
            "--repeat-once is for --from and --set: no other resume runs a completed step again",
        ),
    )
    try:
        opened = open_store(read_only=True)
    except StoreMissing:
        if ready:  # cron may look before the first run
            return 0
        raise
    with opened as store:
        if ready:
            chosen = _choose_ready(store.database, resumer)
            if not chosen.records:
                return int(chosen.passes_over)
        elif failed:
            chosen = _choose_halted(store.database, resumer, task, since)
        else:
            chosen = _choose_named(store.database, names)
        resumers = [(record, _resumer(store, record, resumer, chosen.words)) for record in chosen.records]
        if plan:
            return _print_plans(store, resumers, options, several=several, as_json=output_format == "json")
        if several:
            return _resume_each(store, [record.name for record in chosen.records], jobs)
        ((session, its),) = resumers
        # Mistakes are reported before anybody is asked for a secret input.
        if not options.repeats:
            refuse_waiting(store.database, session)
        its.plan(store, session, options)
    if here and not yes and session.project != its.project:
        _refuse_unless_agreed(session.name, session.project, its.project)
    its.accept()
    return 0


class _Chosen(NamedTuple):
    """The sessions that one command resumes."""

    records: Sequence[SessionRecord]
    words: str  # what chooses them on the command line
    passes_over: bool = False  # whether it leaves out sessions that only zrb can resume


def _choose_named(database: Database, names: Sequence[str]) -> _Chosen:
    records = [session_names.resolve(database, name) for name in names]
    return _Chosen(records, " ".join(record.name for record in records))


def _choose_ready(database: Database, resumer: Resumer | None) -> _Chosen:
    """Choose the sessions of the project whose wait is over; without zrb, those that run a command."""
    from zrb_store.inspect import list as sessions

    found = [record for record in sessions.ready(database, _project(resumer)) if record.path]
    records = [record for record in found if resumer is not None or record.argv]
    passes_over = len(records) < len(found)
    if passes_over:
        print_line("sessions of zrb are passed over: `zrb xcom resume --ready` continues them", PROGRAM)
    return _Chosen(records, "--ready", passes_over)


def _choose_halted(database: Database, resumer: Resumer | None, task: str | None, since: Since | None) -> _Chosen:
    """Choose the sessions of the project that ended without success."""
    from zrb_store.inspect import list as sessions
    from zrb_store.render.format import program_name

    records = sessions.halted(database, _project(resumer), task, since)
    if not records:
        print_line("no session failed", program_name())
    return _Chosen(records, "--failed")


def _project(resumer: Resumer | None) -> str:
    return current_project() if resumer is None else resumer.project


def _resumer(store: Store, session: SessionRecord, resumer: Resumer | None, words: str) -> Resumer:
    """Return what resumes a session: zrb, whose `resumer` it is, or the wing of commands."""
    if session.argv:
        return command_resumer(session)
    if not session.path and not is_of_event(session):
        from zrb_store.cli.resume_program import ProgramResumer

        return ProgramResumer()
    if resumer is None:
        raise ZrbStoreError(f"only zrb can run tasks: use `zrb xcom resume {words}` in the folder of its project")
    return resumer


def command_resumer(session: SessionRecord) -> CommandResumer:
    """Return what resumes a session that runs a command."""
    place = place_of("command_resumer")
    if place is None:
        raise ZrbStoreError(f"session {session.name} runs a command: install a zrb-store that has the command `run`")
    resumer: CommandResumer = load(place)()
    return resumer


def _parse_changes(texts: Sequence[str]) -> dict[str, str]:
    """Parse the arguments of `--set`, of the form `NAME=VALUE`."""
    changes: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--set {text!r} is not of the form NAME=VALUE")
        changes[name] = value
    if len(changes) < len(texts):
        raise click.UsageError("--set is given twice for one input: leave one of them out")
    return changes


def _print_plans(
    store: Store,
    resumers: Sequence[tuple[SessionRecord, Resumer]],
    options: ResumeOptions,
    *,
    several: bool,
    as_json: bool,
) -> int:
    """Print what resumes would do. If there are several, one that is refused gets a line, and makes the code 1."""
    from zrb_store.render import printing
    from zrb_store.render.format import program_name
    from zrb_store.render.plan import plan_table

    code = 0
    plans: list[JsonTree] = []
    decisions: list[Decision] | None
    for session, resumer in resumers:
        name = session.name if several else ""
        try:
            decisions, notes = resumer.explain(store, resumer.plan(store, session, options))
        except ZrbStoreError as error:
            if not several:
                raise
            code = 1
            decisions, notes = None, [str(error)]
        for note in notes:
            print_line(f"{name}: {note}" if name else note, program_name())
        if decisions is None:
            continue
        planned = PlannedResume(session.name, options.forced, resumer.changed, decisions)
        if not as_json:
            printing.print_document([plan_table(planned, name)])
        plans.append(planned.to_json())
    if as_json:
        printing.echo_json(plans if several else plans[0])
    return code


def _refuse_unless_agreed(session: str, theirs: str | None, ours: str) -> None:
    question = f"session {session} belongs to project {theirs}: let it belong to {ours}?"
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked: give --yes")
    if not click.confirm(question, err=True):
        raise ZrbStoreError(f"session {session} still belongs to project {theirs}: nothing was changed")


def parse_words(args: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Parse names of sessions, and inputs of the form `--NAME VALUE` or `--NAME=VALUE`."""
    sessions: list[str] = []
    inputs: dict[str, str] = {}
    remaining = list(args)
    while remaining:
        arg = remaining.pop(0)
        name, equals, value = arg.removeprefix("--").partition("=")
        if not arg.startswith("-"):
            sessions.append(arg)
            continue
        if not arg.startswith("--") or not name:
            raise click.UsageError(f"there is no option {arg!r}: inputs are given as --NAME VALUE")
        if not equals and not remaining:
            raise click.UsageError(f"{arg} has no value: inputs are given as --NAME VALUE")
        inputs[name] = value if equals else remaining.pop(0)
    return sessions, inputs


def _resume_each(store: Store, names: Sequence[str], jobs: int) -> int:
    """Resume sessions in a process of their own each, so many at a time, and print what becomes of them."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    from zrb_store.render.format import program_name
    from zrb_store.render.printing import echo

    program = program_name()  # only this thread knows
    # This process's own command line with other arguments.
    start = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    command = [sys.executable, *start, *program.split()[1:], "resume"]
    children: set[subprocess.Popen[bytes]] = set()
    code = 0
    with ThreadPoolExecutor(jobs) as pool:
        running = {
            pool.submit(_resume_in_child, store, [*command, name], name, program, children): name for name in names
        }
        try:
            for each in as_completed(running):
                is_well, outcome = each.result()
                echo(one_line(f"{running[each]}: {outcome}"))
                code = code if is_well else 1
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(children):  # so that they end as interrupted, as after Ctrl-C on a terminal
                child.terminate()
            raise
    return code


def _resume_in_child(
    store: Store, command: Sequence[str], name: str, program: str, children: set[subprocess.Popen[bytes]]
) -> tuple[bool, str]:
    """Resume a session, and return what became of it, and before that whether all is well."""
    from zrb_store.queries.last_errors import last_errors

    fence = store.session(name).record().fence
    # Nobody can be asked for a secret. What its tasks print is kept with their attempts.
    nothing = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE) as ended:
        children.add(ended)
        said = ended.communicate()[1]
        children.discard(ended)
    if ended.returncode == 0:
        return True, "completed"
    lines = said.decode(errors="replace").strip().splitlines() or [f"exit code {ended.returncode}"]
    refusal = lines[-1].removeprefix(f"{program}: ")
    if ended.returncode == SessionBusy.exit_code:  # it is run elsewhere
        return True, refusal
    session = store.session(name).record()
    last = runs.last(store.database, session.id)
    if last is None or session.fence == fence:
        return False, f"passed over: {refusal}"
    if ended.returncode < 0 and session.status == "running":  # it was killed, and its lease has not ended yet
        from zrb_store.inspect.advice import Start

        again = Start.of(store.database, session, [last]).again(program, current_folder())
        return False, f"its process has died; {again.sentence()}"
    error = last_errors(store.database, [last.id]).get(last.id)
    return False, session.status if error is None else f"{session.status}: {error.text()}"
