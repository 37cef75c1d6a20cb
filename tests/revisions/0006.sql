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
	given_back_at BIGINT, command_pid INTEGER, command_started TEXT, parent_id INTEGER, step_of TEXT, step TEXT, step_number INTEGER, once BOOLEAN DEFAULT 0 NOT NULL, result TEXT, 
	CONSTRAINT fk_zrb_attempt_run_id FOREIGN KEY(run_id) REFERENCES zrb_run (id) ON DELETE SET NULL, 
	CONSTRAINT fk_zrb_attempt_session_id FOREIGN KEY(session_id) REFERENCES zrb_session (id) ON DELETE CASCADE, 
	CONSTRAINT uq_zrb_attempt_session_id_task_number UNIQUE (session_id, task, number)
);
INSERT INTO "zrb_attempt" VALUES(1,2,1,1,'count',1,'task','completed',1,'[["abc"],{}]',2,1,NULL,NULL,NULL,1795676531773050,1795676531775357,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "zrb_attempt" VALUES(2,2,1,1,'load',1,'task','completed',1,NULL,3,1,NULL,NULL,NULL,1795676531775555,1795676531779904,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "zrb_attempt" VALUES(3,3,2,1,'count',1,'task','completed',1,'[["abcd"],{}]',4,1,NULL,NULL,NULL,1795676531782320,1795676531782462,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "zrb_attempt" VALUES(4,3,2,1,'load',1,'task','failed',1,NULL,NULL,NULL,'ValueError','the first attempt failed','Traceback (most recent call last):
  File "/srv/zrb-store/tests/revisions/make.py", line 45, in fill
    raise ValueError("the first attempt failed")
ValueError: the first attempt failed
',1795676531782569,1795676531786765,1795676531794729,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "zrb_attempt" VALUES(5,3,2,1,'load',2,'task','running',1,NULL,NULL,NULL,NULL,NULL,NULL,1795676531800735,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "zrb_attempt" VALUES(6,3,2,1,'load/1',1,'step','completed',1,'[["one"],{}]',NULL,NULL,NULL,NULL,NULL,1795676531803277,1795676531804839,NULL,NULL,NULL,5,'load','page',1,0,'null');
INSERT INTO "zrb_attempt" VALUES(7,3,2,1,'load/2',1,'step','completed',1,'[["abc"],{}]',NULL,NULL,NULL,NULL,NULL,1795676531805468,1795676531805703,NULL,NULL,NULL,5,'load','rest',2,0,'3');
INSERT INTO "zrb_attempt" VALUES(8,4,3,1,'load',1,'task','failed',1,NULL,NULL,NULL,'ValueError','deadly','Traceback (most recent call last):
  File "/srv/zrb-store/tests/revisions/make.py", line 55, in fill
    raise ValueError(poison.pop())
ValueError: deadly
',1795676531809733,1795676531810540,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
CREATE TABLE zrb_change (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at BIGINT NOT NULL, 
	action TEXT NOT NULL, 
	session TEXT, 
	detail TEXT, 
	user TEXT, 
	host TEXT NOT NULL, 
	pid INTEGER NOT NULL
);
INSERT INTO "zrb_change" VALUES(1,1795676531807657,'queue','inbox','poison: max_deliveries 1','root','vm',418);
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
INSERT INTO "zrb_output" VALUES(2,1,0,9,'[[1795000000000000,"stdout","loading"],[1795000000000001,"print",""]]');
CREATE TABLE zrb_queue (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	session_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	high BIGINT DEFAULT 0 NOT NULL, 
	low BIGINT DEFAULT 1 NOT NULL, max_deliveries INTEGER, 
	CONSTRAINT fk_zrb_queue_session_id FOREIGN KEY(session_id) REFERENCES zrb_session (id) ON DELETE CASCADE, 
	CONSTRAINT uq_zrb_queue_session_id_name UNIQUE (session_id, name)
);
INSERT INTO "zrb_queue" VALUES(1,1,'files',0,1,NULL);
INSERT INTO "zrb_queue" VALUES(2,2,'count',0,1,NULL);
INSERT INTO "zrb_queue" VALUES(3,2,'load',0,1,NULL);
INSERT INTO "zrb_queue" VALUES(4,3,'count',0,1,NULL);
INSERT INTO "zrb_queue" VALUES(5,3,'pages',0,1,NULL);
INSERT INTO "zrb_queue" VALUES(6,3,'half',0,1,NULL);
INSERT INTO "zrb_queue" VALUES(7,1,'poison',0,1,1);
CREATE TABLE zrb_return (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	queue_id INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	taken_by INTEGER, 
	taken_at BIGINT NOT NULL, 
	returned_at BIGINT NOT NULL, 
	reason TEXT NOT NULL, deliveries INTEGER, 
	CONSTRAINT fk_zrb_return_queue_id_seq FOREIGN KEY(queue_id, seq) REFERENCES zrb_value (queue_id, seq) ON DELETE CASCADE, 
	CONSTRAINT fk_zrb_return_taken_by FOREIGN KEY(taken_by) REFERENCES zrb_attempt (id) ON DELETE SET NULL
);
INSERT INTO "zrb_return" VALUES(1,1,2,4,1795676531782657,1795676531786765,'failed',1);
INSERT INTO "zrb_return" VALUES(2,7,1,8,1795676531809967,1795676531810540,'failed',1);
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
	outcome TEXT, suspected_at BIGINT, told_at BIGINT, 
	CONSTRAINT fk_zrb_run_session_id FOREIGN KEY(session_id) REFERENCES zrb_session (id) ON DELETE CASCADE, 
	CONSTRAINT uq_zrb_run_session_id_number UNIQUE (session_id, number)
);
INSERT INTO "zrb_run" VALUES(1,2,1,'library','vm','85e633c3-22d8-4785-86f4-614787e42e94','pid:[4026531836] time:[4026531834]',418,'1332517','root','["/srv/zrb-store/tests/revisions/make.py"]','/srv/zrb-store','3.11.7',NULL,1795676531769551,1795676591769551,1795676531780875,'completed',NULL,NULL);
INSERT INTO "zrb_run" VALUES(2,3,1,'library','vm','85e633c3-22d8-4785-86f4-614787e42e94','pid:[4026531836] time:[4026531834]',418,'1332517','root','["/srv/zrb-store/tests/revisions/make.py"]','/srv/zrb-store','3.11.7',NULL,1795676531782007,1795676531807070,NULL,NULL,NULL,NULL);
INSERT INTO "zrb_run" VALUES(3,4,1,'library','vm','85e633c3-22d8-4785-86f4-614787e42e94','pid:[4026531836] time:[4026531834]',418,'1332517','root','["/srv/zrb-store/tests/revisions/make.py"]','/srv/zrb-store','3.11.7',NULL,1795676531809457,1795676591809457,1795676531810944,'failed',NULL,1795676531810944);
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
	finished_at BIGINT, 
	CONSTRAINT uq_zrb_session_name UNIQUE (name)
);
INSERT INTO "zrb_session" VALUES(1,'inbox','open',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,1795676531757304,NULL);
INSERT INTO "zrb_session" VALUES(2,'done','completed',NULL,'load','[]','{"day":{"$":"date","v":"2026-11-24"}}',NULL,NULL,NULL,0,1,1795676531766433,1795676531780875);
INSERT INTO "zrb_session" VALUES(3,'dead','running',NULL,'load','[]',NULL,NULL,NULL,NULL,0,1,1795676531781800,NULL);
INSERT INTO "zrb_session" VALUES(4,'victim','failed',NULL,'load','[]',NULL,NULL,NULL,NULL,0,1,1795676531809214,1795676531810944);
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
	data TEXT NOT NULL, deliveries INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_zrb_value PRIMARY KEY (queue_id, seq), 
	CONSTRAINT fk_zrb_value_pushed_by FOREIGN KEY(pushed_by) REFERENCES zrb_attempt (id) ON DELETE SET NULL, 
	CONSTRAINT fk_zrb_value_queue_id FOREIGN KEY(queue_id) REFERENCES zrb_queue (id) ON DELETE CASCADE, 
	CONSTRAINT fk_zrb_value_taken_by FOREIGN KEY(taken_by) REFERENCES zrb_attempt (id) ON DELETE SET NULL
)
 WITHOUT ROWID

;
INSERT INTO "zrb_value" VALUES(1,1,'taken','str',7,1795676531758366,NULL,1795676531779728,2,NULL,0,'"a.csv"',0);
INSERT INTO "zrb_value" VALUES(1,2,'taken','str',7,1795676531758366,NULL,1795676531805010,5,NULL,0,'"b.csv"',1);
INSERT INTO "zrb_value" VALUES(1,3,'live','str',7,1795676531758366,NULL,NULL,NULL,NULL,0,'"c.csv"',0);
INSERT INTO "zrb_value" VALUES(2,1,'live','int',1,1795676531774797,1,NULL,NULL,NULL,0,'3',0);
INSERT INTO "zrb_value" VALUES(3,1,'live','dict',18,1795676531779883,2,NULL,NULL,NULL,0,'{"loaded":"a.csv"}',0);
INSERT INTO "zrb_value" VALUES(4,1,'live','int',1,1795676531782443,3,NULL,NULL,NULL,0,'4',0);
INSERT INTO "zrb_value" VALUES(5,1,'live','str',5,1795676531803947,6,NULL,NULL,NULL,0,'"one"',0);
INSERT INTO "zrb_value" VALUES(6,1,'live','str',7,1795676531805277,5,NULL,NULL,NULL,0,'"b.csv"',0);
INSERT INTO "zrb_value" VALUES(7,1,'dead','str',8,1795676531809025,NULL,1795676531810540,NULL,NULL,0,'"deadly"',1);
CREATE TABLE zrb_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT zrb_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "zrb_version" VALUES('0006');
CREATE INDEX ix_zrb_session_created_at ON zrb_session (created_at);
CREATE INDEX ix_zrb_session_task_created_at ON zrb_session (task, created_at);
CREATE INDEX ix_zrb_attempt_run_id ON zrb_attempt (run_id);
CREATE INDEX ix_zrb_attempt_completed ON zrb_attempt (task, ended_at) WHERE status = 'completed';
CREATE UNIQUE INDEX ix_zrb_value_live ON zrb_value (queue_id, seq, ended_at) WHERE ended_at IS NULL;
CREATE INDEX ix_zrb_value_pushed_by ON zrb_value (pushed_by) WHERE pushed_by IS NOT NULL;
CREATE INDEX ix_zrb_return_queue_id_seq ON zrb_return (queue_id, seq);
CREATE INDEX ix_zrb_return_taken_by ON zrb_return (taken_by);
CREATE INDEX ix_zrb_change_session ON zrb_change (session);
CREATE INDEX ix_zrb_attempt_running ON zrb_attempt (run_id) WHERE status = 'running';
CREATE INDEX ix_zrb_value_taken_by ON zrb_value (taken_by, queue_id) WHERE taken_by IS NOT NULL;
CREATE INDEX ix_zrb_value_dead ON zrb_value (queue_id, seq) WHERE state = 'dead';
CREATE INDEX ix_zrb_attempt_step ON zrb_attempt (session_id, step_of, step) WHERE step_of IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('zrb_queue',7);
INSERT INTO "sqlite_sequence" VALUES('zrb_session',4);
INSERT INTO "sqlite_sequence" VALUES('zrb_run',3);
INSERT INTO "sqlite_sequence" VALUES('zrb_attempt',8);
INSERT INTO "sqlite_sequence" VALUES('zrb_return',2);
INSERT INTO "sqlite_sequence" VALUES('zrb_change',1);
COMMIT;
