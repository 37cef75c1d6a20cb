"""Makes the sessions and XComs of zrb durable: `ZRB_INIT_MODULES=zrb_store.plugin`, or import it before your tasks."""

from __future__ import annotations

from zrb_store.plugin.notes import warn

_installed = False


def install() -> None:
    """Hook the running zrb, once. A zrb that cannot be hooked runs as if this were not there."""
    global _installed
    if _installed:
        return
    _installed = True
    try:
        from zrb_store.plugin import compat

        missing = compat.missing_hooks()
        if missing:
            raise ImportError(f"it has no {', '.join(missing)}")
        from zrb_store.plugin import hooks
    except ImportError as error:
        warn(f"this release of zrb cannot be hooked ({error}): nothing is stored")
        return
    hooks.install()


install()
