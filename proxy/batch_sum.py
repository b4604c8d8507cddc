"""The requests of a batch, read one by one, and what they come to together."""

from dataclasses import dataclass, field

from pricing.estimate import Estimate
from pricing.money import Nanos
from pricing.price import Price
from pricing.tokens import TokenCount
from proxy.dialects import Reading, Surface
from rules.call import Call


@dataclass(frozen=True, slots=True)
class Request:
    """One line, read."""

    surface: Surface
    reading: Reading
    count: TokenCount
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Unread:
    """A line that could not be read, and why."""

    problem: str
    param: str | None
    size_bytes: int


@dataclass(slots=True)
class Sum:
    """Everything in one batch so far."""

    expected: int = 0
    ceiling: int = 0
    confidence: float = 1.0
    input_tokens: int = 0
    input_tokens_max: int = 0
    output_tokens: int = 0
    output_tokens_max: int = 0
    requests: int = 0
    read_bytes: int = 0
    left_bytes: int = 0  # that were not read, and are known to be there
    missed: int = 0  # lines that were not read
    problem: str = ""  # why not all of it was read: the first reason
    param: str | None = None
    basis: str = ""
    prices: dict[tuple[str, str], Price | None] = field(
        default_factory=dict
    )  # by model and tier; None: goes unmetered
    calls: dict[str, Call] = field(default_factory=dict)  # by model
    users: set[str] = field(default_factory=set)  # two of them stand for many
    unpriced: bool = False
    without_batch_price: bool = False

    def add(self, size_bytes: int, made: Estimate | None) -> None:
        self.requests += 1
        self.read_bytes += size_bytes
        if made is None:
            return
        self.expected += made.expected
        self.ceiling += made.ceiling
        self.input_tokens += made.input_tokens
        self.input_tokens_max += made.input_tokens_max
        self.output_tokens += made.output_tokens
        self.output_tokens_max += made.output_tokens_max
        self.confidence = min(self.confidence, made.confidence)
        self.basis = self.basis or made.basis

    def miss(self, problem: str, *, left_bytes: int = 0, param: str | None = None) -> None:
        self.left_bytes += left_bytes
        self.param = self.param if self.problem else param
        self.problem = self.problem or problem

    def estimate(self) -> Estimate:
        """What was not read counts in proportion to what was."""

        def whole(figure: int) -> int:
            return figure + -(-figure * self.left_bytes // max(1, self.read_bytes))

        return Estimate(
            expected=Nanos(whole(self.expected)),
            ceiling=Nanos(whole(self.ceiling)),
            confidence=0.1 if self.problem else self.confidence,
            basis=f"{self.requests} requests at batch price; {self.basis}",
            input_tokens=whole(self.input_tokens),
            input_tokens_max=whole(self.input_tokens_max),
            output_tokens=whole(self.output_tokens),
            output_tokens_max=whole(self.output_tokens_max),
        )
