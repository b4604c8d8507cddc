"""Pictures and sound in money: what is held covers what is billed, and nothing of them is free for want of a figure."""

import pytest

from pricing.charge import Basis, Charge, Outcome, Seen, charge_for
from pricing.estimate import Ask, Estimate, estimate
from pricing.price import Price, Rates, Tariff
from pricing.tokens import TokenCount
from pricing.usage import Usage

NO_TEXT = TokenCount(0, 0, exact=True, basis="none")
WORDS = TokenCount(10, 10, exact=True, basis="none")
PICTURES = Price(
    "p", "pictures", "v", Tariff(Rates(5_000_000, 10_000_000, input_image=8_000_000, output_image=32_000_000))
)
SECONDS = Price("p", "seconds", "v", Tariff(Rates(audio_hour=360_000_000)))
CHARACTERS = Price("p", "characters", "v", Tariff(Rates(characters=15_000_000_000)))

SENT = Usage(input_tokens=100, input_image_tokens=100)
HEARD = Usage(input_tokens=600, input_audio_tokens=600, audio_seconds=60)


def drawn() -> Estimate:
    ask = Ask(
        choices=2,
        output_tokens_max=1_000,
        output_expected=400,
        likely=Usage(input_tokens=50, input_image_tokens=50, output_image_tokens=9_999),
        most=SENT,
    )
    return estimate(WORDS, PICTURES, ask)


def test_pictures_are_held_at_the_dearest_rates_and_expected_at_their_own() -> None:
    made = drawn()

    assert made.ceiling == 110 * 8 + 2_000 * 32
    assert made.expected == 10 * 5 + 50 * 8 + 800 * 32
    assert (made.input_tokens, made.input_tokens_max, made.output_tokens) == (60, 110, 800)


@pytest.mark.parametrize("texts", [0, 10])
@pytest.mark.parametrize("pictures", [0, 100])
@pytest.mark.parametrize("outputs", [1, 2_000])
def test_what_is_held_covers_every_bill_within_the_bounds(texts: int, pictures: int, outputs: int) -> None:
    usage = Usage(
        input_tokens=texts + pictures,
        input_image_tokens=pictures,
        output_tokens=outputs,
        output_image_tokens=outputs,
    )

    assert PICTURES.cost(usage).nanos <= drawn().ceiling


def test_sound_is_held_by_the_second_and_speech_by_the_character() -> None:
    heard = estimate(NO_TEXT, SECONDS, Ask(output_tokens_max=50, likely=HEARD, most=HEARD))
    spoken = Usage(characters=7)
    said = estimate(WORDS, CHARACTERS, Ask(output_tokens_max=50, likely=spoken, most=spoken))

    assert heard.expected == heard.ceiling == 60 * 100_000
    assert said.expected == said.ceiling == 7 * 15_000


def charged(outcome: Outcome, made: Estimate, price: Price, seen: int = 0) -> Charge:
    charge = charge_for(outcome, price=price, estimate=made, usage=None, seen=Seen(output_tokens=seen))
    assert charge is not None
    return charge


@pytest.mark.parametrize(
    "outcome", [Outcome.ANSWERED, Outcome.BROKEN, Outcome.CLIENT_LEFT, Outcome.LOST, Outcome.FAILED]
)
def test_sound_that_nobody_told_the_length_of_is_not_free(outcome: Outcome) -> None:
    made = estimate(NO_TEXT, SECONDS, Ask(output_tokens_max=50, likely=HEARD, most=HEARD))

    charge = charged(outcome, made, SECONDS)

    assert (charge.nanos, charge.usage.audio_seconds) == (60 * 100_000, 60)


def test_pictures_that_passed_without_usage_are_charged_as_pictures() -> None:
    charge = charged(Outcome.ANSWERED, drawn(), PICTURES, seen=2_000)

    assert (charge.nanos, charge.basis) == (10 * 5 + 50 * 8 + 2_000 * 32, Basis.OBSERVED)
    assert (charge.usage.output_tokens, charge.usage.output_image_tokens) == (2_000, 2_000)
