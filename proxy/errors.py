"""What can go wrong with a call or a start, and what we say of it. Rendered once, at the edge, by the dialect."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pricing.money import usd
from proxy.ratelimit import OPENAI, rate_headers
from rules.decide import Refusal
from rules.rate import Standing
from rules.scope import Scope
from rules.sentence import subject

RETRY_HEADER_SECONDS_MAX = 60


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
    headers: tuple[tuple[str, str], ...] = ()

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
    """The refusal of a budget or a rule, with scope, limit, spent, held, estimate and reset. A long wait stands in the
    body alone: one client sleeps on whatever the header says."""
    wait = None if refusal.retry_after_seconds is None else max(1, math.ceil(refusal.retry_after_seconds))
    return Refused(
        status,
        refusal.code,
        refusal.sentence,
        kind=_kind(refusal, status),
        extra={**_figures(refusal), "retry_after": None if wait is None else str(wait)},
        retry_after_seconds=None if wait is None or wait > RETRY_HEADER_SECONDS_MAX else wait,
    )


def _kind(refusal: Refusal, status: int) -> str:
    if status == 403:
        return "permission_error"
    return "rate_limit_error" if refusal.counts else "insufficient_quota"


def paced(refusal: Refusal, standings: Sequence[Standing], *, status: int = 429) -> Refused:
    """A call that a rate lets go later, with how each rate over it stands in the headers that SDKs know."""
    error = refused(refusal, status=status)
    error.headers = tuple(rate_headers(OPENAI, standings))
    return error


def busy(refusal: Refusal, *, waited_seconds: float) -> Refused:
    """Only other open holds were in the way for the whole wait: worth another try soon."""
    counts_calls = refusal.code == "concurrency_limited"
    whom = "Waited" if counts_calls else "Other calls hold the rest of this budget; waited"
    return Refused(
        429,
        refusal.code if counts_calls else "budget_busy",
        f"{refusal.sentence} {whom} {waited_seconds:.1f} s for {'one' if counts_calls else 'them'}.",
        kind="rate_limit_error",
        retry_after_seconds=1,
        extra=_figures(refusal),
    )


def throttled(rule_id: str, scope: Scope, *, interval_seconds: float, retry_after_seconds: float) -> Refused:
    """A throttle rule slows the scope, and this call's turn would have come too late: worth another try."""
    wait = max(1, math.ceil(retry_after_seconds))
    pace = f"{interval_seconds:.3g}"
    return Refused(
        429,
        "throttled",
        f'{subject(scope)} is slowed by rule "{rule_id}" to one call every {pace} s, and more are in line than '
        f"may wait. Try again in {wait} s, send fewer calls at once, or ask an admin to reset the rule.",
        kind="rate_limit_error",
        retry_after_seconds=wait,
        extra={"rule_id": rule_id, "scope": str(scope), "interval_seconds": pace},
        headers=(
            ("x-ratelimit-limit-requests", str(max(1, int(60 / max(interval_seconds, 0.001))))),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", f"{wait}s"),
        ),
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
        **{name: str(count) for name, count in refusal.counts},
    }
