"""The store cannot be reached, or does not answer, while what an attempt prints is stored: each line is stored once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.output.pieces import lines_of, stored_pieces
from zrb_store import Store, StoreUnavailable


@pytest.mark.promise(number=12)
def test_lines_wait_for_a_store_that_cannot_be_reached(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:
        output = attempt.output
        assert output is not None
        with monkeypatch.context() as broken:

            def refuse(work: object, **options: object) -> None:
                raise StoreUnavailable("the store cannot be reached")

            broken.setattr(store.database, "transact", refuse)
            for text in ("one", "two"):
                attempt.log(text)
                output.store()
        assert stored_pieces(store) == 0
        attempt.log("three")
    assert lines_of(store, "load#1") == ["log: one", "log: two", "log: three"]
    warnings = [each.getMessage() for each in caplog.records if "output of" in each.getMessage()]
    assert warnings == ["the output of s/load#1 could not be stored yet: the store cannot be reached"]


@pytest.mark.parametrize("before", [0, 1])
def test_lines_are_stored_once_if_the_answer_of_their_storing_was_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:
        output = attempt.output
        assert output is not None
        for number in range(before):
            attempt.log(f"before {number}")
            output.store()
        with monkeypatch.context() as broken:
            transact = store.database.transact

            def lose_the_answer(work: Any, *args: Any, **options: Any) -> None:
                transact(work, *args, **options)
                raise StoreUnavailable("the server does not answer")

            broken.setattr(store.database, "transact", lose_the_answer)
            attempt.log("one")
            output.store()
        assert stored_pieces(store) == before + 1
        attempt.log("two")
        output.store()
        attempt.log("three")
    said = [f"log: before {number}" for number in range(before)]
    assert lines_of(store, "load#1") == [*said, "log: one", "log: two", "log: three"]
