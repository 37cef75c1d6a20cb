r"""The SQL views, for other programs (docs/reference/sql.md). Nothing in zrb-store reads them.

Their names begin with `zrb_`, as those of the tables do: a schema can be shared, and `pg_dump -t 'zrb_*'` saves both.
Then they are called like the command, `zrb xcom`, and `\dv zrb_xcom*` lists them alone.

Only a migration that renames a column knows them. Each upgrade makes them again at its end (`migrate.make_views`), to
fit the tables. A column that is on the page keeps its name and its meaning. New columns come last: PostgreSQL replaces
a view, and keeps the rights on it, only if the others stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from zrb_store.db.dialect import whole_text
from zrb_store.db.dialect.compiling import dialect

# A time as ISO 8601 in UTC with microseconds, such as `2026-11-24T08:00:00.000000Z`. On PostgreSQL it is added in two
# parts, because an interval is multiplied by a float, which has not enough digits for both, and times compare as bytes,
# whatever language the server has.
ISO = {
    "sqlite": "(strftime('%Y-%m-%dT%H:%M:%S', {0} / 1000000, 'unixepoch') || printf('.%06dZ', {0} % 1000000))",
    "postgresql": (
        "(to_char(timestamp '1970-01-01' + {0} / 1000000 * interval '1 second' "
        '+ mod({0}, 1000000) * interval \'1 microsecond\', \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\') COLLATE "C")'
    ),
}

# Other programs do not have the function that we give to SQLite. Its own clock has milliseconds.
NOW = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + 1000",
    "postgresql": "extract(epoch FROM clock_timestamp()) * 1000000",
}


def statements(dialect_name: str) -> Iterator[sa.TextClause]:
    """Yield the statements that make the views, whether or not a store has them already."""
    verb = "CREATE OR REPLACE"
    for name, query in queries(dialect_name).items():
        if dialect_name == "sqlite":  # it cannot replace a view
            yield sa.text(f"DROP VIEW IF EXISTS {name}")
            verb = "CREATE"
        yield sa.text(f"{verb} VIEW {name} AS {query}".replace(":", r"\:"))  # it has no parameters


def queries(dialect_name: str) -> Mapping[str, str]:
    """Return the query of each view."""

    def at(column: str, name: str | None = None) -> str:
        return f"{ISO[dialect_name].format(column)} AS {name or column.partition('.')[2]}"

    def seconds(of: str) -> str:
        return f"CAST({of}.ended_at - {of}.started_at AS DOUBLE PRECISION) / 1000000.0 AS seconds"

    def attempt_name(session: str, attempt: str, name: str) -> str:
        return f"{session}.name || '/' || {attempt}.task || '#' || CAST({attempt}.number AS TEXT) AS {name}"

    def who(role: str, name: str) -> str:
        """Return the columns for the attempt that pushed or took a value, with the task that a step is of."""
        return f"""{attempt_name(f"{role}_session", role, name)}, {role}_session.name AS {name}_session,
            coalesce({role}.step_of, {role}.task) AS {name}_task"""

    delayed = f"{{0}}.ended_at IS NULL AND {{0}}.due_at IS NOT NULL AND {{0}}.due_at > {NOW[dialect_name]}"
    text = str(whole_text().compile(dialect=dialect(dialect_name)))
    end = f"""attempt.status, run.number AS run, {at("attempt.started_at")}, {at("attempt.ended_at")},
            {seconds("attempt")}, {at("attempt.given_back_at")}, attempt.error_type, attempt.error_message,
            attempt.error_traceback, attempt.restorable"""
    with_run = """zrb_attempt AS attempt JOIN zrb_session AS session ON session.id = attempt.session_id
            LEFT JOIN zrb_run AS run ON run.id = attempt.run_id"""
    in_queue = """JOIN zrb_queue AS queue ON queue.id = {0}.queue_id
            JOIN zrb_session AS session ON session.id = queue.session_id"""
    by = """{0} JOIN zrb_attempt AS {1} ON {1}.id = {2} {0} JOIN zrb_session AS {1}_session
            ON {1}_session.id = {1}.session_id"""
    pusher = by.format("LEFT", "pusher", "zrb_value.pushed_by")
    # As `lease.worked_until` has it: a run that died worked until it renewed its lease for the last time.
    until = "CASE WHEN run.status <> 'lost' THEN run.ended_at ELSE run.lease_expires_at - 60000000 END"
    worked = f"""SELECT CAST(sum(CASE WHEN {until} > run.started_at THEN {until} - run.started_at ELSE 0 END)
            AS DOUBLE PRECISION) / 1000000.0 FROM zrb_run AS run WHERE run.session_id = session.id"""
    is_reclaimed = """session.status = 'interrupted' AND EXISTS (SELECT 1 FROM zrb_run AS run
            WHERE run.session_id = session.id AND run.number = session.fence AND run.origin = 'reclaim')"""
    ended_at = f"CASE WHEN NOT ({is_reclaimed}) THEN session.ended_at END"
    # `model` of `model~10`: the second step of a name in its attempt gets a number.
    unnumbered = "rtrim(attempt.step, '0123456789')"
    group = f"""CASE WHEN {unnumbered} <> attempt.step AND {unnumbered} LIKE '%~'
            THEN substr(attempt.step, 1, length({unnumbered}) - 1) ELSE attempt.step END AS step_name"""
    live = "SELECT count(*) FROM zrb_value AS value WHERE value.queue_id = queue.id AND"
    return {
        "zrb_xcom_sessions": f"""SELECT
            session.name AS session, CASE WHEN {is_reclaimed} THEN 'stale' ELSE session.status END AS status,
            session.task, session.project, session.fence AS runs,
            {at("session.created_at")}, {at(ended_at, "ended_at")}, session.inputs, session.path, session.parent,
            session.forked_from, session.pinned, CASE WHEN {is_reclaimed} THEN NULL ELSE ({worked}) END AS seconds,
            session.traceparent
            FROM zrb_session AS session""",
        "zrb_xcom_runs": f"""SELECT
            session.name AS session, run.number AS run, run.status, {at("run.started_at")}, {at("run.ended_at")},
            {seconds("run")}, run.origin, run."user" AS user_name, run.host, run.pid, run.command, run.folder,
            run.python_version, run.zrb_version, {at("run.lease_expires_at")}, run.error_type, run.error_message,
            run.error_traceback, {at("run.acknowledged_at")}, run.inputs
            FROM zrb_run AS run JOIN zrb_session AS session ON session.id = run.session_id""",
        "zrb_xcom_attempts": f"""SELECT
            {attempt_name("session", "attempt", "attempt")}, session.name AS session, attempt.task, attempt.number,
            attempt.kind, {end}, {text} AS result, attempt.id AS attempt_id,
            session.project, attempt.inputs_read, attempt.inputs_assigned
            FROM {with_run} LEFT JOIN zrb_value
            ON zrb_value.queue_id = attempt.result_queue_id AND zrb_value.seq = attempt.result_seq
            WHERE attempt.step_of IS NULL""",
        "zrb_xcom_steps": f"""SELECT
            {attempt_name("session", "attempt", "attempt")}, session.name AS session, attempt.step_of AS task,
            attempt.step, attempt.number, attempt.once, {end}, attempt.result,
            {attempt_name("session", "parent", "parent")}, attempt.parent_id, attempt.id AS attempt_id,
            attempt.arguments, {group}, session.project, attempt.kind, attempt.attributes, attempt.awaited_queue,
            {at("attempt.deadline_at")}, attempt.say
            FROM {with_run} LEFT JOIN zrb_attempt AS parent ON parent.id = attempt.parent_id
            WHERE attempt.step_of IS NOT NULL""",
        "zrb_xcom_queues": f"""SELECT
            session.name AS session, queue.name AS queue,
            ({live} value.ended_at IS NULL AND NOT ({delayed.format("value")})) AS live,
            ({live} value.state = 'dead') AS dead, queue.max_deliveries, queue.retry_after, {at("queue.paused_at")},
            ({live} {delayed.format("value")}) AS delayed
            FROM zrb_queue AS queue JOIN zrb_session AS session ON session.id = queue.session_id""",
        "zrb_xcom_values": f"""SELECT
            session.name AS session, queue.name AS queue, zrb_value.seq,
            CASE WHEN {delayed.format("zrb_value")} THEN 'delayed' ELSE zrb_value.state END AS state, zrb_value.type,
            {text} AS value, zrb_value.size, {at("zrb_value.pushed_at")}, {who("pusher", "pushed_by")},
            {at("zrb_value.ended_at")}, {who("taker", "taken_by")}, zrb_value.failed_deliveries, zrb_value.moved_from,
            zrb_value.orphaned, session.name || '/' || queue.name || '#' || CAST(zrb_value.seq AS TEXT) AS id,
            zrb_value.pushed_by AS pushed_by_id, zrb_value.taken_by AS taken_by_id, {at("zrb_value.due_at")},
            zrb_value.traceparent
            FROM zrb_value {in_queue.format("zrb_value")}
            {pusher} {by.format("LEFT", "taker", "zrb_value.taken_by")}""",
        "zrb_xcom_returns": f"""SELECT
            session.name AS session, queue.name AS queue, returned.seq, {who("taker", "taken_by")},
            {at("returned.taken_at")}, {at("returned.returned_at")}, returned.reason, returned.failed_deliveries,
            returned.taken_by AS taken_by_id
            FROM zrb_return AS returned {in_queue.format("returned")}
            {by.format("LEFT", "taker", "returned.taken_by")}""",
        # The outer joins come last: SQLite may begin with any of the tables before them.
        "zrb_xcom_lineage": f"""SELECT
            {who("pusher", "pushed_by")}, {who("taker", "taken_by")}, session.name AS session, queue.name AS queue,
            zrb_value.seq, {at("zrb_value.pushed_at")}, {at("zrb_value.ended_at", "taken_at")},
            zrb_value.pushed_by AS pushed_by_id, zrb_value.taken_by AS taken_by_id
            FROM zrb_value {in_queue.format("zrb_value")} {by.format("INNER", "taker", "zrb_value.taken_by")} {pusher}
            WHERE zrb_value.state = 'taken'""",
        "zrb_xcom_output": f"""SELECT
            {attempt_name("session", "attempt", "attempt")}, session.name AS session, attempt.task, output.piece,
            output.start, output.size, output.data AS lines, attempt.id AS attempt_id
            FROM zrb_output AS output JOIN zrb_attempt AS attempt ON attempt.id = output.attempt_id
            JOIN zrb_session AS session ON session.id = attempt.session_id""",
        "zrb_xcom_changes": f"""SELECT
            change.session, {at("change.at", "changed_at")}, change.action, change.detail, change."user" AS user_name,
            change.host, change.pid, change.id AS change_id, change.reason
            FROM zrb_change AS change""",
    }
