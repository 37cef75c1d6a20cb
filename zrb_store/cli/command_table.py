"""The commands: name -> (module of this package, purpose). click is not imported here, so that zrb starts fast."""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("list", "List sessions, the newest first."),
    "show": ("show", "Show a session: its tasks and attempts, its queues and the fate of every value."),
    "get": ("values", "Print one value, ready for use in $(...)."),
    "log": ("log", "Show what a session's attempts printed, their errors and tracebacks, and how runs were started."),
    "trace": ("values", "Show the history of one value: its push, every take and give-back, its copies."),
    "check": ("check", "Tell what failed, went stale, is dead or is overdue, for cron and monitors."),
    "report": ("report", "Write a session as one HTML file: for a ticket, or to look at."),
    "page": ("report", "Show the store in a browser, live."),
    "stats": ("stats", "Show for each task how often it ran and completed, how long it took, and its last failure."),
    "last": ("sessions", "Print the newest result of a task in a completed session."),
    "diff": ("diff", "Compare the values of two sessions."),
    "push": ("values", "Push a value to a queue."),
    "pop": ("values", "Take the oldest value of a queue and print it."),
    "consume": ("consume", "Run a command for each value of a queue, and give back what fails."),
    "queue": ("values", "Show or set what a queue allows."),
    "requeue": ("values", "Make dead values live again."),
    "resume": ("resume", "Run what a session has left to do."),
    "mark": ("sessions", "Mark a task or a step that was done by hand as completed."),
    "fork": ("sessions", "Copy a session as it was before a task or a step first started."),
    "rm": ("sessions", "Delete sessions."),
    "pin": ("sessions", "Protect sessions from `rm` and `prune`."),
    "unpin": ("sessions", "End the protection of sessions."),
    "prune": ("prune", "Delete old sessions and old values."),
    "export": ("transfer", "Write sessions as JSON Lines."),
    "import": ("transfer", "Read sessions from JSON Lines."),
    "copy": ("transfer", "Copy sessions from one store to another."),
    "db": ("database", "Show or upgrade the database."),
    "doctor": ("database", "Check that the store keeps its promises."),
    "completion": ("completion", "Print the script that completes commands and names with TAB in a shell."),
}

READING = (
    *("list", "show", "get", "log", "trace", "report", "page", "stats", "last", "diff", "export"),
    *("doctor", "completion"),
)
"""Those that change and take nothing. Only they are suggested to a user who mistypes a command."""

OTHER_WORDS = {"delete": "rm", "remove": "rm", "retry": "resume", "rerun": "resume", "serve": "page", "ui": "page"}
"""What other programs call these commands."""
