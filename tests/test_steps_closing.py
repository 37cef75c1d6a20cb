"""An attempt that ends closes its steps, whenever and wherever they began."""

from __future__ import annotations

import threading

import pytest

from tests.test_steps import Boom, failing, recorded
from zrb_store import Attempt, AttemptClosed, Store

pytestmark = pytest.mark.usefixtures("sound")


@pytest.mark.parametrize("ending", ["complete", "fail"])
def test_a_step_that_runs_for_the_second_time_is_closed(store: Store, ending: str) -> None:
    """It is known from the attempt before, so that it needs no new number."""
    session = store.session("night")
    session.xcom["in"].push("a")
    began, ended = threading.Event(), threading.Event()
    refused: list[BaseException] = []

    def slow(attempt: Attempt) -> None:
        attempt.xcom["in"].pop()
        began.set()
        assert ended.wait(60)
        attempt.xcom["out"].push("late")

    def work(attempt: Attempt) -> None:
        try:
            attempt.step("slow", slow, attempt)
        except AttemptClosed as error:
            refused.append(error)

    with session.run() as run:
        with pytest.raises(Boom), run.attempt("convert") as attempt:
            attempt.step("slow", failing)
        attempt = run.attempt("convert")
        thread = threading.Thread(target=work, args=[attempt])
        thread.start()
        assert began.wait(60)
        try:
            getattr(attempt, ending)()
            assert recorded(store, "convert/1", 2).status == "interrupted"
            assert list(session.xcom["in"]) == ["a"]
        finally:
            ended.set()
            thread.join()
        assert (len(refused), list(session.xcom["out"])) == (1, [])
