"""What this wing adds: three commands, the command of `ZRB_STORE_NOTIFY`, and the figures of a live page."""

from __future__ import annotations

from zrb_store.wings import Command, Setting, Wing

_MODULE = f"{__package__}.commands"

VARIABLES = (
    *("ZRB_STORE_EVENT", "ZRB_STORE_SESSION", "ZRB_STORE_TASK", "ZRB_STORE_VALUE", "ZRB_STORE_ERROR"),
    *("ZRB_STORE_REMEDY", "ZRB_STORE_MESSAGE", "ZRB_STORE_URL", "ZRB_STORE_SHOWN_URL"),
)
"""The variables that the command of `ZRB_STORE_NOTIFY` gets; a variable without a value is unset."""

WING = Wing(
    commands={
        "check": Command(
            _MODULE,
            "Report failed and stale sessions, dead values and overdue tasks, for cron and monitors.",
            after="trace",
        ),
        "stats": Command(
            _MODULE,
            "Show how often each task ran and completed, how long it took, and its last failure.",
            after="check",
            reads=True,
        ),
        "ack": Command(
            _MODULE,
            "Acknowledge how sessions ended: `check` no longer reports it.",
            after="resume",
        ),
    },
    settings=(
        Setting(
            "ZRB_STORE_NOTIFY",
            "a shell command to [start](../how-to/alerts.md) when a run fails, is interrupted or waits, a value dies, "
            "or the store cannot be used",
            None,
            "none",
            after="ZRB_STORE_OUTPUT_LIMIT",
        ),
    ),
    variables=VARIABLES,
    notifier=f"{__package__}.notify",
    figures=f"{__package__}.stats",
)
