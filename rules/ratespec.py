"""How fast a team or a key may call: what people write, and the rates and the limit that it makes."""

from typing import Annotated, Self

from pydantic import BeforeValidator, model_validator

from pricing.money import Nanos
from rules.counter import Limit, in_flight
from rules.editors import whole
from rules.measure import Measure
from rules.rate import BucketKey, Rate
from rules.scope import Scope
from rules.spec import Section

REQUESTS_MAX = 10_000_000
TOKENS_MAX = 100_000_000_000
CONCURRENT_MAX = 1_000_000


def _count(most: int) -> BeforeValidator:
    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is not a whole number: write one such as 600")
        if not 1 <= value <= most:
            raise ValueError(f"{value} must be at least 1 and at most {most}; leave it out for no limit")
        return value

    return BeforeValidator(check)


class RateSpec(Section):
    """`burst` is how many requests may come at once: a whole minute's, unless it says otherwise."""

    requests_per_minute: Annotated[int, _count(REQUESTS_MAX), whole(1, REQUESTS_MAX)] | None = None
    tokens_per_minute: Annotated[int, _count(TOKENS_MAX), whole(1, TOKENS_MAX)] | None = None
    burst: Annotated[int, _count(REQUESTS_MAX), whole(1, REQUESTS_MAX)] | None = None
    max_concurrent: Annotated[int, _count(CONCURRENT_MAX), whole(1, CONCURRENT_MAX)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.burst is not None and self.requests_per_minute is None:
            raise ValueError("burst is of requests: give requests_per_minute too, or remove it")
        if not any((self.requests_per_minute, self.tokens_per_minute, self.max_concurrent)):
            raise ValueError("limits nothing: give requests_per_minute, tokens_per_minute or max_concurrent")
        return self

    def rates(self, scope: Scope, owner: str) -> tuple[Rate, ...]:
        """The bucket rates of one scope. An edit of the numbers keeps what the buckets hold."""
        asked = (
            (Measure.REQUESTS, self.requests_per_minute, self.burst),
            (Measure.TOKENS, self.tokens_per_minute, None),
        )
        return tuple(
            Rate(BucketKey(scope, measure, 1, owner), burst or per_minute, per_minute, owner)
            for measure, per_minute, burst in asked
            if per_minute is not None
        )

    def concurrency(self, scope: Scope, owner: str) -> Limit | None:
        if self.max_concurrent is None:
            return None
        return Limit(in_flight(scope), Nanos(self.max_concurrent), owner, code="concurrency_limited")
