"""The tests' own PostgreSQL, which later tests kill: what was committed is there when it comes back."""

from __future__ import annotations

import psycopg
import pytest

from tests import postgres


@pytest.mark.usefixtures("postgres_server")  # skipped or failed where there is none
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
