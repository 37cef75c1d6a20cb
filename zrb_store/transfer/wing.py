"""What this wing adds: three commands."""

from __future__ import annotations

from zrb_store.wings import Command, Wing

_MODULE = f"{__package__}.commands"

WING = Wing(
    commands={
        "export": Command(_MODULE, "Write sessions as JSON Lines.", after="prune", reads=True),
        "import": Command(_MODULE, "Read sessions from JSON Lines.", after="export"),
        "copy": Command(_MODULE, "Copy sessions from one store to another.", after="import"),
    }
)
