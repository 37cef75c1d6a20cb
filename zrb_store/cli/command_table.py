"""The commands: name -> (module of this package, purpose). click is not imported here, so that zrb starts fast."""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("list", "List sessions, the newest first."),
    "show": ("show", "Show a session: its tasks and attempts, its queues and the fate of every value."),
    "get": ("get", "Print one value, ready for use in $(...)."),
    "log": (
        "log",
        "Show what a session's attempts printed, their errors and tracebacks, and how runs were started.",
    ),
    "trace": ("trace", "Show the history of one value: its push, every take and give-back, its copies."),
    "check": ("check", "Tell what failed, went stale, is dead or is overdue, for cron and monitors."),
    "report": ("report", "Write a session as one HTML file: for a ticket, or to look at."),
    "page": ("page", "Show the store in a browser, live."),
    "stats": ("stats", "Show for each task how often it ran and completed, how long it took, and its last failure."),
    "last": ("last", "Print the newest result of a task in a completed session."),
    "diff": ("diff", "Compare the values of two sessions."),
    "push": ("push", "Push a value to a queue."),
    "pop": ("pop", "Take the oldest value of a queue and print it."),
    "consume": ("consume", "Run a command for each value of a queue, and give back what fails."),
    "queue": ("queue", "Show or set what a queue allows."),
    "requeue": ("requeue", "Make dead values live again."),
    "resume": ("resume", "Run what a session has left to do."),
    "mark": ("mark", "Mark a task or a step that was done by hand as completed."),
    "fork": ("fork", "Copy a session as it was before a task or a step first started."),
    "rm": ("rm", "Delete sessions."),
    "pin": ("pin", "Protect sessions from `rm` and `prune`."),
    "unpin": ("pin", "End the protection of sessions."),
    "prune": ("prune", "Delete old sessions and old values."),
    "export": ("export", "Write sessions as JSON Lines."),
    "import": ("import_", "Read sessions from JSON Lines."),
    "copy": ("copy", "Copy sessions from one store to another."),
    "db": ("db", "Show or upgrade the database."),
    "doctor": ("doctor", "Check that the store keeps its promises."),
    "completion": ("completion", "Print the script that completes commands and names with TAB in a shell."),
}

READING = (
    *("list", "show", "get", "log", "trace", "report", "page", "stats", "last", "diff", "export"),
    *("doctor", "completion"),
)
"""Those that change and take nothing. Only they are suggested to a user who mistypes a command."""
