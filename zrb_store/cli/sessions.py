"""Whole sessions: `last` finds a result, `stop`, `rm`, `pin`, `mark` and `fork` change sessions."""

from __future__ import annotations

from collections import deque
from datetime import timedelta

import click

from zrb_store import codec
from zrb_store.cli import arguments, completion
from zrb_store.cli.command import command
from zrb_store.inspect import session_names
from zrb_store.masking import one_line
from zrb_store.names import NamePattern, nearest
from zrb_store.operations import sessions as operations
from zrb_store.render.format import counted, program_name
from zrb_store.render.printing import echo, noting_damage
from zrb_store.render.stderr import print_line
from zrb_store.store import open_store


@command(
    "last",
    "rows=$({} load --max-age 26h) || exit",
    "{} load --any-project --path '$.rows[0]'",
    "{} load --of nightly.py",
    details="Looks in the current project: the folder of the nearest zrb_init.py, or otherwise the working directory. "
    "Sessions without a project, such as those of Python programs, are found in every project. --of distinguishes "
    "them by the task that session.run(task=...) names, or otherwise by the script, module or installed program, "
    "given as a path or its last part. Results of steps are not found, because no queue has them.",
)
@click.argument("task", shell_complete=completion.main_tasks)
@click.option("--max-age", type=arguments.length, help="Exit 3 if the result is older, e.g. 90m, 26h.")
@click.option("--any-project", is_flag=True, help="Look in every project.")
@click.option("--of", metavar="NAME", help="Only sessions of this main task, or of this script or program.")
@arguments.part_option
@arguments.format_option("value")
def last(
    task: str, max_age: timedelta | None, any_project: bool, of: str | None, path: str | None, output_format: str
) -> None:
    from zrb_store.inspect.get import last_result
    from zrb_store.render.value import print_value

    with noting_damage("damaged"), session_names.open_for_reading() as database:
        stored = last_result(database, task, max_age=max_age, any_project=any_project, of=of)
        print_value(stored, output_format, path)


@command(
    "stop",
    "{} etl-2026-11-24",
    "{} consume.host-1.1 --timeout 2m",
    "{} etl-2026-11-24 --kill",
    details="The session becomes interrupted, and resume continues it. Its attempts are given back, and no "
    "delivery is counted. A session that waits no longer does. A consumer first lets the commands in hand finish.\n\n"
    "On this machine the process gets SIGTERM if it handles it, and otherwise SIGINT, which raises KeyboardInterrupt "
    "in Python. Any other process finds the request when it next renews its lease, within 15 seconds, and ends itself "
    "likewise; if it would die of the signal, it first ends the run. A web server, and a process that also runs other "
    "sessions, is refused (exit 75). Commands that outlive their process on this machine are ended, even if it died "
    "before.\n\n"
    "Waits until the session has ended, and prints its status, the attempts that did not complete and how many "
    "values came back to each queue. Exits 1 if it has not ended in time: the request stays.",
)
@arguments.changed_session_argument
@click.option(
    "--timeout",
    type=arguments.length,
    default="30s",
    show_default=True,
    help="How long to wait, e.g. 30s or 5m.",
)
@click.option("--kill", is_flag=True, help="Send SIGKILL after the timeout; only on the machine of the process.")
def stop(session: str, timeout: timedelta, kill: bool) -> None:
    from zrb_store.operations.stop import stop as stop_session

    with open_store() as store:
        name = session_names.resolve(store.database, session, exact=True).name
        stopped = stop_session(store.database, name, timeout=timeout.total_seconds(), kill=kill)
    echo(f"{name}: {stopped.status}")
    for attempt, status in stopped.back.attempts:
        echo(one_line(f"{attempt}: {status}"))
    for place, queue, count in stopped.back.values:
        echo(one_line(f"{place}/{queue}: {counted(count, 'value')} given back"))


@command(
    "rm",
    "{} etl-2026-11-24",
    "{} --match 'test-*' --dry-run",
    details="Values that unfinished attempts and steps of a session took from queues of other sessions are given "
    "back first. If one of the sessions is running or pinned, none is deleted.\n\n"
    "--match deletes every session whose name matches, and prints each name as it deletes it. PATTERN is a shell "
    "pattern, as for `list`: put it in quotes. There is no confirmation prompt: --dry-run prints the same names, "
    "or the same refusal, and deletes nothing.",
)
@click.argument("sessions", metavar="SESSION...", nargs=-1, shell_complete=completion.sessions_to_change)
@click.option("--match", "pattern", metavar="PATTERN", help="Every session whose name matches, e.g. 'test-*'.")
@arguments.dry_run_option
def rm(sessions: tuple[str, ...], pattern: str | None, dry_run: bool) -> None:
    if bool(sessions) == (pattern is not None):
        raise click.UsageError("name the sessions, or give --match PATTERN, but not both")
    with open_store(read_only=dry_run) as store:
        if pattern is not None:
            names = operations.remove_matching(store.database, NamePattern(pattern), dry_run=dry_run)
            try:
                for name in names:
                    echo(name)
            except click.exceptions.Exit:  # the reader has seen enough, but the rest is deleted all the same
                deque(names, maxlen=0)
            return
        chosen = arguments.sessions_to_change(store.database, sessions)
        if not dry_run:
            operations.remove_sessions(store.database, *chosen)
            return
        operations.check_removable(store.database, chosen)
        for name in chosen:
            echo(name)


@command("pin", "{} etl-2026-11-24")
@arguments.sessions_argument
def pin(sessions: tuple[str, ...]) -> None:
    with open_store() as store:
        operations.pin(store.database, *arguments.sessions_to_change(store.database, sessions), pinned=True)


@command("unpin", "{} etl-2026-11-24")
@arguments.sessions_argument
def unpin(sessions: tuple[str, ...]) -> None:
    with open_store() as store:
        operations.pin(store.database, *arguments.sessions_to_change(store.database, sessions), pinned=False)


@command(
    "mark",
    "{} etl-2026-11-24 load completed",
    "{} etl-2026-11-24 load completed --result '{\"rows\": 12}'",
    "{} etl-2026-11-24 pay --step charge completed --result '\"receipt 7\"'",
    "{} etl-2026-11-24 pay --step charge failed",
    details="TASK does not run again. This is recorded as a manual attempt, with user and host, and the unfinished "
    "attempts of TASK are given back. A running session is refused. Prints the attempt.\n\n"
    "With --step, a step of TASK is marked: a completed step does not run again, a failed one does, even if it is "
    "declared `once` and its end was unknown.",
)
@arguments.changed_session_argument
@click.argument("task", shell_complete=completion.tasks)
@click.argument("status", type=click.Choice(["completed", "failed"]))
@click.option(
    "--step", metavar="STEP", shell_complete=completion.steps, help="Name of a step of TASK, or its id, TASK/NUMBER."
)
@click.option("--new", is_flag=True, help="TASK has not begun yet (for Python programs, whose tasks are not listed).")
@click.option(
    "--result", metavar="JSON", help="The task's return value, pushed to the queue of its name, or the step's result."
)
def mark_(session: str, task: str, status: str, step: str | None, new: bool, result: str | None) -> None:
    from zrb_store.operations.mark import mark, mark_step

    if status == "failed" and step is None:
        raise click.UsageError("only a step can be marked as failed: add --step STEP")
    if status == "failed" and result is not None:
        raise click.UsageError("a failed step has no result: leave --result out")
    if new and step is not None:
        raise click.UsageError("--new is for tasks: a new step is marked without it")
    value = None if result is None else arguments.parse_json(result, "--result")
    with open_store() as store:
        encoded = None if result is None else codec.encode(value, limit=store.max_value)
        name = session_names.resolve(store.database, session, exact=True).name
        if step is None:
            manual = mark(store.database, name, task, encoded, new=new)
        else:
            done = status == "completed"
            manual = mark_step(store.database, name, task, step, completed=done, result=encoded)
    echo(f"{name}/{manual.attempt}")
    if step is not None and manual.others is not None:
        print_line(
            f"task {task} of session {name} had no step {step} until now{nearest(step, manual.others)}", program_name()
        )


@command(
    "fork",
    "{} etl-2026-11-24 --from load",
    "{} etl-2026-11-24 --from load --step 'page 57'",
    details="The new session has the task and inputs of SESSION, the results of the tasks that completed before TASK "
    "first started, and the queues of that moment. It is independent; `resume` runs it. Prints its name.\n\n"
    "With --step, the moment is that before STEP first started, and the steps of TASK completed by then are also "
    "copied. Everything not copied is done again; a `once` step among them that has happened, or may have, needs "
    "--repeat-once.",
)
@arguments.changed_session_argument
@click.option(
    "--from",
    "from_task",
    metavar="TASK",
    required=True,
    shell_complete=completion.tasks,
    help="The first task to run again.",
)
@click.option(
    "--step",
    "from_step",
    metavar="STEP",
    shell_complete=completion.steps,
    help="The first step of TASK to run again: its name, or TASK/NUMBER.",
)
@click.option("--name", help="Name of the new session.  [default: SESSION-fork, or the next free number]")
@click.option("--repeat-once", is_flag=True, help="Let the fork run completed `once` steps again.")
def fork(session: str, from_task: str, from_step: str | None, name: str | None, repeat_once: bool) -> None:
    with open_store() as store:
        source = session_names.resolve(store.database, session, exact=True)
        forked = operations.fork(
            store.database, source.name, from_task, name, from_step=from_step, repeat_once=repeat_once
        )
        echo(forked)
