"""One call while it goes on: what is known of it so far, filled step by step by the gateway."""

from dataclasses import dataclass, field, replace

from pricing.charge import Outcome
from pricing.estimate import FREE, Estimate
from pricing.price import Price
from proxy.auth import Key
from proxy.breakers import Trial
from proxy.callrow import CallRow
from proxy.dialects import Dialect, Metered, Reading, Surface
from proxy.passage import Passage
from proxy.routing import Route
from rules.alert import Alert
from rules.call import Call
from rules.counter import Hold, Limit
from rules.policy import Policy, has_hard_limit


@dataclass(slots=True)
class OpenCall:
    """Owned by one handler (or, once the client has left, by one drain job): never shared."""

    row: CallRow
    started: float  # monotonic seconds
    route: Route
    key: Key
    policy: Policy  # the one in force when the call came: it keeps its version to the end
    dialect: Dialect
    surface: Surface
    call: Call
    reading: Reading | None = None
    body: bytes = b""
    coded: bool = False  # the body is compressed: it can be read, but nothing can be spliced into it
    price: Price | None = None  # None: costs nothing (test keys, free paths)
    unpriced: bool = False  # the price is a stand-in for an unknown model's
    estimate: Estimate = FREE
    limits: tuple[Limit, ...] = ()
    models: tuple[str, ...] = ()  # of a batch: every one that its requests ask for
    hold: Hold | None = None
    journaled: bool = False
    asked_model: str = ""  # where a rule had another one asked for
    edited_by: list[str] = field(default_factory=list)  # the rules that made it cheaper
    likeness: bytes | None = None  # the same for calls that are alike; only where a rule looks for those
    acts: set[tuple[str, str]] = field(default_factory=set)  # owner and verdict: see proxy.acting
    trials: list[Trial] = field(default_factory=list)  # the half-open breakers that it passed
    alerts: list[Alert] = field(default_factory=list)
    passage: Passage | None = None  # to the provider: from its admission on
    sent_at: float | None = None
    first_byte_at: float | None = None
    ended: bool = False
    handed_over: bool = False  # to a drain job, which ends it

    @property
    def billable(self) -> bool:
        return self.price is not None

    @property
    def goes_on(self) -> bool:
        """May the provider be at work after its answer?"""
        reading = self.reading
        return reading is not None and (reading.background or reading.batch is not None)

    @property
    def held(self) -> Estimate:
        """What is held. Work that goes on stands at its ceiling under a hard budget, on every counter, until its end."""
        if not (self.goes_on and has_hard_limit(self.limits)):
            return self.estimate
        return replace(self.estimate, expected=self.estimate.ceiling)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended: `status` is what the client was answered, 499 when it had left before an answer."""

    outcome: Outcome
    status: int
    error_type: str = ""
    metered: Metered | None = None
    response_bytes: int = 0
    at: float = 0.0  # monotonic seconds
