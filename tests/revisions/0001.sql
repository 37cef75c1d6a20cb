BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
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
	given_back_at BIGINT, 
	CONSTRAINT fk_zrb_attempt_run_id FOREIGN KEY(run_id) REFERENCES zrb_run (id) ON DELETE SET NULL, 
	CONSTRAINT fk_zrb_attempt_session_id FOREIGN KEY(session_id) REFERENCES zrb_session (id) ON DELETE CASCADE, 
	CONSTRAINT uq_zrb_attempt_session_id_task_number UNIQUE (session_id, task, number)
);
INSERT INTO "zrb_attempt" VALUES(1,2,1,1,'count',1,'task','completed',1,'[["abc"],{}]',2,1,NULL,NULL,NULL,1795569761729914,1795569761731958,NULL);
INSERT INTO "zrb_attempt" VALUES(2,2,1,1,'load',1,'task','completed',1,NULL,3,1,NULL,NULL,NULL,1795569761732071,1795569761733096,NULL);
INSERT INTO "zrb_attempt" VALUES(3,3,2,1,'count',1,'task','completed',1,'[["abcd"],{}]',4,1,NULL,NULL,NULL,1795569761735242,1795569761735404,NULL);
INSERT INTO "zrb_attempt" VALUES(4,3,2,1,'load',1,'task','failed',1,NULL,NULL,NULL,'ValueError','the first attempt failed','Traceback (most recent call last):
  File "/srv/zrb-store/tests/revisions/make.py", line 33, in fill
    raise ValueError("the first attempt failed")
ValueError: the first attempt failed
',1795569761735518,1795569761736565,1795569761737155);
INSERT INTO "zrb_attempt" VALUES(5,3,2,1,'load',2,'task','interrupted',1,NULL,NULL,NULL,'Crash','','Traceback (most recent call last):
  File "/srv/zrb-store/tests/revisions/make.py", line 36, in fill
    raise Crash
zrb_store.testing.Crash
',1795569761738442,1795569761739379,NULL);
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
CREATE TABLE zrb_queue (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	session_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	high BIGINT DEFAULT 0 NOT NULL, 
	low BIGINT DEFAULT 1 NOT NULL, 
	CONSTRAINT fk_zrb_queue_session_id FOREIGN KEY(session_id) REFERENCES zrb_session (id) ON DELETE CASCADE, 
	CONSTRAINT uq_zrb_queue_session_id_name UNIQUE (session_id, name)
);
INSERT INTO "zrb_queue" VALUES(1,1,'files',0,1);
INSERT INTO "zrb_queue" VALUES(2,2,'count',0,1);
INSERT INTO "zrb_queue" VALUES(3,2,'load',0,1);
INSERT INTO "zrb_queue" VALUES(4,3,'count',0,1);
INSERT INTO "zrb_queue" VALUES(5,3,'half',0,1);
CREATE TABLE zrb_return (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	queue_id INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	taken_by INTEGER, 
	taken_at BIGINT NOT NULL, 
	returned_at BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT fk_zrb_return_queue_id_seq FOREIGN KEY(queue_id, seq) REFERENCES zrb_value (queue_id, seq) ON DELETE CASCADE, 
	CONSTRAINT fk_zrb_return_taken_by FOREIGN KEY(taken_by) REFERENCES zrb_attempt (id) ON DELETE SET NULL
);
INSERT INTO "zrb_return" VALUES(1,1,2,4,1795569761735588,1795569761737155,'failed');
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
	outcome TEXT, 
	CONSTRAINT fk_zrb_run_session_id FOREIGN KEY(session_id) REFERENCES zrb_session (id) ON DELETE CASCADE, 
	CONSTRAINT uq_zrb_run_session_id_number UNIQUE (session_id, number)
);
INSERT INTO "zrb_run" VALUES(1,2,1,'library','vm','690ad256-b922-4e15-9988-e7aa21195eb9','pid:[4026531836]',24839,'770447','root','["/srv/zrb-store/tests/revisions/make.py"]','/srv/zrb-store','3.11.7',NULL,1795569761726340,1795569821726340,1795569761733699,'completed');
INSERT INTO "zrb_run" VALUES(2,3,1,'library','vm','690ad256-b922-4e15-9988-e7aa21195eb9','pid:[4026531836]',24839,'770447','root','["/srv/zrb-store/tests/revisions/make.py"]','/srv/zrb-store','3.11.7',NULL,1795569761734849,1795569761740114,NULL,NULL);
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
INSERT INTO "zrb_session" VALUES(1,'inbox','open',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,1795569761720286,NULL);
INSERT INTO "zrb_session" VALUES(2,'done','completed',NULL,'load','[]','{"day":{"$":"date","v":"2026-11-24"}}',NULL,NULL,NULL,0,1,1795569761722587,1795569761733699);
INSERT INTO "zrb_session" VALUES(3,'dead','running',NULL,'load','[]',NULL,NULL,NULL,NULL,0,1,1795569761734655,NULL);
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
	data TEXT NOT NULL, 
	CONSTRAINT pk_zrb_value PRIMARY KEY (queue_id, seq), 
	CONSTRAINT fk_zrb_value_pushed_by FOREIGN KEY(pushed_by) REFERENCES zrb_attempt (id) ON DELETE SET NULL, 
	CONSTRAINT fk_zrb_value_queue_id FOREIGN KEY(queue_id) REFERENCES zrb_queue (id) ON DELETE CASCADE, 
	CONSTRAINT fk_zrb_value_taken_by FOREIGN KEY(taken_by) REFERENCES zrb_attempt (id) ON DELETE SET NULL
)
 WITHOUT ROWID

;
INSERT INTO "zrb_value" VALUES(1,1,'taken','str',7,1795569761721172,NULL,1795569761732909,2,NULL,0,'"a.csv"');
INSERT INTO "zrb_value" VALUES(1,2,'taken','str',7,1795569761721172,NULL,1795569761738593,5,NULL,0,'"b.csv"');
INSERT INTO "zrb_value" VALUES(1,3,'live','str',7,1795569761721172,NULL,NULL,NULL,NULL,0,'"c.csv"');
INSERT INTO "zrb_value" VALUES(2,1,'live','int',1,1795569761731498,1,NULL,NULL,NULL,0,'3');
INSERT INTO "zrb_value" VALUES(3,1,'live','dict',18,1795569761733080,2,NULL,NULL,NULL,0,'{"loaded":"a.csv"}');
INSERT INTO "zrb_value" VALUES(4,1,'live','int',1,1795569761735382,3,NULL,NULL,NULL,0,'4');
INSERT INTO "zrb_value" VALUES(5,1,'live','str',7,1795569761739108,5,NULL,NULL,NULL,0,'"b.csv"');
CREATE INDEX ix_zrb_session_created_at ON zrb_session (created_at);
CREATE INDEX ix_zrb_session_task_created_at ON zrb_session (task, created_at);
CREATE INDEX ix_zrb_attempt_run_id ON zrb_attempt (run_id);
CREATE INDEX ix_zrb_attempt_completed ON zrb_attempt (task, ended_at) WHERE status = 'completed';
CREATE UNIQUE INDEX ix_zrb_value_live ON zrb_value (queue_id, seq, ended_at) WHERE ended_at IS NULL;
CREATE INDEX ix_zrb_value_pushed_by ON zrb_value (pushed_by) WHERE pushed_by IS NOT NULL;
CREATE INDEX ix_zrb_value_taken_by ON zrb_value (taken_by) WHERE taken_by IS NOT NULL;
CREATE INDEX ix_zrb_return_queue_id_seq ON zrb_return (queue_id, seq);
CREATE INDEX ix_zrb_return_taken_by ON zrb_return (taken_by);
CREATE INDEX ix_zrb_change_session ON zrb_change (session);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('zrb_queue',5);
INSERT INTO "sqlite_sequence" VALUES('zrb_session',3);
INSERT INTO "sqlite_sequence" VALUES('zrb_run',2);
INSERT INTO "sqlite_sequence" VALUES('zrb_attempt',5);
INSERT INTO "sqlite_sequence" VALUES('zrb_return',1);
COMMIT;
