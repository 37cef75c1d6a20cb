"""What the plugin says to the user: one line on stderr each."""

from __future__ import annotations

import sys


def warn(message: str) -> None:
    """Say one line."""
    print(f"zrb-store: {' '.join(message.split())}", file=sys.stderr, flush=True)
