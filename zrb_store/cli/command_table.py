"""The commands: of the core, and those that wings add. Without an import of click, so zrb starts fast."""

from __future__ import annotations

from collections.abc import Mapping

from zrb_store.wings import Command, installed

_CORE = {
    # name: (module of this package, purpose)
    "list": ("list", "List sessions, the newest first."),
    "show": ("show", "Show a session's tasks, attempts and queues, and what happened to each value."),
    "get": ("values", "Print one value, ready for use in $(...)."),
    "log": ("log", "Show what a session's attempts printed, their errors and tracebacks, and how runs were started."),
    "trace": ("values", "Show the history of one value: its push, takes, give-backs and copies."),
    "last": ("sessions", "Print the newest result of a task in a completed session."),
    "diff": ("diff", "Compare the values of two sessions."),
    "push": ("values", "Push a value to a queue."),
    "pop": ("values", "Take the oldest value of a queue and print it."),
    "queue": ("values", "Show or set the delivery limit of a queue, or pause it."),
    "requeue": ("values", "Make dead values live again."),
    "replace": ("values", "Replace the content of a live, delayed or dead value."),
    "drop": ("values", "Take live, delayed or dead values out of their queues for good."),
    "stop": ("sessions", "End the process that runs a session, and give back what it was doing."),
    "resume": ("resume", "Run the tasks that a session has not completed."),
    "mark": ("sessions", "Mark a task or step done by hand as completed."),
    "fork": ("sessions", "Copy a session as it was before a task or a step first started."),
    "rm": ("sessions", "Delete sessions."),
    "pin": ("sessions", "Protect sessions from `rm` and `prune`."),
    "unpin": ("sessions", "Unpin sessions: `rm` and `prune` may delete them again."),
    "prune": ("prune", "Delete old sessions and old values."),
    "db": ("database", "Show or upgrade the database."),
    "doctor": ("database", "Check the store for damaged data and for risks."),
    "completion": ("completion", "Print a shell script that completes commands and names with TAB."),
}

_READING = (
    *("list", "show", "get", "log", "trace", "last", "diff"),
    *("doctor", "completion"),
)

_OTHER_NAMES = {
    "delete": "rm",
    "remove": "rm",
    "retry": "resume",
    "rerun": "resume",
    "cancel": "stop",
    "kill": "stop",
}


def _with_wings() -> Mapping[str, Command]:
    found = [
        (name, Command(f"{__package__}.{module}", purpose, reads=name in _READING))
        for name, (module, purpose) in _CORE.items()
    ]
    for name, added in (each for wing in installed() for each in wing.commands.items()):
        places = {known: place for place, (known, _) in enumerate(found, 1)}
        found.insert(0 if added.after is None else places.get(added.after, len(found)), (name, added))
    return dict(found)


COMMANDS = _with_wings()
"""Every command, in the order in which they are listed."""
OTHER_NAMES = {**_OTHER_NAMES, **{other: name for name, each in COMMANDS.items() for other in each.other_names}}
"""What other programs call these commands."""
