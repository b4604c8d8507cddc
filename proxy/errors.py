"""What can go wrong with a call or a start, and what we say of it. Rendered once, at the edge, by the dialect."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pricing.money import usd
from rules.decide import Refusal


class StartupError(Exception):
    """The server cannot start: the cause, and what to do about it. The command line exits 2 with both."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}\n  {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy


@dataclass(eq=False)
class ProxyError(Exception):
    """A call that we answer ourselves. `extra` goes into the error body beside message, type and code."""

    status: int
    code: str
    message: str
    kind: str = "invalid_request_error"  # the OpenAI `type`
    param: str | None = None
    retry_after_seconds: int | None = None
    extra: Mapping[str, str | None] = field(default_factory=dict)
    close: bool = False  # the connection is not fit for another request

    @property
    def should_retry(self) -> bool:
        """SDKs retry 408, 409, 429 and 5xx on their own; what waiting cannot mend must say so."""
        return self.status in (429, 503) and self.retry_after_seconds is not None

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"


class BadCall(ProxyError):
    """The caller's fault: 400, 401, 403, 404, 405, 413, 415, 426."""


class Refused(ProxyError):
    """Our policy said no: 402, 403 or 429, with the figures that explain it."""


class UpstreamFailed(ProxyError):
    """The provider's fault, or the network's: 502 or 504."""


class Unavailable(ProxyError):
    """Ours: the journal or the store is down and a hard budget must not go unguarded. 503."""


def bad_key() -> BadCall:
    """One answer for every bad key: the true reason goes to the log only."""
    return BadCall(
        401,
        "invalid_api_key",
        "Incorrect API key provided. Use a key issued by this Spendgate (spendgate keys create --team ...).",
        kind="invalid_request_error",
    )


def refused(refusal: Refusal, *, status: int) -> Refused:
    """The refusal of a budget or a cost rule, with scope, limit, spent, held, estimate and reset."""
    return Refused(
        status,
        refusal.code,
        refusal.sentence,
        kind="permission_error" if status == 403 else "insufficient_quota",
        extra=_figures(refusal),
        retry_after_seconds=None
        if refusal.retry_after_seconds is None
        else max(1, round(refusal.retry_after_seconds)),
    )


def busy(refusal: Refusal, *, waited_seconds: float) -> Refused:
    """Only other open holds were in the way for the whole wait: worth another try soon."""
    return Refused(
        429,
        "budget_busy",
        f"{refusal.sentence} Other calls hold the rest of this budget; waited {waited_seconds:.1f} s for them.",
        kind="rate_limit_error",
        retry_after_seconds=1,
        extra=_figures(refusal),
    )


def _figures(refusal: Refusal) -> dict[str, str | None]:
    def money(amount: int | None) -> str | None:
        return None if amount is None else usd(amount)

    return {
        "rule_id": refusal.rule_id,
        "scope": str(refusal.scope),
        "limit_usd": money(refusal.limit),
        "spent_usd": money(refusal.spent),
        "held_usd": money(refusal.held),
        "estimate_usd": money(refusal.estimate),
        "resets_at": None if refusal.resets_at is None else refusal.resets_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
