"""How a refusal of the store ends a command of zrb."""

from __future__ import annotations

import sys

from zrb_store.errors import ZrbStoreError
from zrb_store.plugin.notes import warn


class Refusing:
    """The store's refusal ends the command with one line and its own exit code, on every zrb release.

    Attributes:
        code: The exit code if it did: zrb must not add how to run the command again.
    """

    def __init__(self) -> None:
        self.code: int | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ZrbStoreError):
            self.code = error.exit_code
            warn(str(error))
            sys.stdout.flush()
            raise SystemExit(error.exit_code) from None


refusing = Refusing()
