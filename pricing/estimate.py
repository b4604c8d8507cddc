"""What a call will likely cost, and what it can cost at most, before it goes."""

from dataclasses import dataclass

from pricing.money import Nanos


@dataclass(frozen=True, slots=True)
class Estimate:
    """Money and tokens of one call before it goes. `confidence` runs from 0 to 1; `basis` says in a few
    words where the figures come from, and stands on the call's row."""

    expected: Nanos
    ceiling: Nanos
    confidence: float
    basis: str
    input_tokens: int  # counted or bounded
    input_tokens_max: int
    output_tokens: int  # expected, all choices together
    output_tokens_max: int  # all choices together

    def __post_init__(self) -> None:
        assert 0 <= self.expected <= self.ceiling, f"expected {self.expected} above ceiling {self.ceiling}"


FREE = Estimate(Nanos(0), Nanos(0), 1.0, "free", 0, 0, 0, 0)
