BEGIN TRANSACTION;
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO "alembic_version" VALUES('0002 or newer');
CREATE TABLE zrb_attempt (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	session_id INTEGER NOT NULL, 
	run_id INTEGER, 
	fence INTEGER NOT NULL, 
	task TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	role TEXT NOT NULL, 
	status TEXT NOT NULL, 
	restorable BOOLEAN DEFAULT 1 NOT NULL, 
	arguments TEXT, 
	result_queue_id INTEGER, 
	result_seq BIGINT, 
	error_type TEXT, 
	error_message TEXT, 
	error_traceback TEXT, 
	started_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	given_back_at BIGINT, command_pid INTEGER, command_started TEXT, parent_id INTEGER, step_of TEXT, step TEXT, step_number INTEGER, once BOOLEAN DEFAULT 0 NOT NULL, result TEXT, started_tick BIGINT DEFAULT 0 NOT NULL, ended_tick BIGINT, given_back_tick BIGINT, inputs_read TEXT, code TEXT, 
	CONSTRAINT fk_zrb_attempt_run_id FOREIGN KEY(run_id) REFERENCES zrb_run (id) ON DELETE SET NULL, 
	CONSTRAINT fk_zrb_attempt_session_id FOREIGN KEY(session_id) REFERENCES zrb_session (id) ON DELETE CASCADE, 
	CONSTRAINT uq_zrb_attempt_session_id_task_number UNIQUE (session_id, task, number)
);
INSERT INTO "zrb_attempt" VALUES(150789756,252736009,10995572,1,'count',1,'task','completed',1,'[["abc"],{}]',338495670,1,NULL,NULL,NULL,1796162590220365,1796162590220899,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,7,9,NULL,NULL,NULL);
INSERT INTO "zrb_attempt" VALUES(348680627,252736009,10995572,1,'load',1,'task','completed',1,NULL,342636798,1,NULL,NULL,NULL,1796162590221327,1796162590222330,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,11,13,NULL,NULL,NULL);
INSERT INTO "zrb_attempt" VALUES(497579996,414044435,15770272,1,'count',1,'task','completed',1,'[["abcd"],{}]',603794088,1,NULL,NULL,NULL,1796162590229113,1796162590229392,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,19,21,NULL,NULL,NULL);
INSERT INTO "zrb_attempt" VALUES(533899968,414044435,15770272,1,'load',1,'task','failed',1,NULL,NULL,NULL,'ValueError','the first attempt failed','Traceback (most recent call last):
  File "/srv/zrb-store/tests/revisions/make.py", line 46, in fill
    raise ValueError("the first attempt failed")
ValueError: the first attempt failed
',1796162590229608,1796162590231132,1796162590232929,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,23,27,31,NULL,NULL);
INSERT INTO "zrb_attempt" VALUES(613687352,414044435,15770272,1,'load',2,'task','running',1,NULL,NULL,NULL,NULL,NULL,NULL,1796162590237804,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,35,NULL,NULL,NULL,NULL);
INSERT INTO "zrb_attempt" VALUES(744988573,414044435,15770272,1,'load/1',1,'step','completed',1,'[["one"],{}]',NULL,NULL,NULL,NULL,NULL,1796162590241220,1796162590241942,NULL,NULL,NULL,613687352,'load','page',1,0,'null',37,39,NULL,NULL,NULL);
INSERT INTO "zrb_attempt" VALUES(779094212,414044435,15770272,1,'load/2',1,'step','completed',1,'[["abc"],{}]',NULL,NULL,NULL,NULL,NULL,1796162590242379,1796162590242479,NULL,NULL,NULL,613687352,'load','rest',2,0,'3',41,43,NULL,NULL,NULL);
INSERT INTO "zrb_attempt" VALUES(910856927,418003032,25624451,1,'load',1,'task','failed',1,NULL,NULL,NULL,'ValueError','deadly','Traceback (most recent call last):
  File "/srv/zrb-store/tests/revisions/make.py", line 56, in fill
    raise ValueError(poison.pop())
ValueError: deadly
',1796162590289151,1796162590290265,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,47,51,NULL,NULL,NULL);
CREATE TABLE zrb_change (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at BIGINT NOT NULL, 
	action TEXT NOT NULL, 
	session TEXT, 
	detail TEXT, 
	user TEXT, 
	host TEXT NOT NULL, 
	pid INTEGER NOT NULL
, reason TEXT);
INSERT INTO "zrb_change" VALUES(1,1796162590287974,'queue','inbox','poison: max_deliveries 1','root','vm',2651,NULL);
CREATE TABLE zrb_chunk (
	queue_id INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	number INTEGER NOT NULL, 
	data TEXT NOT NULL, 
	CONSTRAINT pk_zrb_chunk PRIMARY KEY (queue_id, seq, number), 
	CONSTRAINT fk_zrb_chunk_queue_id_seq FOREIGN KEY(queue_id, seq) REFERENCES zrb_value (queue_id, seq) ON DELETE CASCADE
);
INSERT INTO "zrb_chunk" VALUES(1334144225,1,0,'"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"');
CREATE TABLE zrb_clock (tick BIGINT NOT NULL);
INSERT INTO "zrb_clock" VALUES(56);
CREATE TABLE zrb_output (
	attempt_id INTEGER NOT NULL, 
	piece INTEGER NOT NULL, 
	start BIGINT NOT NULL, 
	size INTEGER NOT NULL, 
	data TEXT NOT NULL, 
	CONSTRAINT pk_zrb_output PRIMARY KEY (attempt_id, piece), 
	CONSTRAINT fk_zrb_output_attempt_id FOREIGN KEY(attempt_id) REFERENCES zrb_attempt (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "zrb_output" VALUES(348680627,1,0,9,'[[1795000000000000,"stdout","loading"],[1795000000000001,"print",""]]');
CREATE TABLE zrb_queue (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	session_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	high BIGINT DEFAULT 0 NOT NULL, 
	low BIGINT DEFAULT 1 NOT NULL, max_deliveries INTEGER, retry_after TEXT, paused_at BIGINT, 
	CONSTRAINT fk_zrb_queue_session_id FOREIGN KEY(session_id) REFERENCES zrb_session (id) ON DELETE CASCADE, 
	CONSTRAINT uq_zrb_queue_session_id_name UNIQUE (session_id, name)
);
INSERT INTO "zrb_queue" VALUES(70693461,154238432,'files',0,1,NULL,NULL,NULL);
INSERT INTO "zrb_queue" VALUES(338495670,252736009,'count',0,1,NULL,NULL,NULL);
INSERT INTO "zrb_queue" VALUES(342636798,252736009,'load',0,1,NULL,NULL,NULL);
INSERT INTO "zrb_queue" VALUES(603794088,414044435,'count',0,1,NULL,NULL,NULL);
INSERT INTO "zrb_queue" VALUES(811372831,414044435,'pages',0,1,NULL,NULL,NULL);
INSERT INTO "zrb_queue" VALUES(951048344,414044435,'half',0,1,NULL,NULL,NULL);
INSERT INTO "zrb_queue" VALUES(1093365192,154238432,'poison',0,1,1,NULL,NULL);
INSERT INTO "zrb_queue" VALUES(1334144225,154238432,'long',0,1,NULL,NULL,NULL);
CREATE TABLE zrb_replaced (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	queue_id INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	type TEXT NOT NULL, 
	size INTEGER NOT NULL, 
	data TEXT NOT NULL, 
	failed_deliveries INTEGER NOT NULL, 
	replaced_at BIGINT NOT NULL, 
	replaced_tick BIGINT NOT NULL, 
	CONSTRAINT fk_zrb_replaced_queue_id_seq FOREIGN KEY(queue_id, seq) REFERENCES zrb_value (queue_id, seq) ON DELETE CASCADE
);
CREATE TABLE zrb_return (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	queue_id INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	taken_by INTEGER, 
	taken_at BIGINT NOT NULL, 
	returned_at BIGINT NOT NULL, 
	reason TEXT NOT NULL, failed_deliveries INTEGER, taken_tick BIGINT DEFAULT 0 NOT NULL, returned_tick BIGINT DEFAULT 0 NOT NULL, due_at BIGINT, 
	CONSTRAINT fk_zrb_return_queue_id_seq FOREIGN KEY(queue_id, seq) REFERENCES zrb_value (queue_id, seq) ON DELETE CASCADE, 
	CONSTRAINT fk_zrb_return_taken_by FOREIGN KEY(taken_by) REFERENCES zrb_attempt (id) ON DELETE SET NULL
);
INSERT INTO "zrb_return" VALUES(1,70693461,2,533899968,1796162590229762,1796162590231132,'failed',1,24,27,NULL);
INSERT INTO "zrb_return" VALUES(2,1093365192,1,910856927,1796162590289537,1796162590290265,'failed',1,48,51,NULL);
CREATE TABLE zrb_run (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	session_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	origin TEXT NOT NULL, 
	host TEXT NOT NULL, 
	boot_id TEXT, 
	pid_namespace TEXT, 
	pid INTEGER NOT NULL, 
	process_started TEXT, 
	user TEXT, 
	command TEXT, 
	folder TEXT, 
	python_version TEXT, 
	zrb_version TEXT, 
	started_at BIGINT NOT NULL, 
	lease_expires_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	status TEXT, suspected_at BIGINT, told_at BIGINT, started_tick BIGINT DEFAULT 0 NOT NULL, ended_tick BIGINT, error_type TEXT, error_message TEXT, error_traceback TEXT, stop_requested_at BIGINT, acknowledged_at BIGINT, inputs TEXT, 
	CONSTRAINT fk_zrb_run_session_id FOREIGN KEY(session_id) REFERENCES zrb_session (id) ON DELETE CASCADE, 
	CONSTRAINT uq_zrb_run_session_id_number UNIQUE (session_id, number)
);
INSERT INTO "zrb_run" VALUES(10995572,252736009,1,'library','vm','another-start-of-the-machine','pid:[4026531836] time:[4026531834]',2651,'1305775/140732200173808','root','["/srv/zrb-store/tests/revisions/make.py"]','/srv/zrb-store','3.11.7',NULL,1796162590218459,1796162650218459,1796162590225568,'completed',NULL,NULL,5,15,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "zrb_run" VALUES(15770272,414044435,1,'library','vm','another-start-of-the-machine','pid:[4026531836] time:[4026531834]',2651,'1305775/140732200173808','root','["/srv/zrb-store/tests/revisions/make.py"]','/srv/zrb-store','3.11.7',NULL,1796162590226455,1796162590242884,NULL,NULL,NULL,NULL,17,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "zrb_run" VALUES(25624451,418003032,1,'library','vm','another-start-of-the-machine','pid:[4026531836] time:[4026531834]',2651,'1305775/140732200173808','root','["/srv/zrb-store/tests/revisions/make.py"]','/srv/zrb-store','3.11.7',NULL,1796162590288858,1796162650288858,1796162590291270,'failed',NULL,1796162590291270,45,55,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE zrb_session (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	status TEXT NOT NULL, 
	project TEXT, 
	task TEXT, 
	path TEXT, 
	inputs TEXT, 
	tasks TEXT, 
	parent TEXT, 
	forked_from TEXT, 
	pinned BOOLEAN DEFAULT 0 NOT NULL, 
	fence INTEGER DEFAULT 0 NOT NULL, 
	created_at BIGINT NOT NULL, 
	ended_at BIGINT, created_tick BIGINT DEFAULT 0 NOT NULL, ended_tick BIGINT, 
	CONSTRAINT uq_zrb_session_name UNIQUE (name)
);
INSERT INTO "zrb_session" VALUES(154238432,'inbox','open',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,1796162590197098,NULL,2,NULL);
INSERT INTO "zrb_session" VALUES(252736009,'done','completed',NULL,'load','[]','{"day":{"$":"date","v":"2026-11-24"}}',NULL,NULL,NULL,0,1,1796162590215686,1796162590225568,4,15);
INSERT INTO "zrb_session" VALUES(414044435,'dead','running',NULL,'load','[]',NULL,NULL,NULL,NULL,0,1,1796162590226174,NULL,16,NULL);
INSERT INTO "zrb_session" VALUES(418003032,'victim','failed',NULL,'load','[]',NULL,NULL,NULL,NULL,0,1,1796162590288576,1796162590291270,44,55);
CREATE TABLE zrb_value (
	queue_id INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	state TEXT DEFAULT 'live' NOT NULL, 
	type TEXT NOT NULL, 
	size INTEGER NOT NULL, 
	pushed_at BIGINT NOT NULL, 
	pushed_by INTEGER, 
	ended_at BIGINT, 
	taken_by INTEGER, 
	moved_from BIGINT, 
	orphaned BOOLEAN DEFAULT 0 NOT NULL, 
	data TEXT NOT NULL, failed_deliveries INTEGER DEFAULT 0 NOT NULL, pushed_tick BIGINT DEFAULT 0 NOT NULL, ended_tick BIGINT, plain BOOLEAN DEFAULT 0 NOT NULL, due_at BIGINT, 
	CONSTRAINT pk_zrb_value PRIMARY KEY (queue_id, seq), 
	CONSTRAINT fk_zrb_value_pushed_by FOREIGN KEY(pushed_by) REFERENCES zrb_attempt (id) ON DELETE SET NULL, 
	CONSTRAINT fk_zrb_value_queue_id FOREIGN KEY(queue_id) REFERENCES zrb_queue (id) ON DELETE CASCADE, 
	CONSTRAINT fk_zrb_value_taken_by FOREIGN KEY(taken_by) REFERENCES zrb_attempt (id) ON DELETE SET NULL
)
 WITHOUT ROWID

;
INSERT INTO "zrb_value" VALUES(70693461,1,'taken','str',7,1796162590205792,NULL,1796162590222139,348680627,NULL,0,'"a.csv"',0,3,12,0,NULL);
INSERT INTO "zrb_value" VALUES(70693461,2,'taken','str',7,1796162590205792,NULL,1796162590242071,613687352,NULL,0,'"b.csv"',1,3,40,0,NULL);
INSERT INTO "zrb_value" VALUES(70693461,3,'live','str',7,1796162590205792,NULL,NULL,NULL,NULL,0,'"c.csv"',0,3,NULL,0,NULL);
INSERT INTO "zrb_value" VALUES(338495670,1,'live','int',1,1796162590220899,150789756,NULL,NULL,NULL,0,'3',0,8,NULL,0,NULL);
INSERT INTO "zrb_value" VALUES(342636798,1,'live','dict',18,1796162590222330,348680627,NULL,NULL,NULL,0,'{"loaded":"a.csv"}',0,12,NULL,0,NULL);
INSERT INTO "zrb_value" VALUES(603794088,1,'live','int',1,1796162590229392,497579996,NULL,NULL,NULL,0,'4',0,20,NULL,0,NULL);
INSERT INTO "zrb_value" VALUES(811372831,1,'live','str',5,1796162590241712,744988573,NULL,NULL,NULL,0,'"one"',0,38,NULL,0,NULL);
INSERT INTO "zrb_value" VALUES(951048344,1,'live','str',7,1796162590242241,613687352,NULL,NULL,NULL,0,'"b.csv"',0,40,NULL,0,NULL);
INSERT INTO "zrb_value" VALUES(1093365192,1,'dead','str',8,1796162590288376,NULL,1796162590290265,NULL,NULL,0,'"deadly"',1,44,51,0,NULL);
INSERT INTO "zrb_value" VALUES(1334144225,1,'live','str',9002,1796162590291831,NULL,NULL,NULL,NULL,0,'',0,56,NULL,0,NULL);
CREATE TABLE zrb_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT zrb_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "zrb_version" VALUES('0013');
CREATE INDEX ix_zrb_attempt_run_id ON zrb_attempt (run_id);
CREATE INDEX ix_zrb_value_pushed_by ON zrb_value (pushed_by) WHERE pushed_by IS NOT NULL;
CREATE INDEX ix_zrb_return_queue_id_seq ON zrb_return (queue_id, seq);
CREATE INDEX ix_zrb_return_taken_by ON zrb_return (taken_by);
CREATE INDEX ix_zrb_change_session ON zrb_change (session);
CREATE INDEX ix_zrb_attempt_running ON zrb_attempt (run_id) WHERE status = 'running';
CREATE INDEX ix_zrb_value_taken_by ON zrb_value (taken_by, queue_id) WHERE taken_by IS NOT NULL;
CREATE INDEX ix_zrb_value_dead ON zrb_value (queue_id, seq) WHERE state = 'dead';
CREATE INDEX ix_zrb_attempt_step ON zrb_attempt (session_id, step_of, step) WHERE step_of IS NOT NULL;
CREATE TRIGGER zrb_attempt_begins AFTER INSERT ON zrb_attempt BEGIN UPDATE zrb_clock SET tick = tick + 2; END;
CREATE TRIGGER zrb_attempt_changes AFTER UPDATE OF started_tick, ended_tick, given_back_tick ON zrb_attempt BEGIN UPDATE zrb_clock SET tick = tick + 2; END;
CREATE INDEX ix_zrb_session_task_id ON zrb_session (task, id);
CREATE INDEX ix_zrb_session_not_completed ON zrb_session (status, id) WHERE status <> 'completed';
CREATE INDEX ix_zrb_attempt_completed ON zrb_attempt (task, ended_tick) WHERE status = 'completed';
CREATE INDEX ix_zrb_session_task_ended_tick ON zrb_session (task, ended_tick);
CREATE UNIQUE INDEX ix_zrb_value_live ON zrb_value (queue_id, seq, ended_at, due_at) WHERE ended_at IS NULL;
CREATE INDEX ix_zrb_value_delayed ON zrb_value (queue_id, due_at) WHERE due_at IS NOT NULL AND ended_at IS NULL;
CREATE INDEX ix_zrb_replaced_queue_id_seq ON zrb_replaced (queue_id, seq);
CREATE INDEX ix_zrb_session_ended_tick ON zrb_session (ended_tick);
CREATE VIEW zrb_xcom_sessions AS SELECT
            session.name AS session, CASE WHEN session.status = 'interrupted' AND EXISTS (SELECT 1 FROM zrb_run AS run
            WHERE run.session_id = session.id AND run.number = session.fence AND run.origin = 'reclaim') THEN 'stale' ELSE session.status END AS status,
            session.task, session.project, session.fence AS runs,
            (strftime('%Y-%m-%dT%H:%M:%S', session.created_at / 1000000, 'unixepoch') || printf('.%06dZ', session.created_at % 1000000)) AS created_at, (strftime('%Y-%m-%dT%H:%M:%S', CASE WHEN NOT (session.status = 'interrupted' AND EXISTS (SELECT 1 FROM zrb_run AS run
            WHERE run.session_id = session.id AND run.number = session.fence AND run.origin = 'reclaim')) THEN session.ended_at END / 1000000, 'unixepoch') || printf('.%06dZ', CASE WHEN NOT (session.status = 'interrupted' AND EXISTS (SELECT 1 FROM zrb_run AS run
            WHERE run.session_id = session.id AND run.number = session.fence AND run.origin = 'reclaim')) THEN session.ended_at END % 1000000)) AS ended_at, session.inputs, session.path, session.parent,
            session.forked_from, session.pinned, CASE WHEN session.status = 'interrupted' AND EXISTS (SELECT 1 FROM zrb_run AS run
            WHERE run.session_id = session.id AND run.number = session.fence AND run.origin = 'reclaim') THEN NULL ELSE (SELECT CAST(sum(CASE WHEN CASE WHEN run.status <> 'lost' THEN run.ended_at ELSE run.lease_expires_at - 60000000 END > run.started_at THEN CASE WHEN run.status <> 'lost' THEN run.ended_at ELSE run.lease_expires_at - 60000000 END - run.started_at ELSE 0 END)
            AS DOUBLE PRECISION) / 1000000.0 FROM zrb_run AS run WHERE run.session_id = session.id) END AS seconds
            FROM zrb_session AS session;
CREATE VIEW zrb_xcom_runs AS SELECT
            session.name AS session, run.number AS run, run.status, (strftime('%Y-%m-%dT%H:%M:%S', run.started_at / 1000000, 'unixepoch') || printf('.%06dZ', run.started_at % 1000000)) AS started_at, (strftime('%Y-%m-%dT%H:%M:%S', run.ended_at / 1000000, 'unixepoch') || printf('.%06dZ', run.ended_at % 1000000)) AS ended_at,
            CAST(run.ended_at - run.started_at AS DOUBLE PRECISION) / 1000000.0 AS seconds, run.origin, run."user" AS user_name, run.host, run.pid, run.command, run.folder,
            run.python_version, run.zrb_version, (strftime('%Y-%m-%dT%H:%M:%S', run.lease_expires_at / 1000000, 'unixepoch') || printf('.%06dZ', run.lease_expires_at % 1000000)) AS lease_expires_at, run.error_type, run.error_message,
            run.error_traceback, (strftime('%Y-%m-%dT%H:%M:%S', run.acknowledged_at / 1000000, 'unixepoch') || printf('.%06dZ', run.acknowledged_at % 1000000)) AS acknowledged_at, run.inputs
            FROM zrb_run AS run JOIN zrb_session AS session ON session.id = run.session_id;
CREATE VIEW zrb_xcom_attempts AS SELECT
            session.name || '/' || attempt.task || '#' || CAST(attempt.number AS TEXT) AS attempt, session.name AS session, attempt.task, attempt.number,
            attempt.role, attempt.status, run.number AS run, (strftime('%Y-%m-%dT%H:%M:%S', attempt.started_at / 1000000, 'unixepoch') || printf('.%06dZ', attempt.started_at % 1000000)) AS started_at, (strftime('%Y-%m-%dT%H:%M:%S', attempt.ended_at / 1000000, 'unixepoch') || printf('.%06dZ', attempt.ended_at % 1000000)) AS ended_at,
            CAST(attempt.ended_at - attempt.started_at AS DOUBLE PRECISION) / 1000000.0 AS seconds, (strftime('%Y-%m-%dT%H:%M:%S', attempt.given_back_at / 1000000, 'unixepoch') || printf('.%06dZ', attempt.given_back_at % 1000000)) AS given_back_at, attempt.error_type, attempt.error_message,
            attempt.error_traceback, attempt.restorable, CASE WHEN zrb_value.data = '' THEN coalesce((SELECT group_concat(in_order.data, '') FROM (SELECT chunk.data, chunk.number FROM zrb_chunk AS chunk WHERE chunk.queue_id = zrb_value.queue_id AND chunk.seq = zrb_value.seq ORDER BY chunk.number) AS in_order), '') ELSE zrb_value.data END AS result, attempt.id AS attempt_id,
            session.project, attempt.inputs_read
            FROM zrb_attempt AS attempt JOIN zrb_session AS session ON session.id = attempt.session_id
            LEFT JOIN zrb_run AS run ON run.id = attempt.run_id LEFT JOIN zrb_value
            ON zrb_value.queue_id = attempt.result_queue_id AND zrb_value.seq = attempt.result_seq
            WHERE attempt.step_of IS NULL;
CREATE VIEW zrb_xcom_steps AS SELECT
            session.name || '/' || attempt.task || '#' || CAST(attempt.number AS TEXT) AS attempt, session.name AS session, attempt.step_of AS task,
            attempt.step, attempt.number, attempt.once, attempt.status, run.number AS run, (strftime('%Y-%m-%dT%H:%M:%S', attempt.started_at / 1000000, 'unixepoch') || printf('.%06dZ', attempt.started_at % 1000000)) AS started_at, (strftime('%Y-%m-%dT%H:%M:%S', attempt.ended_at / 1000000, 'unixepoch') || printf('.%06dZ', attempt.ended_at % 1000000)) AS ended_at,
            CAST(attempt.ended_at - attempt.started_at AS DOUBLE PRECISION) / 1000000.0 AS seconds, (strftime('%Y-%m-%dT%H:%M:%S', attempt.given_back_at / 1000000, 'unixepoch') || printf('.%06dZ', attempt.given_back_at % 1000000)) AS given_back_at, attempt.error_type, attempt.error_message,
            attempt.error_traceback, attempt.restorable, attempt.result,
            session.name || '/' || parent.task || '#' || CAST(parent.number AS TEXT) AS parent, attempt.parent_id, attempt.id AS attempt_id,
            attempt.arguments, CASE WHEN rtrim(attempt.step, '0123456789') <> attempt.step AND rtrim(attempt.step, '0123456789') LIKE '%~'
            THEN substr(attempt.step, 1, length(rtrim(attempt.step, '0123456789')) - 1) ELSE attempt.step END AS step_name, session.project
            FROM zrb_attempt AS attempt JOIN zrb_session AS session ON session.id = attempt.session_id
            LEFT JOIN zrb_run AS run ON run.id = attempt.run_id LEFT JOIN zrb_attempt AS parent ON parent.id = attempt.parent_id
            WHERE attempt.step_of IS NOT NULL;
CREATE VIEW zrb_xcom_queues AS SELECT
            session.name AS session, queue.name AS queue,
            (SELECT count(*) FROM zrb_value AS value WHERE value.queue_id = queue.id AND value.ended_at IS NULL AND NOT (value.ended_at IS NULL AND value.due_at IS NOT NULL AND value.due_at > CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + 1000)) AS live,
            (SELECT count(*) FROM zrb_value AS value WHERE value.queue_id = queue.id AND value.state = 'dead') AS dead, queue.max_deliveries, queue.retry_after, (strftime('%Y-%m-%dT%H:%M:%S', queue.paused_at / 1000000, 'unixepoch') || printf('.%06dZ', queue.paused_at % 1000000)) AS paused_at,
            (SELECT count(*) FROM zrb_value AS value WHERE value.queue_id = queue.id AND value.ended_at IS NULL AND value.due_at IS NOT NULL AND value.due_at > CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + 1000) AS delayed
            FROM zrb_queue AS queue JOIN zrb_session AS session ON session.id = queue.session_id;
CREATE VIEW zrb_xcom_values AS SELECT
            session.name AS session, queue.name AS queue, zrb_value.seq,
            CASE WHEN zrb_value.ended_at IS NULL AND zrb_value.due_at IS NOT NULL AND zrb_value.due_at > CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + 1000 THEN 'delayed' ELSE zrb_value.state END AS state, zrb_value.type,
            CASE WHEN zrb_value.data = '' THEN coalesce((SELECT group_concat(in_order.data, '') FROM (SELECT chunk.data, chunk.number FROM zrb_chunk AS chunk WHERE chunk.queue_id = zrb_value.queue_id AND chunk.seq = zrb_value.seq ORDER BY chunk.number) AS in_order), '') ELSE zrb_value.data END AS value, zrb_value.size, (strftime('%Y-%m-%dT%H:%M:%S', zrb_value.pushed_at / 1000000, 'unixepoch') || printf('.%06dZ', zrb_value.pushed_at % 1000000)) AS pushed_at, pusher_session.name || '/' || pusher.task || '#' || CAST(pusher.number AS TEXT) AS pushed_by, pusher_session.name AS pushed_by_session,
            coalesce(pusher.step_of, pusher.task) AS pushed_by_task,
            (strftime('%Y-%m-%dT%H:%M:%S', zrb_value.ended_at / 1000000, 'unixepoch') || printf('.%06dZ', zrb_value.ended_at % 1000000)) AS ended_at, taker_session.name || '/' || taker.task || '#' || CAST(taker.number AS TEXT) AS taken_by, taker_session.name AS taken_by_session,
            coalesce(taker.step_of, taker.task) AS taken_by_task, zrb_value.failed_deliveries, zrb_value.moved_from,
            zrb_value.orphaned, session.name || '/' || queue.name || '#' || CAST(zrb_value.seq AS TEXT) AS id,
            zrb_value.pushed_by AS pushed_by_id, zrb_value.taken_by AS taken_by_id, (strftime('%Y-%m-%dT%H:%M:%S', zrb_value.due_at / 1000000, 'unixepoch') || printf('.%06dZ', zrb_value.due_at % 1000000)) AS due_at
            FROM zrb_value JOIN zrb_queue AS queue ON queue.id = zrb_value.queue_id
            JOIN zrb_session AS session ON session.id = queue.session_id
            LEFT JOIN zrb_attempt AS pusher ON pusher.id = zrb_value.pushed_by LEFT JOIN zrb_session AS pusher_session
            ON pusher_session.id = pusher.session_id LEFT JOIN zrb_attempt AS taker ON taker.id = zrb_value.taken_by LEFT JOIN zrb_session AS taker_session
            ON taker_session.id = taker.session_id;
CREATE VIEW zrb_xcom_returns AS SELECT
            session.name AS session, queue.name AS queue, returned.seq, taker_session.name || '/' || taker.task || '#' || CAST(taker.number AS TEXT) AS taken_by, taker_session.name AS taken_by_session,
            coalesce(taker.step_of, taker.task) AS taken_by_task,
            (strftime('%Y-%m-%dT%H:%M:%S', returned.taken_at / 1000000, 'unixepoch') || printf('.%06dZ', returned.taken_at % 1000000)) AS taken_at, (strftime('%Y-%m-%dT%H:%M:%S', returned.returned_at / 1000000, 'unixepoch') || printf('.%06dZ', returned.returned_at % 1000000)) AS returned_at, returned.reason, returned.failed_deliveries,
            returned.taken_by AS taken_by_id
            FROM zrb_return AS returned JOIN zrb_queue AS queue ON queue.id = returned.queue_id
            JOIN zrb_session AS session ON session.id = queue.session_id
            LEFT JOIN zrb_attempt AS taker ON taker.id = returned.taken_by LEFT JOIN zrb_session AS taker_session
            ON taker_session.id = taker.session_id;
CREATE VIEW zrb_xcom_lineage AS SELECT
            pusher_session.name || '/' || pusher.task || '#' || CAST(pusher.number AS TEXT) AS pushed_by, pusher_session.name AS pushed_by_session,
            coalesce(pusher.step_of, pusher.task) AS pushed_by_task, taker_session.name || '/' || taker.task || '#' || CAST(taker.number AS TEXT) AS taken_by, taker_session.name AS taken_by_session,
            coalesce(taker.step_of, taker.task) AS taken_by_task, session.name AS session, queue.name AS queue,
            zrb_value.seq, (strftime('%Y-%m-%dT%H:%M:%S', zrb_value.pushed_at / 1000000, 'unixepoch') || printf('.%06dZ', zrb_value.pushed_at % 1000000)) AS pushed_at, (strftime('%Y-%m-%dT%H:%M:%S', zrb_value.ended_at / 1000000, 'unixepoch') || printf('.%06dZ', zrb_value.ended_at % 1000000)) AS taken_at,
            zrb_value.pushed_by AS pushed_by_id, zrb_value.taken_by AS taken_by_id
            FROM zrb_value JOIN zrb_queue AS queue ON queue.id = zrb_value.queue_id
            JOIN zrb_session AS session ON session.id = queue.session_id INNER JOIN zrb_attempt AS taker ON taker.id = zrb_value.taken_by INNER JOIN zrb_session AS taker_session
            ON taker_session.id = taker.session_id LEFT JOIN zrb_attempt AS pusher ON pusher.id = zrb_value.pushed_by LEFT JOIN zrb_session AS pusher_session
            ON pusher_session.id = pusher.session_id
            WHERE zrb_value.state = 'taken';
CREATE VIEW zrb_xcom_output AS SELECT
            session.name || '/' || attempt.task || '#' || CAST(attempt.number AS TEXT) AS attempt, session.name AS session, attempt.task, output.piece,
            output.start, output.size, output.data AS lines, attempt.id AS attempt_id
            FROM zrb_output AS output JOIN zrb_attempt AS attempt ON attempt.id = output.attempt_id
            JOIN zrb_session AS session ON session.id = attempt.session_id;
CREATE VIEW zrb_xcom_changes AS SELECT
            change.session, (strftime('%Y-%m-%dT%H:%M:%S', change.at / 1000000, 'unixepoch') || printf('.%06dZ', change.at % 1000000)) AS changed_at, change.action, change.detail, change."user" AS user_name,
            change.host, change.pid, change.id AS change_id, change.reason
            FROM zrb_change AS change;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('zrb_queue',1334144225);
INSERT INTO "sqlite_sequence" VALUES('zrb_session',418003032);
INSERT INTO "sqlite_sequence" VALUES('zrb_run',25624451);
INSERT INTO "sqlite_sequence" VALUES('zrb_attempt',910856927);
INSERT INTO "sqlite_sequence" VALUES('zrb_return',2);
INSERT INTO "sqlite_sequence" VALUES('zrb_change',1);
COMMIT;
