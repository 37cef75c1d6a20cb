"""What this wing adds: transactions of the user's database that are made once."""

from __future__ import annotations

from zrb_store.wings import Wing

WING = Wing(
    step_transaction=f"{__package__}.steps:transaction",
    facts={"transaction": f"{__package__}.queries:fact"},
)
