"""Amounts of money: dollars as exact decimals, stored as text, since a sum of floats would drift."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

_DIGITS = 3  # that an amount below a dollar has


def stored_amount(stored: object) -> Decimal | None:
    """Return a stored amount; None if there is none."""
    try:
        found = Decimal(stored) if isinstance(stored, str) else None
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() else None


def dollars(amount: Decimal) -> str:
    """Return an amount as people read it: `$12.35`, or `$0.000450`."""
    decimals = 2 if not amount or amount >= 1 else _DIGITS - 1 - amount.adjusted()
    return f"${amount:,.{decimals}f}"


def plain_amount(amount: Decimal) -> str:
    """Return an amount as programs read it, in full: `12.3456`."""
    return f"{amount:f}"
