"""The names of the steps of one attempt."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Self

from zrb_store.attempt.step_under_way import Step
from zrb_store.attempt.under_way import AttemptUnderWay
from zrb_store.errors import ZrbStoreError
from zrb_store.xcom import current_attempt


class Claim:
    """A claim to a name, which is held within its block.

    Attributes:
        base: The name.
        name: The name of this occurrence of it.
        count: Which occurrence that is.
        again: Whether it is one that failed in this attempt.
        arguments: The encoded arguments.
    """

    __slots__ = ("_names", "again", "arguments", "base", "count", "name")

    def __init__(self, names: StepNames, base: str, count: int, again: bool, arguments: str) -> None:
        self._names = names
        self.base = base
        self.name = base if count == 1 else f"{base}~{count}"
        self.count = count
        self.again = again
        self.arguments = arguments

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._names.release(self, raised=error is not None)


class StepNames:
    """The names of the steps of one attempt: which are open in this process, and how often each was started.

    Attributes:
        in_doubt: Whether a step may have begun that nobody here knows.
    """

    def __init__(self, attempt: AttemptUnderWay) -> None:
        self.in_doubt = False
        self._attempt = attempt
        self._reset()
        self._started: dict[str, int] = {}
        # The arguments of those that failed, by name and count: a call with these is the next attempt of that step.
        self._failed: dict[str, dict[int, str]] = {}

    def _reset(self) -> None:
        """Begin as in a new process: a forked child has none of its parent's other threads."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._open: dict[str, Step | None] = {}

    def _reset_if_forked(self) -> None:
        if self._pid != os.getpid():
            self._reset()
            self.in_doubt = True  # what the other process does is not known here

    def owner_of_change(self) -> AttemptUnderWay:
        """Return what owns a change that is made now: the step that the code runs in, or the attempt.

        A thread without a context belongs to the only open step.

        Raises:
            ZrbStoreError: Several steps are open, and nothing says to which one this thread belongs.
        """
        attempt, current = self._attempt, current_attempt.get()
        if current is attempt:
            return attempt
        if isinstance(current, Step) and current.parent is attempt:
            return current
        self._reset_if_forked()
        with self._lock:
            found = [step for step in self._open.values() if step is not None]
        if len(found) > 1:
            names = ", ".join(step.step for step in found)
            raise ZrbStoreError(
                f"several steps of {attempt.full_name} are open ({names}), and this thread belongs to none of them: "
                "start it with asyncio.to_thread, or run its function in contextvars.copy_context()"
            )
        return found[0] if found else attempt

    def claim(self, name: str, arguments: str) -> Claim:
        """Claim a name, so that two of one name do not run at once."""
        self._reset_if_forked()
        with self._lock:
            self._refuse_open(name)
            count, again = self._count(name, arguments)
            self._open[name] = None
        return Claim(self, name, count, again, arguments)

    def release(self, claim: Claim, *, raised: bool) -> None:
        """Give up a claim, whose block has ended or raised."""
        name = claim.base
        with self._lock:
            is_begun = self._open.pop(name, None) is not None
            if not raised:
                return
            if claim.again or is_begun:
                self._failed[name][claim.count] = claim.arguments
            else:
                self._started[name] -= 1  # it was refused, so that it did not start
                self.in_doubt = True  # unless the connection was lost, so that nobody knows

    @contextlib.contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Keep steps of this exact name from running at once."""
        self._reset_if_forked()
        with self._lock:
            self._refuse_open(name)
            self._open[name] = None
        try:
            yield
        finally:
            with self._lock:
                self._open.pop(name, None)

    def open(self, name: str, step: Step) -> None:
        """Note the step that runs under a name which is claimed or held."""
        with self._lock:
            self._open[name] = step

    def _refuse_open(self, name: str) -> None:
        if name in self._open:
            raise ZrbStoreError(
                f"step {name} of {self._attempt.full_name} is under way: "
                "steps that run at the same time need names of their own"
            )

    def _count(self, name: str, arguments: str) -> tuple[int, bool]:
        """Return which step of a name a call starts: the first, the second, and so on; and whether it failed before."""
        failed = self._failed.setdefault(name, {})
        for count, others in failed.items():
            if others == arguments:
                del failed[count]
                return count, True
        self._started[name] = self._started.get(name, 0) + 1
        return self._started[name], False
