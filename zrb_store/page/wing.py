"""What this wing adds: two commands, and pages under zrb's own web server."""

from __future__ import annotations

from zrb_store.wings import Command, Wing

_MODULE = f"{__package__}.commands"

WING = Wing(
    commands={
        "report": Command(
            _MODULE,
            "Write a session as one HTML file, to read or to attach to a ticket.",
            after="check",
            reads=True,
            under_zrb="zrb_store.plugin.resume:ZrbResumer",
        ),
        "page": Command(
            _MODULE,
            "Show the store live in a browser.",
            after="report",
            reads=True,
            other_names=("serve", "ui"),
        ),
    },
    web_pages=f"{__package__}.under_zrb:pages",
)
