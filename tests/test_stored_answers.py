"""What is stored of a model's answer if its provider sends what our codecs do not know."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_ai.messages import ModelResponse, TextPart

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.plugin.agents.prompts import read_response, stored_response


def stored(detail: Any, limit: int = 10_000) -> Any:
    return stored_response(ModelResponse([TextPart("yes")], provider_details={"detail": detail}), limit)


@pytest.mark.parametrize(
    ("detail", "comes_back"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 6, UTC), datetime(2026, 1, 2, 3, 4, 5, 6, UTC)),
        (b"\xff", b"\xff"),
        (ipaddress.ip_address("192.0.2.1"), "192.0.2.1"),  # as pydantic writes it
    ],
)
def test_details_come_back(detail: Any, comes_back: Any) -> None:
    answer = read_response(codec.decode(stored(detail).data))
    assert answer.provider_details == {"detail": comes_back}
    assert answer.text == "yes"


@pytest.mark.parametrize("detail", [object(), "x" * 20_000])
def test_what_cannot_be_stored_is_left_to_the_step(detail: Any) -> None:
    """The step warns, and hands the answer on."""
    left = stored(detail)
    assert not isinstance(left, Encoded)
    assert left["response"]["provider_details"] == {"detail": detail}
