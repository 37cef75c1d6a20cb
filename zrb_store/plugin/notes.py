"""What the plugin says to the user, one line on stderr each, and what it keeps of an error for them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType


def warn(message: str) -> None:
    """Say one line, secrets masked."""
    from zrb_store.masking import mask_text  # only now: this module is imported with every zrb

    print(f"zrb-store: {' '.join(mask_text(message).split())}", file=sys.stderr, flush=True)


def users_frames(error: BaseException) -> TracebackType | None:
    """Where the user's own code begins in a traceback: the frames above it, zrb's and ours, are always the same.

    Returns:
        Its first frame; None if the error is not of the user's code.
    """
    import zrb

    engines = (str(Path(zrb.__file__).parent), str(Path(__file__).parent))
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(engines):
        frames = frames.tb_next
    return frames
