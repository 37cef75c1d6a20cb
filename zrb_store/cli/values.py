"""Single values: `get` and `trace` one, `push` and `pop` from a shell, `requeue` dead ones; `queue` limits them."""

from __future__ import annotations

import shlex

import click

from zrb_store import codec
from zrb_store.cli import arguments, completion
from zrb_store.cli.command import command
from zrb_store.errors import ZrbStoreError
from zrb_store.inspect import session_names
from zrb_store.inspect.queues import max_deliveries
from zrb_store.masking import one_line
from zrb_store.names import full_name, split_id
from zrb_store.operations.values import pop as pop_value
from zrb_store.operations.values import push as push_value
from zrb_store.operations.values import requeue as requeue_values
from zrb_store.operations.values import requeue_all, set_max_deliveries
from zrb_store.render import printing
from zrb_store.render.document import Fields
from zrb_store.render.format import as_json, counted, program_name
from zrb_store.render.stderr import print_line
from zrb_store.store import open_store


@command(
    "get",
    "total=$({} etl-2026-11-24 load --path '$.total')",
    "{} @last load --result --format json",
    "{} etl-2026-11-24 load/3 --result",
    "{} etl-2026-11-24 report --raw > report.pdf",
    details="Prints the newest live value of QUEUE, or exits 3 if there is none. A text, path, date or command output "
    "is printed unchanged, any other value as JSON, or on a terminal as `show` prints it. With --raw, the bytes of a "
    "bytes value are written unchanged, and text without the newline at its end. Values printed as JSON have no raw "
    "form, and are refused.",
)
@arguments.session_argument
@click.argument("queue", metavar="QUEUE|TASK", shell_complete=completion.queues)
@click.option(
    "--seq",
    type=arguments.parse_whole_number,
    metavar="N",
    shell_complete=completion.seqs,
    help="The value with this number, live or not.",
)
@click.option("--result", is_flag=True, help="The stored result of TASK, even if taken, or of the step TASK/NUMBER.")
@arguments.part_option
@click.option("--raw", is_flag=True, help="Write exactly the bytes, or only the text in UTF-8.")
@arguments.format_option("value")
def get(
    session: str, queue: str, seq: int | None, result: bool, path: str | None, raw: bool, output_format: str
) -> None:
    from zrb_store.inspect.get import get_result, get_value  # late: `push` and `pop` need neither
    from zrb_store.render.value import print_value

    if result and seq is not None:
        raise click.UsageError("--seq and --result exclude each other")
    if raw and output_format != "value":
        raise click.UsageError(f"--raw and --format {output_format} exclude each other")
    with printing.noting_damage() as damage, session_names.open_for_reading() as database:
        name = session_names.resolve(database, session).name
        stored = get_result(database, name, queue, damage) if result else get_value(database, name, queue, seq, damage)
        print_value(stored, "raw" if raw else output_format, path)


@command("trace", "{} 'etl-2026-11-24/load#1'", details="`show` prints the number of each value.")
@click.argument("value_id", metavar="SESSION/QUEUE#SEQ", shell_complete=completion.value_ids)
@click.option("--full", is_flag=True, help="Do not shorten the value.")
@arguments.format_option()
def trace(value_id: str, full: bool, output_format: str) -> None:
    from zrb_store.inspect.trace import trace as read_trace  # late: no other command here needs it
    from zrb_store.render.value import print_trace

    session, queue, seq = split_id(value_id)
    with session_names.open_for_reading() as database, printing.noting_damage() as damage:
        history = read_trace(database, session_names.resolve(database, session).name, queue, seq, damage)
    if output_format == "json":
        printing.echo_json(history.to_json())
    elif output_format == "jsonl":
        printing.echo_records((event.to_json() for event in history.events), output_format)
    elif output_format == "value":
        printing.echo_value(history.value.content)
    else:
        print_trace(history, full=full)


@command(
    "push",
    "{} inbox files '\"a.csv\"'",
    "date -I | {} inbox days - --text",
    details="VALUE is JSON, or text with --text; - reads it from stdin. Session and queue are created if they do "
    "not exist. Inside a CmdTask the value belongs to the running attempt, and @this names its session.",
    unknown_options=True,  # a negative number is a value, not an option
)
@arguments.changed_session_argument
@click.argument("queue", type=arguments.parse_queue, shell_complete=completion.queues)
@click.argument("value")
@click.option("--text", is_flag=True, help="Store VALUE as text; from stdin, without its final newline.")
def push(session: str, queue: str, value: str, text: bool) -> None:
    item = arguments.typed_value(value, text=text)
    with open_store() as store:
        name = session_names.session_name(session)
        encoded = codec.encode(item, limit=store.max_value)
        push_value(store.database, name, queue, encoded, store.parent_attempt)


@command(
    "pop",
    "{} inbox files",
    "file=$({} inbox files --wait 60)",
    details="Text is printed unchanged, any other value as JSON, or on a terminal as `show` prints it. If there is no "
    "value, pop exits 3, and reports a missing session or queue. --wait also waits for a missing session or queue, "
    "because somebody may yet create it. A damaged value is refused with exit code 1, and stays in its place. Inside "
    "a CmdTask the value belongs to the running attempt, and is given back if the attempt fails. @this names the "
    "attempt's session.",
)
@arguments.changed_session_argument
@arguments.queue_argument
@click.option("--wait", metavar="SECONDS", type=arguments.parse_seconds, help="How long to wait for a value.")
@arguments.format_option("value", choices=("value", "json"))
def pop(session: str, queue: str, wait: float | None, output_format: str) -> None:
    with open_store() as store:
        name = session_names.session_name(session)
        check = None if output_format == "json" else lambda data: printing.refuse_inexpressible(codec.to_json(data))
        seq, data = pop_value(store.database, name, queue, store.parent_attempt, wait or 0.0, check)
    value = codec.to_json(data)
    try:
        if output_format == "json":
            printing.echo_json(as_json(value))
        else:
            printing.echo_value(value)
        printing.flush()
    except (ZrbStoreError, click.exceptions.Exit):
        what_happened = f"{full_name(name, queue, seq)} was taken, but its reader did not get it"
        get_it = f"{program_name()} get {name} {shlex.quote(queue)} --seq {seq}"
        raise ZrbStoreError(f"{what_happened}: `{get_it}` prints it") from None


_UNLIMITED = "unlimited"


def _parse_limit(text: str) -> int | str:
    if text == _UNLIMITED:
        return text
    if not text.isascii() or not text.isdecimal() or not int(text[:18]):
        raise click.BadParameter(f"{text[:40]!r} is neither a number of deliveries nor `{_UNLIMITED}`")
    return int(text[:18])


@command(
    "queue",
    "{} inbox files",
    "{} inbox files --max-deliveries 5",
    details="A value is delivered when an attempt takes it. The delivery counts if the attempt fails or its process "
    "dies, not if somebody interrupts it. A value given back for the Nth time becomes dead: it is kept and shown, but "
    "nobody can take it until `requeue` makes it live again. With --max-deliveries, session and queue are created if "
    "they do not exist.",
)
@arguments.session_argument
@arguments.queue_argument
@click.option(
    "--max-deliveries",
    "limit",
    metavar="N",
    type=_parse_limit,
    help="Deliver each value at most N times; `unlimited` for any number.",
)
@arguments.format_option(choices=("table", "json"))
def queue(session: str, queue: str, limit: int | str | None, output_format: str) -> None:
    if limit is not None:
        arguments.parse_queue(queue)
        with open_store() as store:
            name = session_names.session_name(session)
            set_max_deliveries(store.database, name, queue, None if limit == _UNLIMITED else int(limit))
    with open_store(read_only=True) as store:
        name = session_names.resolve(store.database, session, exact=limit is not None).name
        allowed = max_deliveries(store.database, name, queue)
    if output_format == "json":
        printing.echo_json({"session": name, "queue": queue, "max_deliveries": allowed})
    else:
        fields = [("Queue", one_line(f"{name}/{queue}")), ("Max deliveries", str(allowed or _UNLIMITED))]
        printing.print_document([Fields(fields)])


@command(
    "requeue",
    "{} 'inbox/files#7' 'inbox/files#9'",
    "{} inbox files --all-dead",
    details="Each value returns to its old place in the queue, and its deliveries are counted from zero again. If one "
    "of the values is not dead, none is requeued. User and host are recorded. `doctor` names the queues with dead "
    "values, `show SESSION QUEUE --dead` shows the values.",
)
@click.argument(
    "values", metavar="VALUE...|SESSION QUEUE", nargs=-1, required=True, shell_complete=completion.dead_values
)
@click.option("--all-dead", is_flag=True, help="Requeue all dead values of QUEUE.")
def requeue(values: tuple[str, ...], all_dead: bool) -> None:
    if all_dead and len(values) != 2:
        raise click.UsageError("--all-dead takes SESSION and QUEUE")
    if not all_dead and not all("#" in value for value in values):
        raise click.UsageError("name values as SESSION/QUEUE#SEQ, or add --all-dead to SESSION and QUEUE")
    # Checked before the store is opened, which would create a missing one.
    ids = [] if all_dead else [split_id(value) for value in values]
    with open_store() as store:
        if all_dead:
            session, queue = values
            name = session_names.resolve(store.database, session, exact=True).name
            count = requeue_all(store.database, name, queue)
        else:
            names = {full_name(session_names.session_name(session), queue, seq) for session, queue, seq in ids}
            requeue_values(store.database, sorted(names))
            count = len(names)
    print_line(f"requeued {counted(count, 'value')}", program_name())
