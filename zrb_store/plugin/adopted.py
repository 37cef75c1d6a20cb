"""A queue that a program made in memory, and what becomes of it once it is in `ctx.xcom`."""

from __future__ import annotations

from collections import deque
from typing import Any

from zrb_store.plugin.compat import Xcom
from zrb_store.plugin.xcoms import ZrbXcom


class Adopted(Xcom):
    """A queue made in memory that is stored now: whoever holds the object goes on using it, as in stock zrb."""

    __class__ = property(lambda self: Xcom)

    durable: ZrbXcom


def become_durable(stock: Xcom, durable: ZrbXcom) -> None:
    """Let a queue that was made in memory be the durable one from now on."""
    deque.clear(stock)
    stock.__class__ = Adopted
    stock.durable = durable  # type: ignore[attr-defined]  # it is an Adopted now


def _forwarding(name: str) -> Any:
    def forward(self: Adopted, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.durable, name)(*args, **kwargs)

    return forward


def _forward_all() -> None:
    own = {*vars(Adopted), "__init__"}
    for cls in ZrbXcom.__mro__[:-1]:
        for name, value in vars(cls).items():
            special = name.startswith("__")
            if callable(value) and name not in own and (special or not name.startswith("_")):
                setattr(Adopted, name, _forwarding(name))


_forward_all()
