"""What the operating system tells about processes, files and locks: the only room that knows one system from another.

`here()` answers for this system. Linux tells the most, and quickly (`linux.py`). Elsewhere `portable.py` asks psutil,
and what only Linux tells is unknown: the rest of the package does without it.
"""

from __future__ import annotations

import functools
import sys

from zrb_store.system.portable import Portable


@functools.cache
def here() -> Portable:
    """Return what answers questions about this system."""
    if sys.platform == "linux":
        from zrb_store.system.linux import Linux

        return Linux()
    return Portable()
