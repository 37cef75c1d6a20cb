"""Single values: `get` and `trace`, `push` and `pop`, `requeue`, `replace` and `drop`; `queue` limits and pauses."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import timedelta

import click

from zrb_store import codec
from zrb_store.cli import arguments, completion
from zrb_store.cli.command import command
from zrb_store.errors import ZrbStoreError
from zrb_store.inspect import session_names
from zrb_store.inspect.queues import queue_rules
from zrb_store.local_time import LONGEST_DELAY, as_duration
from zrb_store.masking import one_line, storable
from zrb_store.names import full_name, split_id
from zrb_store.operations import values as operations
from zrb_store.records import JsonObject
from zrb_store.render import printing
from zrb_store.render.document import Fields
from zrb_store.render.format import TimeFormat, as_json, counted, program_name
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
    from zrb_store.inspect.get import get_result, get_value
    from zrb_store.render.value import print_value

    if result and seq is not None:
        raise click.UsageError("--seq and --result exclude each other")
    if raw and output_format != "value":
        raise click.UsageError(f"--raw and --format {output_format} exclude each other")
    with session_names.open_for_reading() as database:
        name = session_names.resolve(database, session).name
        with printing.noting_damage("damaged"):
            stored = get_result(database, name, queue) if result else get_value(database, name, queue, seq)
            print_value(stored, "raw" if raw else output_format, path)


@command("trace", "{} 'etl-2026-11-24/load#1'", details="`show` prints the number of each value.")
@click.argument("value_id", metavar="SESSION/QUEUE#SEQ", shell_complete=completion.value_ids)
@click.option("--full", is_flag=True, help="Do not shorten the value.")
@arguments.format_option()
def trace(value_id: str, full: bool, output_format: str) -> None:
    from zrb_store.inspect.trace import trace as read_trace
    from zrb_store.render.value import print_trace

    session, queue, seq = split_id(value_id)
    with session_names.open_for_reading() as database:
        name = session_names.resolve(database, session).name
        with printing.noting_damage():
            history = read_trace(database, name, queue, seq)
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
    "date +%F | {} inbox days - --text",
    details="VALUE is JSON, or text with --text; - reads it from stdin. Session and queue are created if they do "
    "not exist. Inside a CmdTask the value belongs to the running attempt, and @this names its session.",
    unknown_options=True,  # a negative number is a value, not an option
)
@arguments.changed_session_argument
@click.argument("queue", type=arguments.parse_queue, shell_complete=completion.queues)
@click.argument("value")
@click.option("--text", is_flag=True, help="Store VALUE as text; from stdin, without its final newline.")
@click.option(
    "--delay",
    metavar="TIME",
    type=arguments.length,
    default="0s",
    help="Until this time is over, e.g. 90s or 1h, nobody finds the value.",
)
def push(session: str, queue: str, value: str, text: bool, delay: timedelta) -> None:
    item = arguments.typed_value(value, text=text)
    with open_store() as store:
        name = session_names.session_name(session)
        encoded = codec.encode(item, limit=store.max_value)
        operations.push(store.database, name, queue, encoded, store.parent_attempt, delay)


@command(
    "pop",
    "{} inbox files",
    "file=$({} inbox files --wait 60)",
    details="Text is printed unchanged, any other value as JSON, or on a terminal as `show` prints it. If there "
    "is no value, pop exits 3, and reports a missing session or queue. --wait also waits for a missing session or "
    "queue. A damaged value is refused with exit code 1, and stays in its place. Inside a CmdTask the value "
    "belongs to the running attempt, and @this names its session.",
)
@arguments.changed_session_argument
@arguments.queue_argument
@click.option("--wait", type=arguments.seconds, help="How long to wait for a value.")
@arguments.format_option("value", choices=("value", "json"))
def pop(session: str, queue: str, wait: float | None, output_format: str) -> None:
    with open_store() as store:
        name = session_names.session_name(session)
        check = None if output_format == "json" else lambda data: printing.refuse_inexpressible(codec.to_json(data))
        seq, data = operations.pop(store.database, name, queue, store.parent_attempt, wait or 0.0, check)
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
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:18]) <= operations.MOST_DELIVERIES:
        numbers = f"a number of deliveries from 1 to {operations.MOST_DELIVERIES:,}"
        raise click.BadParameter(f"{text[:40]!r} is neither {numbers} nor `{_UNLIMITED}`")
    return int(text)


def _parse_delays(text: str) -> list[timedelta]:
    delays = [] if text == "none" else [arguments.length(each) for each in text.split(",")]
    for delay in delays:
        if not operations.SHORTEST_DELAY <= delay <= LONGEST_DELAY:
            raise click.BadParameter(f"{text[:40]!r} has a delay that is not from 0.1s to 3660d")
    return delays


@command(
    "queue",
    "{} inbox files",
    "{} inbox files --max-deliveries 5 --retry-after 10s,1m,10m",
    "{} inbox files --pause",
    details="A delivery of a value counts if the attempt that took it fails or its process dies, not if somebody "
    "interrupts it. A value given back for the Nth time becomes dead: it is kept and shown, but nobody can take "
    "it until `requeue` makes it live again. With --retry-after, a value that a failed delivery gives back, or an "
    "attempt of another session, is delayed, after its first failure by the first of TIMES, after its second by the "
    "second; the last one repeats. Both options create session and queue if they do not exist. While a queue is "
    "paused, `consume` and `pop` find it empty: with --wait or --forever they wait, otherwise they exit 3. Tasks and "
    "Python take values as before.",
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
@click.option(
    "--retry-after",
    "delays",
    metavar="TIMES",
    type=_parse_delays,
    help="Delay values that come back by these times, e.g. 10s,1m,10m; `none` for no delay.",
)
@click.option("--pause", "pauses", is_flag=True, help="Let consumers and `pop` wait.")
@click.option("--unpause", "continues", is_flag=True, help="Let them continue.")
@arguments.format_option(choices=("table", "json"))
def queue(
    session: str,
    queue: str,
    limit: int | str | None,
    delays: list[timedelta] | None,
    pauses: bool,
    continues: bool,
    output_format: str,
) -> None:
    arguments.refuse_usage((pauses and continues, "--pause and --unpause contradict each other: give one"))
    changes = limit is not None or delays is not None or pauses or continues
    if changes:
        arguments.parse_queue(queue)
        with open_store() as store:
            name = session_names.session_name(session)
            if delays is not None:
                operations.set_retry_after(store.database, name, queue, delays)
            if limit is not None:
                operations.set_max_deliveries(store.database, name, queue, None if limit == _UNLIMITED else int(limit))
            if pauses or continues:
                operations.set_paused(store.database, name, queue, pauses)
    with open_store(read_only=True) as store:
        name = session_names.resolve(store.database, session, exact=changes).name
        rules = queue_rules(store.database, name, queue)
    if output_format == "json":
        shown: JsonObject = {"session": name, "queue": queue, **rules.to_json()}
        printing.echo_json(shown)
    else:
        fields = [("Queue", one_line(f"{name}/{queue}")), ("Max deliveries", str(rules.max_deliveries or _UNLIMITED))]
        if rules.retry_after:
            fields.append(("Retry after", ", ".join(map(as_duration, rules.retry_after))))
        if rules.paused_at is not None:
            fields.append(("Paused", f"since {TimeFormat().full(rules.paused_at)}"))
        printing.print_document([Fields(fields)])


@command(
    "requeue",
    "{} 'inbox/files#7' 'inbox/files#9'",
    "{} inbox files --all-dead",
    details="Each value returns to its old place in the queue, and its deliveries are counted from zero again. If "
    "one of the values is not dead, none is requeued. `doctor` names the queues with dead values.",
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
    ids = [] if all_dead else _parse_ids(values)
    with open_store() as store:
        if all_dead:
            session, queue = values
            name = session_names.resolve(store.database, session, exact=True).name
            count = operations.requeue_all(store.database, name, queue)
        else:
            operations.requeue(store.database, ids)
            count = len(ids)
    print_line(f"requeued {counted(count, 'value')}", program_name())


def _parse_ids(values: Sequence[str]) -> list[str]:
    """Return full ids, each once. Call it before the store is opened, which would create a missing one."""
    ids = map(split_id, values)
    return sorted({full_name(session_names.session_name(session), queue, seq) for session, queue, seq in ids})


_reason_option = click.option("--reason", metavar="TEXT", type=storable, help="Why; kept, and shown with the value.")


@command(
    "replace",
    "{} 'inbox/files#7' '\"b.csv\"' --reason 'wrong name'",
    details="NEW is JSON, or text with --text; - reads it from stdin. The value keeps its id, its place, who pushed it "
    "and until when it is delayed; its deliveries are counted from zero, and a dead one is live again. `show` and "
    "`trace` show what it was before, with user, host and --reason. A value that an attempt holds is refused.",
    unknown_options=True,  # a negative number is a value, not an option
)
@click.argument("value_id", metavar="VALUE", shell_complete=completion.editable_values)
@click.argument("new")
@click.option("--text", is_flag=True, help="Store NEW as text; from stdin, without its final newline.")
@_reason_option
def replace(value_id: str, new: str, text: bool, reason: str | None) -> None:
    (name,) = _parse_ids([value_id])
    item = arguments.typed_value(new, text=text, name="NEW")
    with open_store() as store:
        operations.replace(store.database, name, codec.encode(item, limit=store.max_value), reason)
    print_line(f"replaced {one_line(name)}", program_name())


@command(
    "drop",
    "{} 'inbox/files#7' 'inbox/files#9' --reason 'no such customer'",
    details="Nothing brings the values back. `show` and `trace` show them with user, host and --reason. If one of them "
    "is not live, delayed or dead, none is dropped, and an attempt that holds it is named.",
)
@click.argument("values", metavar="VALUE...", nargs=-1, required=True, shell_complete=completion.editable_values)
@_reason_option
def drop(values: tuple[str, ...], reason: str | None) -> None:
    ids = _parse_ids(values)
    with open_store() as store:
        operations.drop(store.database, ids, reason)
    print_line(f"dropped {counted(len(ids), 'value')}", program_name())
