"""What this wing adds: transactions of the user's database that are made once, and a command."""

from __future__ import annotations

from zrb_store.wings import Kind, Wing

WING = Wing(
    db_commands=(f"{__package__}.commands:own_tables",),
    step_transaction=f"{__package__}.steps:transaction",
    kinds={"transaction": Kind(fact=f"{__package__}.queries:fact")},
    delivery_transaction=f"{__package__}.deliveries:DeliveryTransaction",
    push_with=f"{__package__}.pushes:push",
)
