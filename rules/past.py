"""Calls of the past, as the ledger tells them: what a replay looks at, and what it may ask beside them."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from pricing.estimate import Estimate
from pricing.money import Nanos
from rules.scope import ScopeKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PastCall(NamedTuple):
    """One call. `charge` None: nothing was charged, since it never went or gave back what it held. A million of them go
    through a replay, so their fields are plain values."""

    at: int  # of its arrival, in microseconds since 1970
    operation: str
    provider: str
    model: str  # that was asked for
    team: str
    key_id: str
    user: str = ""
    category: str = ""
    as_other: frozenset[ScopeKind] = frozenset()
    expected: int = 0  # nano-dollars
    ceiling: int = 0
    input_tokens: int = 0  # as estimated
    output_tokens: int = 0
    charge: int | None = None
    tokens: int | None = None  # that were charged; None: not known
    output_charged: int = 0  # of them
    in_flight_us: int = 0
    refused: bool = False  # by a rule or a budget, when it came
    goes_on: bool = False  # a batch, or work in the background: held at its ceiling
    fixed: bool = False  # cannot be made cheaper: a batch, pictures, sound
    paid: int = (
        0  # charged at the time: another amount than `charge` where a rule had a cheaper model asked for
    )
    usage: str = ""  # as the ledger keeps it: for prices
    tier: str = ""
    cheaper: str = ""  # the model that a rule had asked for instead: the figures are of that one

    @property
    def cost(self) -> int:
        """What it comes to if it goes as it was asked for."""
        return self.expected if self.refused else self.charge or 0

    @property
    def stake(self) -> int:
        """What refusing it keeps from being spent: as charged, or as estimated where it never went."""
        return self.expected if self.refused else self.paid

    def estimate(self) -> Estimate:
        return Estimate(
            Nanos(self.expected),
            Nanos(self.ceiling),
            1.0,
            "",
            self.input_tokens,
            self.input_tokens,
            self.output_tokens,
            self.output_tokens,
        )


class Costs(Protocol):
    """What past calls would have cost, by a price book."""

    def cost(self, call: PastCall, model: str, output_tokens: int | None) -> int | None:
        """With a model of the same provider, for what the call used (or was estimated to, where it never went), and no more
        than so many tokens of output. None: no price is known."""

    def affordable(self, call: PastCall, model: str, nanos: int) -> int | None:
        """The most output tokens that fit. None: no price is known."""


class NoPrices:
    """Nothing is known of any price."""

    def cost(self, call: PastCall, model: str, output_tokens: int | None) -> int | None:
        return None

    def affordable(self, call: PastCall, model: str, nanos: int) -> int | None:
        return None


def instant(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)
