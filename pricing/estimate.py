"""What a call will likely cost, and what it can cost at most, before it goes."""

from dataclasses import dataclass, replace

from pricing.money import Nanos
from pricing.price import MILLION, Price, Rates
from pricing.tokens import TokenCount
from pricing.usage import Usage

NOTHING = Usage()


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
    beside: Usage = NOTHING  # what is likely consumed that is no text: the tokens above hold its tokens

    def __post_init__(self) -> None:
        assert 0 <= self.expected <= self.ceiling, f"expected {self.expected} above ceiling {self.ceiling}"


FREE = Estimate(Nanos(0), Nanos(0), 1.0, "free", 0, 0, 0, 0)


OUTPUT_EXPECTED_DEFAULT = 512  # tokens of one answer, until the team's own calls have taught better
OUTPUT_MAX_UNKNOWN = 32_768  # where neither the call nor the catalogue bounds the output
CONTEXT_UNKNOWN = 1_000_000


@dataclass(frozen=True, slots=True)
class Ask:
    """What a call asks to be written. `output_expected` is what such calls usually put out, for one choice."""

    choices: int = 1
    output_tokens_max: int | None = None
    output_expected: int | None = None
    has_output: bool = True
    service_tier: str = ""
    output_tokens_beside: int = 0  # that may be billed beyond `output_tokens_max`
    likely: Usage = (
        NOTHING  # what the call consumes beside its text: pictures and sound that are sent, characters
    )
    most: Usage = NOTHING
    mixed: bool = False  # pictures or sound are sent: any of the input may be billed at their rates


def usage_of(beside: Usage, *, input_tokens: int, output_tokens: int) -> Usage:
    """A usage of so many tokens in all, of the kinds that `beside` tells."""
    if beside is NOTHING:
        return Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    return replace(
        beside,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        output_audio_tokens=min(beside.output_audio_tokens, output_tokens),
        output_image_tokens=min(beside.output_image_tokens, output_tokens),
    )


def estimate(count: TokenCount, price: Price, ask: Ask, *, hidden: bool = False) -> Estimate:
    """Expected cost and ceiling. The ceiling takes every input token at the dearest input rate that may apply (a cache
    write costs more than plain input), the whole context window where input is hidden, the longest possible
    output, and the long-context rates where the prompt may reach them."""
    output_max = _output_max(price, ask) * ask.choices
    input_max = (_context(price) if hidden else count.tokens_max) + ask.most.input_tokens
    mixed = hidden or ask.mixed or ask.most.input_tokens > 0
    ceiling = max(
        _most(tariff.rates_for(input_max), input_max, output_max, mixed=mixed)
        for tariff in (price.tariff(ask.service_tier), price.standard)  # a call may be served in either
    )
    if ask.most is not NOTHING:
        units = replace(ask.most, input_tokens=0, output_tokens=0)
        ceiling = Nanos(ceiling + price.cost(units, service_tier=ask.service_tier).nanos)
    input_likely = count.tokens + ask.likely.input_tokens
    output_likely = min(output_max, _output_likely(ask) * ask.choices)
    likely = price.cost(
        usage_of(ask.likely, input_tokens=input_likely, output_tokens=output_likely),
        service_tier=ask.service_tier,
    ).nanos
    learned = "learned output" if ask.output_expected is not None else "default output"
    return Estimate(
        expected=Nanos(min(likely, ceiling)),
        ceiling=ceiling,
        confidence=_confidence(count, ask, hidden=hidden),
        basis=f"{count.basis}, {learned}" if ask.has_output else count.basis,
        input_tokens=input_likely,
        input_tokens_max=input_max,
        output_tokens=output_likely,
        output_tokens_max=output_max,
        beside=ask.likely,
    )


def _most(rates: Rates, input_tokens: int, output_tokens: int, *, mixed: bool) -> Nanos:
    input_rate = rates.dearest_input if mixed or _caches(rates) else rates.input
    tokens = input_tokens * input_rate + output_tokens * rates.dearest_output
    return _rounded_up(tokens + rates.request * MILLION)


def _caches(rates: Rates) -> bool:
    """Providers that bill cached tokens above input may do so for any call that asks."""
    every = (rates.cache_read, rates.cache_write, rates.cache_write_1h, rates.cache_write_12h)
    return any(rate is not None and rate > rates.input for rate in every)


def _output_max(price: Price, ask: Ask) -> int:
    if not ask.has_output:
        return 0
    known = price.output_tokens_max or price.context_tokens or OUTPUT_MAX_UNKNOWN
    return (known if ask.output_tokens_max is None else ask.output_tokens_max) + ask.output_tokens_beside


def _output_likely(ask: Ask) -> int:
    if not ask.has_output:
        return 0
    return OUTPUT_EXPECTED_DEFAULT if ask.output_expected is None else ask.output_expected


def _context(price: Price) -> int:
    return price.context_tokens or CONTEXT_UNKNOWN


def _confidence(count: TokenCount, ask: Ask, *, hidden: bool) -> float:
    """How far to trust `expected`: input counted exactly and output learned is as good as it gets."""
    if hidden:
        return 0.1
    known_input = 0.5 if count.exact else 0.3
    known_output = 0.4 if not ask.has_output or ask.output_expected is not None else 0.1
    return known_input + known_output


def _rounded_up(micro: int) -> Nanos:
    return Nanos(-(-micro // MILLION))
