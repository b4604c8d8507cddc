"""What a call will likely cost, and what it can cost at most: from what was read of it, its price and what was learned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from pricing.estimate import NOTHING, Ask, Estimate, estimate
from pricing.overrides import Prices
from pricing.price import Price
from pricing.tokens import TokenCount
from pricing.usage import Usage
from proxy.dialects import Reading
from proxy.errors import Refused
from proxy.learned import BEYOND_ONE, BEYOND_TEXT, Learned, is_counted
from proxy.opencall import OpenCall
from proxy.settings import Config
from rules.call import Call
from rules.counter import Limit

CAP_TOKENS_MIN = 16  # a smaller answer is of use to nobody


@dataclass(frozen=True, slots=True)
class Habit:
    """What earlier calls taught of such a call: the output of one choice, and tokens billed for a thousand counted."""

    output_expected: int | None = None
    input_permille: int | None = None


def habit_of(learned: Learned, call: Call, reading: Reading) -> Habit:
    """What such calls usually put out; of pictures and sound what this very call asks for."""
    if reading.media is not None:
        return Habit(reading.media.output_expected)
    return Habit(
        learned.expected(call.team, call.model, call.operation.value), learned.input_permille(call.model)
    )


def estimate_of(
    reading: Reading, count: TokenCount, price: Price, habit: Habit, *, cap: int | None = None
) -> Estimate:
    """What a read call will likely cost, and what it can cost at most. How input is usually billed moves `expected`
    alone: the ceiling, and the tokens that the estimate tells, stay as they were counted."""
    ask = Ask(
        choices=reading.choices,
        output_tokens_max=reading.output_tokens_max if cap is None else cap,
        output_tokens_beside=reading.output_tokens_beside,
        output_expected=habit.output_expected,
        has_output=reading.has_output,
        service_tier=reading.service_tier,
        likely=NOTHING if reading.media is None else reading.media.likely,
        most=NOTHING if reading.media is None else reading.media.most,
        mixed=bool(reading.prompt.images or reading.prompt.attachment_bytes),
    )
    hidden = reading.prompt.hidden
    made = estimate(count, price, ask, hidden=hidden)
    told = "" if is_text_alone(reading) else f", {BEYOND_TEXT}"
    if reading.has_output and reading.choices > 1:
        told += f", {reading.choices}{BEYOND_ONE}"
    likely = billed_of(count, reading, habit)
    expected = made.expected
    if likely != count.tokens:
        expected = estimate(replace(count, tokens=likely), price, ask, hidden=hidden).expected
        told += f", input x {Decimal(habit.input_permille or 0) / 1000}"
    return replace(made, expected=expected, basis=made.basis + told) if told else made


def billed_of(count: TokenCount, reading: Reading, habit: Habit) -> int:
    """Input tokens as they will likely be billed. Only text that was counted is corrected."""
    permille = habit.input_permille
    if permille is None or permille == 1000 or not (is_counted(count.basis) and is_text_alone(reading)):
        return count.tokens
    return -(-count.tokens * permille // 1000)


def is_text_alone(reading: Reading) -> bool:
    """Is all that the model reads in the body, as text? Pictures and files are bounded, not counted."""
    prompt = reading.prompt
    return reading.media is None and not (prompt.hidden or prompt.images or prompt.attachment_bytes)


def affordable_tokens(
    estimate_at: Callable[[int], Estimate], uncapped: Estimate, headroom: int
) -> int | None:
    """The most output tokens a choice whose ceiling fits the headroom; None where too few would."""
    low, high = 0, uncapped.output_tokens_max
    while low < high:
        middle = (low + high + 1) // 2
        if estimate_at(middle).ceiling <= headroom:
            low = middle
        else:
            high = middle - 1
    return low if low >= CAP_TOKENS_MIN else None


def price_of(
    config: Config, book: Prices, call: Call, reading: Reading | None, limits: Sequence[Limit]
) -> tuple[Price | None, bool]:
    """The price of a call, and whether it is that of its own model. None: it goes unmetered. Raises Refused."""
    prices = config.price_provider(call.provider)
    price = book.find(prices, call.model, call.at)
    if price is not None and not is_of_other_unit(price, _units_of(reading)):
        return price, True
    hard = any(limit.hold.hard and limit.nanos is not None for limit in limits)
    if hard or config.unknown_model == "deny":
        near = book.suggest(prices, call.model)
        hint = f' Did you mean "{near}"?' if near else ""
        why = "a hard budget covers this call" if hard else "unknown_model is deny"
        raise Refused(
            403,
            "unknown_model",
            f'no price is known for model "{call.model[:80]}" of {call.provider}, and {why}.{hint} '
            "Add a price, or use a model from the catalogue.",
            kind="permission_error",
            param="model",
        )
    if config.unknown_model == "allow_unmetered":
        return None, False
    return book.dearest(prices, call.at), False


def _units_of(reading: Reading | None) -> Usage:
    return NOTHING if reading is None or reading.media is None else reading.media.most


def is_of_other_unit(price: Price, most: Usage) -> bool:
    """Is a model billed by a unit that this call has none of, such as a chat with one that is billed by the second? Its
    tokens would cost nothing: its price for them is unknown."""
    rates = price.standard.rates
    units = (
        (rates.characters, most.characters),
        (rates.audio_hour, most.audio_seconds),
        (rates.message, most.messages),
        (rates.page, most.pages),
    )
    priced = [used for rate, used in units if rate is not None]
    return not price.by_token and bool(priced) and not any(priced)


def note_estimate(call: OpenCall) -> None:
    row, made = call.row, call.estimate
    row.estimate_expected_nanos, row.estimate_ceiling_nanos = made.expected, made.ceiling
    row.estimate_confidence, row.estimate_basis = made.confidence, made.basis
    row.estimate_input_tokens, row.estimate_output_tokens = made.input_tokens, made.output_tokens
