"""Money is an integer count of nano-dollars inside, a decimal string of dollars at the edges."""

from decimal import ROUND_CEILING, Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import NewType

Nanos = NewType("Nanos", int)
"""Nano-dollars: 1 USD = 1_000_000_000."""

NANOS_PER_USD = 1_000_000_000

_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])


def nanos(usd: Decimal | int | str) -> Nanos:
    """Dollars to nano-dollars, rounded up: a fraction of a nano-dollar is never given away.

    Raises ValueError for what is not a finite number. Floats are refused by type: they cannot hold money.
    """
    if isinstance(usd, float):
        raise TypeError("money is never a float: pass a Decimal or a string")
    try:
        amount = _EXACT.multiply(Decimal(usd), NANOS_PER_USD)
    except ArithmeticError:
        raise ValueError(f"{usd} is not an amount of money") from None
    if not amount.is_finite():
        raise ValueError(f"{usd} is not an amount of money")
    return Nanos(int(amount.to_integral_value(rounding=ROUND_CEILING)))


def usd(amount: int) -> str:
    """Nano-dollars as a decimal string of dollars without trailing zeros: 12_300_000 -> "0.0123"."""
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(amount), NANOS_PER_USD)
    digits = f"{fraction:09d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"
