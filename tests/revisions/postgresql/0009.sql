CREATE VIEW zrb_xcom_sessions AS SELECT
            session.name AS session, session.status, session.task, session.project, session.fence AS runs,
            (to_char(timestamp '1970-01-01' + session.created_at / 1000000 * interval '1 second' + mod(session.created_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS created_at, (to_char(timestamp '1970-01-01' + session.finished_at / 1000000 * interval '1 second' + mod(session.finished_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS finished_at, session.inputs, session.path, session.parent,
            session.forked_from, session.pinned
            FROM zrb_session AS session;
CREATE VIEW zrb_xcom_runs AS SELECT
            session.name AS session, run.number AS run, run.outcome, (to_char(timestamp '1970-01-01' + run.started_at / 1000000 * interval '1 second' + mod(run.started_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS started_at, (to_char(timestamp '1970-01-01' + run.ended_at / 1000000 * interval '1 second' + mod(run.ended_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS ended_at,
            CAST(run.ended_at - run.started_at AS DOUBLE PRECISION) / 1000000.0 AS seconds, run.origin, run."user" AS user_name, run.host, run.pid, run.command, run.folder,
            run.python_version, run.zrb_version, (to_char(timestamp '1970-01-01' + run.lease_expires_at / 1000000 * interval '1 second' + mod(run.lease_expires_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS lease_expires_at, run.error_type, run.error_message,
            run.error_traceback
            FROM zrb_run AS run JOIN zrb_session AS session ON session.id = run.session_id;
CREATE VIEW zrb_xcom_attempts AS SELECT
            session.name || '/' || attempt.task || '#' || CAST(attempt.number AS TEXT) AS attempt, session.name AS session, attempt.task, attempt.number,
            attempt.role, attempt.status, run.number AS run, (to_char(timestamp '1970-01-01' + attempt.started_at / 1000000 * interval '1 second' + mod(attempt.started_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS started_at, (to_char(timestamp '1970-01-01' + attempt.ended_at / 1000000 * interval '1 second' + mod(attempt.ended_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS ended_at,
            CAST(attempt.ended_at - attempt.started_at AS DOUBLE PRECISION) / 1000000.0 AS seconds, (to_char(timestamp '1970-01-01' + attempt.given_back_at / 1000000 * interval '1 second' + mod(attempt.given_back_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS given_back_at, attempt.error_type, attempt.error_message,
            attempt.error_traceback, attempt.restorable, CASE WHEN zrb_value.data = '' THEN coalesce((SELECT string_agg(in_order.data, '' ORDER BY in_order.number) FROM (SELECT chunk.data, chunk.number FROM zrb_chunk AS chunk WHERE chunk.queue_id = zrb_value.queue_id AND chunk.seq = zrb_value.seq ORDER BY chunk.number) AS in_order), '') ELSE zrb_value.data END AS result, attempt.id AS attempt_id
            FROM zrb_attempt AS attempt JOIN zrb_session AS session ON session.id = attempt.session_id
            LEFT JOIN zrb_run AS run ON run.id = attempt.run_id LEFT JOIN zrb_value
            ON zrb_value.queue_id = attempt.result_queue_id AND zrb_value.seq = attempt.result_seq
            WHERE attempt.step_of IS NULL;
CREATE VIEW zrb_xcom_steps AS SELECT
            session.name || '/' || attempt.task || '#' || CAST(attempt.number AS TEXT) AS attempt, session.name AS session, attempt.step_of AS task,
            attempt.step, attempt.number, attempt.once, attempt.status, run.number AS run, (to_char(timestamp '1970-01-01' + attempt.started_at / 1000000 * interval '1 second' + mod(attempt.started_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS started_at, (to_char(timestamp '1970-01-01' + attempt.ended_at / 1000000 * interval '1 second' + mod(attempt.ended_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS ended_at,
            CAST(attempt.ended_at - attempt.started_at AS DOUBLE PRECISION) / 1000000.0 AS seconds, (to_char(timestamp '1970-01-01' + attempt.given_back_at / 1000000 * interval '1 second' + mod(attempt.given_back_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS given_back_at, attempt.error_type, attempt.error_message,
            attempt.error_traceback, attempt.restorable, attempt.result,
            session.name || '/' || parent.task || '#' || CAST(parent.number AS TEXT) AS parent, attempt.parent_id, attempt.id AS attempt_id
            FROM zrb_attempt AS attempt JOIN zrb_session AS session ON session.id = attempt.session_id
            LEFT JOIN zrb_run AS run ON run.id = attempt.run_id LEFT JOIN zrb_attempt AS parent ON parent.id = attempt.parent_id
            WHERE attempt.step_of IS NOT NULL;
CREATE VIEW zrb_xcom_queues AS SELECT
            session.name AS session, queue.name AS queue, (SELECT count(*) FROM zrb_value AS value WHERE value.queue_id = queue.id AND value.ended_at IS NULL) AS live,
            (SELECT count(*) FROM zrb_value AS value WHERE value.queue_id = queue.id AND value.state = 'dead') AS dead, queue.max_deliveries
            FROM zrb_queue AS queue JOIN zrb_session AS session ON session.id = queue.session_id;
CREATE VIEW zrb_xcom_values AS SELECT
            session.name AS session, queue.name AS queue, zrb_value.seq, zrb_value.state, zrb_value.type,
            CASE WHEN zrb_value.data = '' THEN coalesce((SELECT string_agg(in_order.data, '' ORDER BY in_order.number) FROM (SELECT chunk.data, chunk.number FROM zrb_chunk AS chunk WHERE chunk.queue_id = zrb_value.queue_id AND chunk.seq = zrb_value.seq ORDER BY chunk.number) AS in_order), '') ELSE zrb_value.data END AS value, zrb_value.size, (to_char(timestamp '1970-01-01' + zrb_value.pushed_at / 1000000 * interval '1 second' + mod(zrb_value.pushed_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS pushed_at, pusher_session.name || '/' || pusher.task || '#' || CAST(pusher.number AS TEXT) AS pushed_by, pusher_session.name AS pushed_by_session,
            coalesce(pusher.step_of, pusher.task) AS pushed_by_task,
            (to_char(timestamp '1970-01-01' + zrb_value.ended_at / 1000000 * interval '1 second' + mod(zrb_value.ended_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS ended_at, taker_session.name || '/' || taker.task || '#' || CAST(taker.number AS TEXT) AS taken_by, taker_session.name AS taken_by_session,
            coalesce(taker.step_of, taker.task) AS taken_by_task, zrb_value.deliveries, zrb_value.moved_from,
            zrb_value.orphaned, session.name || '/' || queue.name || '#' || CAST(zrb_value.seq AS TEXT) AS id,
            zrb_value.pushed_by AS pushed_by_id, zrb_value.taken_by AS taken_by_id
            FROM zrb_value JOIN zrb_queue AS queue ON queue.id = zrb_value.queue_id
            JOIN zrb_session AS session ON session.id = queue.session_id
            LEFT JOIN zrb_attempt AS pusher ON pusher.id = zrb_value.pushed_by LEFT JOIN zrb_session AS pusher_session
            ON pusher_session.id = pusher.session_id LEFT JOIN zrb_attempt AS taker ON taker.id = zrb_value.taken_by LEFT JOIN zrb_session AS taker_session
            ON taker_session.id = taker.session_id;
CREATE VIEW zrb_xcom_returns AS SELECT
            session.name AS session, queue.name AS queue, returned.seq, taker_session.name || '/' || taker.task || '#' || CAST(taker.number AS TEXT) AS taken_by, taker_session.name AS taken_by_session,
            coalesce(taker.step_of, taker.task) AS taken_by_task,
            (to_char(timestamp '1970-01-01' + returned.taken_at / 1000000 * interval '1 second' + mod(returned.taken_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS taken_at, (to_char(timestamp '1970-01-01' + returned.returned_at / 1000000 * interval '1 second' + mod(returned.returned_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS returned_at, returned.reason, returned.deliveries,
            returned.taken_by AS taken_by_id
            FROM zrb_return AS returned JOIN zrb_queue AS queue ON queue.id = returned.queue_id
            JOIN zrb_session AS session ON session.id = queue.session_id
            LEFT JOIN zrb_attempt AS taker ON taker.id = returned.taken_by LEFT JOIN zrb_session AS taker_session
            ON taker_session.id = taker.session_id;
CREATE VIEW zrb_xcom_lineage AS SELECT
            pusher_session.name || '/' || pusher.task || '#' || CAST(pusher.number AS TEXT) AS pushed_by, pusher_session.name AS pushed_by_session,
            coalesce(pusher.step_of, pusher.task) AS pushed_by_task, taker_session.name || '/' || taker.task || '#' || CAST(taker.number AS TEXT) AS taken_by, taker_session.name AS taken_by_session,
            coalesce(taker.step_of, taker.task) AS taken_by_task, session.name AS session, queue.name AS queue,
            zrb_value.seq, (to_char(timestamp '1970-01-01' + zrb_value.pushed_at / 1000000 * interval '1 second' + mod(zrb_value.pushed_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS pushed_at, (to_char(timestamp '1970-01-01' + zrb_value.ended_at / 1000000 * interval '1 second' + mod(zrb_value.ended_at, 1000000) * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C") AS taken_at,
            zrb_value.pushed_by AS pushed_by_id, zrb_value.taken_by AS taken_by_id
            FROM zrb_value JOIN zrb_queue AS queue ON queue.id = zrb_value.queue_id
            JOIN zrb_session AS session ON session.id = queue.session_id INNER JOIN zrb_attempt AS taker ON taker.id = zrb_value.taken_by INNER JOIN zrb_session AS taker_session
            ON taker_session.id = taker.session_id LEFT JOIN zrb_attempt AS pusher ON pusher.id = zrb_value.pushed_by LEFT JOIN zrb_session AS pusher_session
            ON pusher_session.id = pusher.session_id
            WHERE zrb_value.state = 'taken';
