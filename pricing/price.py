"""What a provider asks for a model, and what a usage costs at it: exact integers, rounded up once a call."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pricing.money import Nanos
from pricing.usage import Usage

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars per million units, except where a name says otherwise. None: as the class it is part of;
    a class is never free because nobody wrote its price down."""

    input: int = 0
    output: int = 0
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    cache_write_12h: int | None = None
    input_audio: int | None = None
    input_image: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    web_search: int = 0  # nano-dollars each

    @property
    def dearest_input(self) -> int:
        """What an input token can cost at most: a cache write costs more than plain input."""
        every = (
            self.input,
            self.cache_write,
            self.cache_write_1h,
            self.cache_write_12h,
            self.input_audio,
            self.input_image,
        )
        return max(rate for rate in every if rate is not None)

    @property
    def dearest_output(self) -> int:
        return max(rate for rate in (self.output, self.output_audio, self.output_image) if rate is not None)


@dataclass(frozen=True, slots=True)
class Tier:
    """Above so many input tokens the whole call is priced at these rates."""

    above_input_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Tariff:
    """One way of being billed: its rates, and the tiers above them in rising order."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()

    def rates_for(self, input_tokens: int) -> Rates:
        found = self.rates
        for tier in self.tiers:
            if input_tokens > tier.above_input_tokens:
                found = tier.rates
        return found


@dataclass(frozen=True, slots=True)
class Part:
    """One line of a cost: so many of a class at a rate (nano-dollars per million, or each for searches)."""

    name: str
    quantity: int
    rate: int


@dataclass(frozen=True, slots=True)
class Cost:
    nanos: Nanos
    parts: tuple[Part, ...]


STANDARD = ("", "auto", "default", "standard", "standard_only")


@dataclass(frozen=True, slots=True)
class Price:
    """One model of one provider from a date on. `variants` are tariffs by service tier: batch, flex, priority, fast."""

    provider: str
    model: str
    version: str
    standard: Tariff
    variants: Mapping[str, Tariff] = field(default_factory=dict)
    context_tokens: int | None = None
    output_tokens_max: int | None = None

    def cost(self, usage: Usage, *, service_tier: str = "") -> Cost:
        """What a usage costs. A tier that is not in the catalogue is billed at the dearer of the standard and the
        dearest known tariff: an unknown tier is more often a dear one than a cheap one."""
        rates = self.tariff(service_tier).rates_for(usage.input_tokens)
        parts = tuple(_parts(usage, rates))
        micro = sum(
            part.quantity * part.rate * (MILLION if part.name == "web_search" else 1) for part in parts
        )
        return Cost(Nanos(-(-micro // MILLION)), parts)

    def tariff(self, service_tier: str) -> Tariff:
        if service_tier in STANDARD:
            return self.standard
        known = self.variants.get(service_tier)
        if known is not None:
            return known
        return max(
            (self.standard, *self.variants.values()),
            key=lambda tariff: tariff.rates.output + tariff.rates.input,
        )


def _parts(usage: Usage, rates: Rates) -> Iterator[Part]:
    """Classes nest; what a part takes is taken from the whole it is part of, so that nothing is billed twice."""
    write = rates.input if rates.cache_write is None else rates.cache_write
    within_input = (
        (
            "cache_read",
            usage.cache_read_tokens,
            rates.input if rates.cache_read is None else rates.cache_read,
        ),
        ("cache_write", usage.cache_write_tokens, write),
        (
            "cache_write_1h",
            usage.cache_write_1h_tokens,
            write if rates.cache_write_1h is None else rates.cache_write_1h,
        ),
        (
            "cache_write_12h",
            usage.cache_write_12h_tokens,
            write if rates.cache_write_12h is None else rates.cache_write_12h,
        ),
        (
            "input_audio",
            usage.input_audio_tokens,
            rates.input if rates.input_audio is None else rates.input_audio,
        ),
        (
            "input_image",
            usage.input_image_tokens,
            rates.input if rates.input_image is None else rates.input_image,
        ),
    )
    within_output = (
        (
            "output_audio",
            usage.output_audio_tokens,
            rates.output if rates.output_audio is None else rates.output_audio,
        ),
        (
            "output_image",
            usage.output_image_tokens,
            rates.output if rates.output_image is None else rates.output_image,
        ),
    )
    yield from _nested("input", usage.input_tokens, rates.input, within_input)
    yield from _nested("output", usage.output_tokens, rates.output, within_output)
    if usage.web_searches:
        yield Part("web_search", usage.web_searches, rates.web_search)


def _nested(name: str, total: int, rate: int, within: tuple[tuple[str, int, int], ...]) -> Iterator[Part]:
    left = total
    for inner, quantity, inner_rate in within:
        taken = min(quantity, left)
        left -= taken
        if taken:
            yield Part(inner, taken, inner_rate)
    if left:
        yield Part(name, left, rate)
