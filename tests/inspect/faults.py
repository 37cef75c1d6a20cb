"""Faults in the rows of `test_doctor.fill_with_history`, as statements, by the name of the check that finds them."""

from __future__ import annotations

FAULTS = {
    "value-state": [
        "UPDATE zrb_value SET state = 'lost' WHERE state = 'live'",
        "UPDATE zrb_value SET state = 'live' WHERE state = 'taken'",
        "UPDATE zrb_value SET ended_at = pushed_at WHERE state = 'live'",
        "UPDATE zrb_value SET ended_at = NULL WHERE state = 'dead'",
    ],
    "value-taker": [
        "UPDATE zrb_value SET taken_by = (SELECT max(id) FROM zrb_attempt) WHERE state = 'live'",
        "UPDATE zrb_value SET taken_by = (SELECT max(id) FROM zrb_attempt) WHERE state = 'retracted'",
        "UPDATE zrb_value SET taken_by = (SELECT max(id) FROM zrb_attempt) WHERE state = 'dead'",
    ],
    "value-orphaned": [
        "UPDATE zrb_value SET orphaned = true WHERE state = 'live'",
        "UPDATE zrb_attempt SET given_back_at = NULL WHERE task = 'watch' AND number = 1",
    ],
    "pusher-given-back": [
        "UPDATE zrb_value SET orphaned = false WHERE orphaned",
        "UPDATE zrb_value SET state = 'live', ended_at = NULL WHERE state = 'retracted'",
        "UPDATE zrb_value SET state = 'dead', failed_deliveries = 1 WHERE state = 'retracted'",
    ],
    "value-deliveries": [
        "UPDATE zrb_value SET failed_deliveries = 2 WHERE state = 'dead'",
        "UPDATE zrb_value SET state = 'dead', ended_at = pushed_at WHERE state = 'live'",
        "UPDATE zrb_return SET failed_deliveries = 7 WHERE failed_deliveries = 1",
        "UPDATE zrb_value SET failed_deliveries = 1 WHERE data = '\"mended\"'",
    ],
    "taker-given-back": ["UPDATE zrb_attempt SET given_back_at = ended_at WHERE task = 'read'"],
    "value-size": [
        "UPDATE zrb_value SET data = '1' WHERE type = 'str'",
        "UPDATE zrb_replaced SET size = size + 1",
    ],
    "value-times": [
        "UPDATE zrb_value SET pushed_tick = ended_tick + 1 WHERE state = 'retracted'",
        "UPDATE zrb_return SET returned_tick = taken_tick - 1",
        "UPDATE zrb_return SET taken_tick = 1",
        "UPDATE zrb_value SET state = 'taken', ended_at = pushed_at, ended_tick = pushed_tick "
        "WHERE EXISTS (SELECT 1 FROM zrb_return r WHERE r.queue_id = zrb_value.queue_id AND r.seq = zrb_value.seq)",
        "INSERT INTO zrb_return (queue_id, seq, taken_at, returned_at, reason, taken_tick, returned_tick) "
        "SELECT queue_id, seq, taken_at, returned_at, reason, taken_tick, returned_tick FROM zrb_return",
    ],
    "attempt-status": [
        "UPDATE zrb_attempt SET status = 'skipped' WHERE task = 'load'",
        "UPDATE zrb_attempt SET ended_at = NULL WHERE task = 'load'",
        "UPDATE zrb_attempt SET ended_at = 1 WHERE status = 'running'",
    ],
    "attempt-running": [
        "UPDATE zrb_run SET ended_at = started_at, status = 'lost' WHERE ended_at IS NULL",
        "UPDATE zrb_attempt SET run_id = NULL WHERE status = 'running'",
    ],
    "attempt-unfinished": [
        "UPDATE zrb_attempt SET given_back_at = NULL WHERE task = 'load'",
        "INSERT INTO zrb_attempt (session_id, run_id, fence, task, number, kind, status, started_at, started_tick) "
        "SELECT session_id, run_id, fence, task, number + 1, kind, status, started_at, started_tick FROM zrb_attempt "
        "WHERE status = 'running'",
    ],
    "attempt-run": [
        "UPDATE zrb_attempt SET fence = 9 WHERE task = 'load' AND number = 2",
        "UPDATE zrb_attempt SET run_id = (SELECT max(id) FROM zrb_run) WHERE task = 'read'",
        "UPDATE zrb_attempt SET fence = 9 WHERE run_id IS NULL",
    ],
    "attempt-result": [
        "DELETE FROM zrb_value WHERE data = '\"loaded\"'",
        "UPDATE zrb_value SET pushed_by = NULL WHERE data = '\"loaded\"'",
        "UPDATE zrb_attempt SET result_seq = NULL WHERE task = 'read'",
    ],
    "output-pieces": [
        "UPDATE zrb_output SET piece = 7 WHERE piece = 2",
        "UPDATE zrb_output SET start = 3 WHERE piece = 2",
        "UPDATE zrb_output SET start = start + 90 WHERE piece = 2",
    ],
    "output-data": [
        "UPDATE zrb_output SET data = '[[[' WHERE piece = 2",
        "UPDATE zrb_output SET data = '[[1, \"print\"]]'",
        "UPDATE zrb_output SET data = '[]'",
        "UPDATE zrb_output SET size = size + 1 WHERE piece = 2",
    ],
    "queue-rules": ["UPDATE zrb_queue SET low = high + 2"],
    "attempt-rules": ["UPDATE zrb_attempt SET ended_tick = NULL WHERE task = 'read'"],
    "value-rules": ["UPDATE zrb_value SET ended_tick = NULL WHERE state = 'taken'"],
    "attempt-times": ["UPDATE zrb_attempt SET ended_tick = started_tick - 1 WHERE task = 'read'"],
    "session-status": [
        "UPDATE zrb_session SET status = 'done' WHERE name = 'etl'",
        "UPDATE zrb_session SET ended_at = NULL WHERE name = 'etl'",
        "UPDATE zrb_session SET ended_at = 1 WHERE name = 'inbox'",
    ],
    "session-fence": [
        "UPDATE zrb_session SET fence = 7 WHERE name = 'etl'",
        "UPDATE zrb_session SET fence = 1 WHERE name = 'inbox'",
    ],
    "session-lease": ["UPDATE zrb_run SET ended_at = NULL, status = NULL"],
    "session-run": [
        "UPDATE zrb_session SET status = 'failed', ended_at = created_at WHERE name = 'under-way'",
        "UPDATE zrb_session SET status = 'running', ended_at = NULL WHERE name = 'etl'",
    ],
    "run-status": [
        "UPDATE zrb_run SET status = NULL WHERE ended_at > 0",
        "UPDATE zrb_run SET status = 'lost' WHERE ended_at IS NULL",
    ],
    "queue-numbers": ["UPDATE zrb_queue SET high = 0", "UPDATE zrb_queue SET low = 5"],
    "value-text": ["DELETE FROM zrb_chunk", "UPDATE zrb_value SET data = '1' WHERE data = ''"],
    "value-chunks": ["UPDATE zrb_chunk SET number = 5 WHERE number = 1"],
    "replaced-data": ["UPDATE zrb_replaced SET data = '[[['"],
    "replaced-type": ["""UPDATE zrb_replaced SET data = '{"$"\\:"later"}'"""],
    "value-data": [
        "UPDATE zrb_value SET data = '[[[' WHERE type = 'int'",
        "UPDATE zrb_value SET data = '\u00e9' WHERE type = 'int'",
    ],
    "value-type": ["""UPDATE zrb_value SET data = '{"$"\\:"later"}', size = 13 WHERE type = 'int'"""],
    "step-id": [
        "UPDATE zrb_attempt SET kind = 'task' WHERE step = 'page'",
        "UPDATE zrb_attempt SET kind = 'step' WHERE task = 'read'",
        "UPDATE zrb_attempt SET kind = 'boss' WHERE task = 'read'",
        "UPDATE zrb_attempt SET step_of = NULL WHERE step = 'connect'",
        "UPDATE zrb_attempt SET step = NULL WHERE step = 'connect'",
        "UPDATE zrb_attempt SET step_number = NULL WHERE step = 'connect'",
        "UPDATE zrb_attempt SET task = 'load/7' WHERE task = 'load/3'",
        "UPDATE zrb_attempt SET result_queue_id = (SELECT min(id) FROM zrb_queue), result_seq = 1 "
        "WHERE step = 'connect'",
        "UPDATE zrb_attempt SET parent_id = (SELECT min(id) FROM zrb_attempt) WHERE task = 'read'",
        "UPDATE zrb_attempt SET step = 'page' WHERE task = 'read'",
        "UPDATE zrb_attempt SET step_number = 1 WHERE task = 'read'",
        "UPDATE zrb_attempt SET result = '1' WHERE task = 'read'",
        "UPDATE zrb_attempt SET once = true WHERE task = 'read'",
    ],
    "step-number": [
        "UPDATE zrb_attempt SET step_number = 5, task = 'load/5' WHERE task = 'load/2' AND number = 2",
        "UPDATE zrb_attempt SET step = 'other' WHERE task = 'load/2' AND number = 2",
    ],
    "step-parent": [
        "UPDATE zrb_attempt SET parent_id = 4611686018427387904 WHERE step = 'page'",
        "UPDATE zrb_attempt SET parent_id = (SELECT id FROM zrb_attempt WHERE task = 'read') WHERE step = 'page'",
        "UPDATE zrb_attempt SET parent_id = id WHERE step = 'page'",
        "UPDATE zrb_attempt SET kind = 'delivery' WHERE task = 't'",
        "UPDATE zrb_attempt SET step_of = 'extract', task = 'extract/3' WHERE task = 'load/3'",
    ],
    "step-running": [
        "UPDATE zrb_attempt SET status = 'completed', ended_at = started_at WHERE task = 't'",
        "UPDATE zrb_attempt SET parent_id = NULL WHERE task = 't/4'",
    ],
    "step-unfinished": [
        "UPDATE zrb_attempt SET given_back_at = NULL WHERE task = 't/2'",
        "UPDATE zrb_attempt SET result = '1' WHERE task = 't/4'",
    ],
    "step-rests": [
        "UPDATE zrb_value SET pushed_by = (SELECT parent_id FROM zrb_attempt WHERE id = taken_by), orphaned = true "
        "WHERE taken_by IN (SELECT id FROM zrb_attempt WHERE task = 'load/1')",
    ],
    "wait-parent": ["UPDATE zrb_attempt SET status = 'failed' WHERE task = 'refund'"],
    "wait-step": ["UPDATE zrb_attempt SET status = 'lost' WHERE task = 'refund/1'"],
    "session-waiting": ["UPDATE zrb_run SET status = 'failed' WHERE status = 'waiting'"],
    "result-data": ["UPDATE zrb_attempt SET result = '[' WHERE task = 'load/1'"],
    "result-type": ["""UPDATE zrb_attempt SET result = '{"$"\\:"later"}' WHERE task = 'load/1'"""],
    "lease-end": ["UPDATE zrb_run SET lease_expires_at = 253402300799999999 WHERE ended_at IS NULL"],
    "damaged-row": [
        "UPDATE zrb_output SET start = -1",
        "UPDATE zrb_output SET size = 0",
        "UPDATE zrb_value SET pushed_at = 4611686018427387904 WHERE seq = 1",
        "UPDATE zrb_value SET size = 0, data = '' WHERE type = 'str'",
        "UPDATE zrb_value SET moved_from = -4611686018427387904 WHERE seq = 1",
        "UPDATE zrb_chunk SET number = -1 WHERE number = 0",
        "UPDATE zrb_return SET taken_at = -1",
        "UPDATE zrb_replaced SET failed_deliveries = -1",
        "UPDATE zrb_queue SET retry_after = '[x'",
        "UPDATE zrb_attempt SET number = 0 WHERE task = 'read'",
        "UPDATE zrb_attempt SET started_at = 4611686018427387904 WHERE task = 'read'",
        "UPDATE zrb_session SET created_at = 4611686018427387904 WHERE name = 'etl'",
        "UPDATE zrb_session SET fence = -1 WHERE name = 'inbox'",
        "UPDATE zrb_run SET origin = 'cron'",
        "UPDATE zrb_run SET status = 'done' WHERE status = 'completed'",
        "UPDATE zrb_run SET pid = -1",
        "UPDATE zrb_run SET lease_expires_at = 4611686018427387904",
        "UPDATE zrb_queue SET high = 9223372036854775807",
        "UPDATE zrb_queue SET max_deliveries = 0 WHERE max_deliveries = 1",
        "UPDATE zrb_change SET at = -1",
        "UPDATE zrb_attempt SET inputs_read = '{}'",
        "UPDATE zrb_session SET name = '-r f' WHERE name = 'inbox'",
        "UPDATE zrb_session SET tasks = '[' WHERE name = 'etl'",
        "UPDATE zrb_session SET path = '{}' WHERE name = 'etl'",
        "UPDATE zrb_run SET command = 'zrb'",
        "UPDATE zrb_run SET inputs = '5'",
        "UPDATE zrb_session SET inputs = '5' WHERE name = 'etl'",
        "UPDATE zrb_session SET tasks = '{\"load\"\\:\"done\"}' WHERE name = 'etl'",
    ],
}
