"""Durable sessions and XComs for zrb: `ZRB_INIT_MODULES=zrb_store.plugin`, or import it before your tasks."""

from __future__ import annotations

from zrb_store.plugin.messages import warn

_installed = bool(globals().get("_installed"))  # importlib.reload keeps what the module had


def install() -> None:
    """Hook the running zrb, once. A zrb that cannot be hooked runs as if this package were not installed."""
    global _installed
    if _installed:
        return
    _installed = True
    try:
        from zrb_store.plugin import hooks  # late: not every zrb has what it imports

        problems = hooks.problems()
        if not problems:
            hooks.install()
    except Exception as error:  # noqa: BLE001 - whatever a later release has changed: the user's tasks run
        problems = [f"{type(error).__name__}: {error}"]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        warn(f"this release of zrb is not supported ({'; '.join(problems[:3])}{more}): nothing is stored")


install()
