"""How a queue changes when values seem to move. A value never moves: it is removed and continues under a new seq."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from zrb_store.codec import Encoded
from zrb_store.queries.values import LiveValue, NewValue

# zrb's own advice (zrb.xcom.xcom).
EMPTY = (
    "Xcom is empty: peek()/pop() need a prior push() or the task's own return value. "
    "Check the upstream task actually ran and produced a value before reading it here."
)

Live = Sequence[LiveValue]


class Edit(NamedTuple):
    """What one operation does to a queue.

    Attributes:
        removed: The seqs that leave it.
        left: New values before all others, in order.
        right: New values after all others, likewise.
    """

    removed: Sequence[int]
    left: Sequence[NewValue]
    right: Sequence[NewValue]


Editor = Callable[[Live], Edit]

NOTHING = Edit((), (), ())


def _moved(live: Live) -> list[NewValue]:
    return [value.moved() for value in live]


def _seqs(live: Live) -> list[int]:
    return [value.seq for value in live]


def _place(index: int, length: int) -> int:
    place = index + length if index < 0 else index
    if not 0 <= place < length:
        raise IndexError("deque index out of range")
    return place


def edit_delete(index: int) -> Editor:
    """Return the editor for `del queue[index]`."""
    return lambda live: Edit([live[_place(index, len(live))].seq], (), ())


def edit_insert(index: int, item: Encoded) -> Editor:
    """Return the editor for `queue.insert(index, item)`: the shorter side gets new seqs."""

    def editor(live: Live) -> Edit:
        place = max(index + len(live), 0) if index < 0 else min(index, len(live))
        return _between(live[:place], [], item, live[place:])

    return editor


def edit_set_item(index: int, item: Encoded) -> Editor:
    """Return the editor for `queue[index] = item`."""

    def editor(live: Live) -> Edit:
        place = _place(index, len(live))
        return _between(live[:place], [live[place].seq], item, live[place + 1 :])

    return editor


def _between(before: Live, dropped: list[int], item: Encoded, after: Live) -> Edit:
    if len(after) <= len(before):
        return Edit(dropped + _seqs(after), (), [NewValue(item), *_moved(after)])
    return Edit(dropped + _seqs(before), [*_moved(before), NewValue(item)], ())


def edit_rotate(n: int) -> Editor:
    """Return the editor for `queue.rotate(n)`: the shorter part continues at the other end."""

    def editor(live: Live) -> Edit:
        right = n % len(live) if live else 0
        if right == 0:
            return NOTHING
        left = len(live) - right
        if right <= left:
            return Edit(_seqs(live[left:]), _moved(live[left:]), ())
        return Edit(_seqs(live[:left]), (), _moved(live[:left]))

    return editor


def edit_reverse(live: Live) -> Edit:
    """Reverse the queue, as `queue.reverse()`."""
    if len(live) < 2:
        return NOTHING
    return Edit(_seqs(live), (), _moved(live[::-1]))
