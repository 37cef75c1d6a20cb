"""What tests of several folders share; what one folder alone needs lies in that folder.

Stores
    postgres, replication, pgbouncer, proxy: servers, a standby, a pooler, a proxy that cuts connections
    places: many stores, one after the other
    rows, tables, statements: rows and tables without the API, statements that a test changes
    damage: rows in each table, and what damages one
    next_release: a copy of the package with a second revision
What happens in them
    attempts, steps, consumers, waits: begin an attempt or a step and let it fail, consume, wait
    holders: processes that hold a value when they die, and leases that have become old
    pruning: sessions that have become old
    scenarios: random attempts that push, take, fail and die
    sessions, stepping, history, completed: sessions with steps, with much behind them, or completed, for readers
    findings: what `doctor` finds
    sql_page: the store that docs/reference/sql.md is about
Processes
    processes, workers, runners: children that end with the test, and their functions, of queues and of sessions
    forks: a fork of the test's own process
    rights: the rights of an ordinary user
    programs: what must be installed, and what is said at the end if it is not
    clocks: clocks that go wrong, and that a test turns
Commands and what they print
    commands: `zrb-store` in this process
    scripts, terminals: scripts as cron starts them, commands on a terminal
    documents: a Markdown page, run
The repository
    modules: the package's modules, by name
"""
