"""One call while it goes on: what is known of it so far, filled step by step by the gateway."""

from dataclasses import dataclass, field

from pricing.charge import Outcome
from pricing.estimate import FREE, Estimate
from pricing.price import Price
from proxy.auth import Key
from proxy.callrow import CallRow
from proxy.dialects import Dialect, Metered, Reading, Surface
from proxy.routing import Route
from rules.alert import Alert
from rules.call import Call
from rules.counter import Hold, Limit
from rules.policy import Policy


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
    hold: Hold | None = None
    journaled: bool = False
    alerts: list[Alert] = field(default_factory=list)
    sent_at: float | None = None
    first_byte_at: float | None = None
    ended: bool = False
    handed_over: bool = False  # to a drain job, which ends it

    @property
    def billable(self) -> bool:
        return self.price is not None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended: `status` is what the client was answered, 499 when it had left before an answer."""

    outcome: Outcome
    status: int
    error_type: str = ""
    metered: Metered | None = None
    response_bytes: int = 0
    at: float = 0.0  # monotonic seconds
