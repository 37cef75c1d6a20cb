"""What this wing adds: a command, and where a replay takes completed steps from."""

from __future__ import annotations

from zrb_store.wings import Command, Wing

WING = Wing(
    commands={
        "replay": Command(
            f"{__package__}.commands",
            "Run one attempt again, alone, in a scratch store as it was before it began.",
            after="resume",
            under_zrb=f"{__package__}.tasks:Replayer",
        )
    },
    recorded_step=f"{__package__}.scratch:step_of_record",
)
