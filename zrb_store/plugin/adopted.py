"""CtxXcomContent that a program made in memory and then put into `ctx.xcom`: they become durable."""

from __future__ import annotations

from collections import deque
from typing import Any

from zrb_store.plugin.compat import Xcom
from zrb_store.plugin.queue import ZrbXcom


class AdoptedXcom(Xcom):
    """A queue that was made in memory and is stored now. A program that holds the object may go on using it."""

    __class__ = property(lambda self: Xcom)

    durable: ZrbXcom


def become_durable(stock: Xcom, durable: ZrbXcom) -> None:
    """Let a queue in memory forward every operation to a durable one from now on."""
    deque.clear(stock)
    stock.__class__ = AdoptedXcom
    stock.durable = durable  # type: ignore[attr-defined]  # it is an AdoptedXcom now


def _forwarding(name: str) -> Any:
    def forward(self: AdoptedXcom, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.durable, name)(*args, **kwargs)

    return forward


def _forward_all() -> None:
    own = {*vars(AdoptedXcom), "__init__"}
    for cls in ZrbXcom.__mro__[:-1]:
        for name, value in vars(cls).items():
            special = name.startswith("__")
            if callable(value) and name not in own and (special or not name.startswith("_")):
                setattr(AdoptedXcom, name, _forwarding(name))


_forward_all()
