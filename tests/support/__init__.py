"""What tests of several folders share; what one folder alone needs lies in that folder.

Stores
    postgres, replication, pgbouncer, proxy: servers, a standby, a pooler, a proxy that cuts connections
    places: many stores, one after the other
    rows, steps, statements: rows without the API, rows of steps, statements that a test changes
    next_release: a copy of the package with a second revision
What happens in them
    attempts, consumers, waits: begin an attempt and let it fail, consume, wait
    sessions, stepping, history, completed: sessions with steps, with much behind them, or completed, for readers
    sql_page: the store that docs/reference/sql.md is about
Processes
    processes: children that run a function and end with the test; their functions: workers (queues), runners (sessions)
    forks: a fork of the test's own process
    clocks: clocks that go wrong, and that a test turns
Commands and what they print
    commands: `zrb-store` in this process
    scripts, terminals: scripts as cron starts them, commands on a terminal
    documents: a Markdown page, run
"""
