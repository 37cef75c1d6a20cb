"""The end of a command of zrb when the store refuses it."""

from __future__ import annotations

import sys

from zrb_store.errors import ZrbStoreError
from zrb_store.plugin.messages import warn


class ErrorExit:
    """A context manager that ends the command with one line and the exit code of the store's error.

    It works on every zrb release.

    Attributes:
        code: That exit code, or None. If there is one, zrb must not add how to run the command again.
    """

    def __init__(self) -> None:
        self.code: int | None = None

    def __enter__(self) -> None:
        self.code = None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ZrbStoreError):
            self.code = error.exit_code
            warn(str(error))
            sys.stdout.flush()
            raise SystemExit(error.exit_code) from None
