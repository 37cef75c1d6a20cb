"""Fork the process of a test. It must have no other threads."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def fork(work: Callable[[], None]) -> int:
    """Call `work` in a child process, and return its pid."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(status)
    return child
