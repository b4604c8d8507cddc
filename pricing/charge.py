"""What a call is charged, for every way it can end."""

from dataclasses import dataclass
from enum import StrEnum

from pricing.money import Nanos
from pricing.usage import Usage


class Basis(StrEnum):
    """Where a charge's figures come from, from the firmest to the weakest."""

    REPORTED = "reported"  # the provider's usage block
    OBSERVED = "observed"  # what passed through us, counted
    ESTIMATED = "estimated"  # the estimate made before the call


class Outcome(StrEnum):
    """How a call ended, as the money rules see it."""

    NOT_SENT = "not_sent"  # never connected, or nothing sent
    PROVIDER_REFUSED = "provider_refused"  # 4xx with an answer
    ANSWERED = "answered"  # 2xx, complete
    BROKEN = "broken"  # 2xx begun, then cut, reset or timed out by the provider
    FAILED = "failed"  # 5xx, timeout or reset after the request was sent, before an answer
    UNPROVEN = "unproven"  # a reused connection died with no byte back
    CLIENT_LEFT = "client_left"  # the client went away and the upstream was cancelled
    LOST = "lost"  # this process died in between


@dataclass(frozen=True, slots=True)
class Charge:
    """One entry of the ledger. `nanos` follows from `usage` at the price named by `price_version`, unless the
    provider's own figure is used. `flags` are few, fixed words; `reason` is one plain sentence, empty when
    the provider reported and nothing is unusual."""

    nanos: Nanos
    basis: Basis
    usage: Usage
    price_version: str
    flags: tuple[str, ...] = ()
    reason: str = ""
