"""Which commands there are: name -> (module of this package, purpose). No click here, so that zrb starts fast."""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("listing", "List sessions, the newest first."),
    "show": ("show", "Show a session: its tasks and attempts, its queues and the fate of every value."),
    "get": ("get", "Print one value, fit for $(...)."),
    "log": ("log", "Show the errors of a session's attempts with their tracebacks, and how each run was started."),
    "trace": ("trace", "Tell the life of one value: its push, every take and give-back, its copies."),
    "last": ("last", "Print the newest result of a task in a completed session."),
    "diff": ("diff", "Compare the values of two sessions."),
    "push": ("queues", "Push a value to a queue."),
    "pop": ("queues", "Take the oldest value of a queue and print it."),
    "resume": ("resume", "Run what a session has left to do."),
    "mark": ("mark", "Mark a task completed that was mended by hand."),
    "fork": ("fork", "Copy a session as it was before a task first started."),
    "rm": ("upkeep", "Delete sessions."),
    "pin": ("upkeep", "Keep sessions from being pruned."),
    "unpin": ("upkeep", "Let sessions be pruned again."),
    "prune": ("upkeep", "Delete what is old."),
    "export": ("moving", "Write sessions as JSON Lines."),
    "import": ("moving", "Read sessions from JSON Lines."),
    "copy": ("moving", "Copy sessions from one store to another."),
    "db": ("db", "Look at the database itself, or upgrade it."),
    "doctor": ("doctor", "Check that the store keeps its promises."),
}
