"""A step under way: an attempt inside an attempt. It completes with its result, which stays in its row."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from zrb_store import codec
from zrb_store.attempt.under_way import NO_RESULT, AttemptUnderWay
from zrb_store.codec import Encoded
from zrb_store.db.failpoints import failpoint
from zrb_store.errors import UnencodableValue, ValueTooLarge, what_makes_storable
from zrb_store.queries import steps
from zrb_store.safe_text import ErrorText

_OUR_CODE = str(Path(__file__).parent)


class Step(AttemptUnderWay):
    """A step under way.

    Attributes:
        parent: The attempt that it runs in.
        step: Its name, such as `page~2`.
    """

    def __init__(self, parent: AttemptUnderWay, step_id: int, task: str, number: int, step: str) -> None:
        super().__init__(parent.xcom, step_id, task, number, parent.fence)
        self.parent = parent
        self.step = step

    def complete(self, result: Any = NO_RESULT) -> Encoded:
        """Complete the step and store its result, in one transaction.

        A result that cannot be stored is kept as its type and repr; the step runs again in its task's next attempt.

        Args:
            result: By default None; an `Encoded` one as it is.

        Returns:
            The result as it was stored.

        Raises:
            AttemptClosed: The step, or the attempt around it, has ended before, or another process began the step.
            LeaseLost: Another process has taken the session over.
        """
        self._refuse_other_process()
        item = self._encode(None if result is NO_RESULT else result)
        stands = False
        failpoint("step_complete:before")
        try:
            with self._xcoms.watched():
                restorable = item.restorable and self.restorable
                stands = steps.complete(self.database, self.id, item.data, restorable=restorable)
                if not stands:
                    self._refuse(self.database)
        finally:
            self._xcoms.step_ended(self, self.parent, stands=stands)
        failpoint("step_complete:after")
        self._open = False
        if not self.restorable:
            self.parent.restorable = False  # its value is in a queue, whichever of the two pushed it
        return item

    def _encode(self, result: Any) -> Encoded:
        limit = self._xcoms.max_value
        if isinstance(result, Encoded):
            return result
        try:
            return codec.encode(result, limit=limit)
        except (UnencodableValue, ValueTooLarge) as error:
            # The advice in parentheses is for code that pushes to a store by itself.
            self._xcoms.warn(
                f"step {self.step} of task {self.parent.task}: {str(error).partition(' (')[0]}; its result is handed "
                "on, but the step runs again in the task's next attempt "
                f"({what_makes_storable(error)} makes it storable)"
            )
        return codec.encode(result, lenient=True, limit=limit)._replace(restorable=False)

    def fail(
        self,
        error: BaseException | ErrorText | None = None,
        status: str = "failed",
        *,
        first_frame: TracebackType | None = None,
    ) -> None:
        """End the step without completing it, and give it back, in one transaction; as `Attempt.fail`."""
        if isinstance(error, BaseException):
            first_frame = first_frame or _below_our_code(error.__traceback__)
        try:
            with self._xcoms.watched():
                super().fail(error, status, first_frame=first_frame)
        finally:
            self._xcoms.step_ended(self, self.parent, stands=False)


def _below_our_code(frame: TracebackType | None) -> TracebackType | None:
    """Return the first frame of the step's own function; None if the traceback has none."""
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(_OUR_CODE):
        frame = frame.tb_next
    return frame
