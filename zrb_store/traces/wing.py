"""What this wing adds: spans of OpenTelemetry, and the setting that switches them off."""

from __future__ import annotations

from zrb_store.wings import Setting, Wing

WING = Wing(
    settings=(
        Setting(
            "ZRB_STORE_TRACES",
            "`on`: [export traces](../how-to/traces.md) if OpenTelemetry is configured · `off` · `values`: with the "
            "arguments and results of steps and the values of queues, masked",
            "on",
            after="ZRB_STORE_OUTPUT_LIMIT",
            choices=("on", "off", "values"),
        ),
    ),
    observer=f"{__package__}.choice",
)
