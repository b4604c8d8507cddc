"""What is billed by another unit than plain tokens, what holds only at some hours, and what nobody has a price for."""

from dataclasses import replace
from datetime import UTC, datetime, time

import pytest

from pricing.charge import Outcome, charge_for
from pricing.price import EVERY_DAY, FILE_SEARCH_DEAREST, WEB_SEARCH_DEAREST, Part, Rates, Window
from pricing.usage import Usage
from tests.unit.pricing.build import MTOK, estimate, per_mtok, price

PLAIN = Rates(input=per_mtok("2"), output=per_mtok("10"))
SENSES = replace(
    PLAIN,
    cache_read=per_mtok("0.2"),
    input_audio=per_mtok("40"),
    cache_read_audio=per_mtok("0.4"),
    input_image=per_mtok("3"),
    cache_read_image=per_mtok("0.5"),
    input_video=per_mtok("6"),
    output_video=per_mtok("60"),
    reasoning=per_mtok("5"),
    citation=per_mtok("1"),
)
DOLLAR = 1_000_000_000


@pytest.mark.parametrize(
    ("rates", "usage", "expected"),
    [
        (SENSES, Usage(input_tokens=MTOK, input_video_tokens=MTOK), 6 * DOLLAR),
        (PLAIN, Usage(input_tokens=MTOK, input_video_tokens=MTOK), 2 * DOLLAR),
        (SENSES, Usage(output_tokens=MTOK, output_video_tokens=MTOK), 60 * DOLLAR),
        (SENSES, Usage(output_tokens=MTOK, reasoning_tokens=MTOK), 5 * DOLLAR),
        (SENSES, Usage(output_tokens=MTOK, citation_tokens=MTOK), DOLLAR),
        (PLAIN, Usage(output_tokens=MTOK, citation_tokens=MTOK, reasoning_tokens=0), 10 * DOLLAR),
        (Rates(file_search=2_500_000), Usage(file_searches=3), 7_500_000),
        (Rates(web_search=0), Usage(web_searches=3), 0),
        (Rates(characters=per_mtok("15")), Usage(characters=1_000), 15_000_000),
        (Rates(audio_hour=DOLLAR), Usage(audio_seconds=3_600), DOLLAR),
        (Rates(audio_hour=DOLLAR), Usage(audio_seconds=1), 277_778),  # 277,777.8 rounded up
        (Rates(message=4_000_000), Usage(messages=2), 8_000_000),
        (Rates(page=1_000_000), Usage(pages=5, annotated_pages=2), 5_000_000),
        (Rates(page=1_000_000, annotated_page=3_000_000), Usage(pages=5, annotated_pages=2), 9_000_000),
        (Rates(request=12_000_000), Usage(), 12_000_000),
        (PLAIN, Usage(characters=9, audio_seconds=9, messages=9, pages=9, annotated_pages=9), 0),
    ],
)
def test_each_unit_is_billed_at_its_own_rate(rates: Rates, usage: Usage, expected: int) -> None:
    assert price(rates).cost(usage).nanos == expected


def test_a_part_tells_how_many_its_rate_is_for() -> None:
    parts = price(Rates(web_search=1, audio_hour=1, characters=1)).cost(
        Usage(input_tokens=1, web_searches=1, audio_seconds=1, characters=1)
    )

    assert {part.name: part.per for part in parts.parts} == {
        "input": MTOK,
        "web_search": 1,
        "audio_hour": 3_600,
        "characters": MTOK,
    }


def test_a_shorter_sound_is_billed_as_the_shortest_that_is() -> None:
    made = replace(price(Rates(audio_hour=3_600)), audio_seconds_min=10)

    assert [made.cost(Usage(audio_seconds=n)).nanos for n in (0, 1, 10, 11)] == [0, 10, 10, 11]


def parts(rates: Rates, **usage: int) -> dict[str, tuple[int, int]]:
    """Class -> quantity and rate."""
    return {part.name: (part.quantity, part.rate) for part in price(rates).cost(Usage(**usage)).parts}


def test_cached_sound_and_pictures_are_taken_out_of_both_that_they_are_part_of() -> None:
    found = parts(
        SENSES,
        input_tokens=1_000,
        cache_read_tokens=400,
        input_audio_tokens=300,
        cache_read_audio_tokens=100,
        input_image_tokens=200,
        cache_read_image_tokens=50,
    )

    assert found == {
        "cache_read_audio": (100, per_mtok("0.4")),
        "cache_read_image": (50, per_mtok("0.5")),
        "cache_read": (250, per_mtok("0.2")),
        "input_audio": (200, per_mtok("40")),
        "input_image": (150, per_mtok("3")),
        "input": (250, per_mtok("2")),
    }


def test_what_must_have_been_cached_sound_is_billed_as_such_though_nobody_told() -> None:
    """700 cached and 600 of sound in 1,000 tokens: at least 300 were both."""
    found = parts(SENSES, input_tokens=1_000, cache_read_tokens=700, input_audio_tokens=600)

    assert found == {
        "cache_read_audio": (300, per_mtok("0.4")),
        "cache_read": (400, per_mtok("0.2")),
        "input_audio": (300, per_mtok("40")),
    }


def test_what_may_have_been_cached_text_is_taken_for_it() -> None:
    found = parts(SENSES, input_tokens=1_000, cache_read_tokens=400, input_audio_tokens=600)

    assert found == {"cache_read": (400, per_mtok("0.2")), "input_audio": (600, per_mtok("40"))}


@pytest.mark.parametrize(
    ("rates", "rate"),
    [
        (replace(SENSES, cache_read_audio=None), "40"),  # of two rates that it could have the dearer
        (replace(SENSES, cache_read_audio=None, input_audio=None), "0.2"),
        (replace(SENSES, cache_read_audio=None, cache_read=None), "40"),
        (PLAIN, "2"),
    ],
)
def test_cached_sound_without_a_price_costs_what_it_is_part_of(rates: Rates, rate: str) -> None:
    cached = {"cache_read_tokens": 10, "input_audio_tokens": 10, "cache_read_audio_tokens": 10}

    assert parts(rates, input_tokens=10, **cached) == {"cache_read_audio": (10, per_mtok(rate))}


def test_what_is_kept_longest_and_has_no_price_costs_what_an_hour_costs() -> None:
    rates = replace(PLAIN, cache_write=per_mtok("2.5"), cache_write_1h=per_mtok("4"))

    assert parts(rates, input_tokens=9, cache_write_12h_tokens=9) == {"cache_write_12h": (9, per_mtok("4"))}


def test_a_search_without_a_price_is_billed_as_the_dearest_known_and_told() -> None:
    cost = price(PLAIN).cost(Usage(web_searches=2, file_searches=3))

    assert cost.nanos == 2 * WEB_SEARCH_DEAREST + 3 * FILE_SEARCH_DEAREST
    assert cost.parts == (
        Part("web_search", 2, WEB_SEARCH_DEAREST),
        Part("file_search", 3, FILE_SEARCH_DEAREST),
    )
    assert cost.unpriced == ("web_search", "file_search")


def test_what_has_a_price_or_was_not_used_is_not_told_as_unpriced() -> None:
    assert price(replace(PLAIN, web_search=0)).cost(Usage(web_searches=2)).unpriced == ()
    assert price(PLAIN).cost(Usage(input_tokens=5, output_tokens=5)).unpriced == ()


def test_output_of_a_model_that_has_only_a_price_for_input_is_told_unless_all_of_it_is_free() -> None:
    usage = Usage(input_tokens=5, output_tokens=5)

    assert price(Rates(input=1)).cost(usage).unpriced == ("output",)
    assert price(Rates()).cost(usage).unpriced == ()


def test_a_charge_tells_of_what_nobody_has_a_price_for() -> None:
    searched = Usage(input_tokens=5, web_searches=1)
    charges = [
        charge_for(Outcome.ANSWERED, price=price(rates), estimate=estimate(), usage=searched)
        for rates in (PLAIN, replace(PLAIN, web_search=1))
    ]

    assert [charge and charge.flags for charge in charges] == [("unpriced_class",), ()]
    assert charges[0] is not None
    assert "web_search" in charges[0].reason


NIGHT = price(Rates(input=1, output=1), model="night")
FRIDAY, SATURDAY = 5, 6


@pytest.mark.parametrize(
    ("window", "at", "holds"),
    [
        (Window(time(8), time(10), NIGHT), "2026-11-20T08:00:00", True),
        (Window(time(8), time(10), NIGHT), "2026-11-20T07:59:59.999999", False),
        (Window(time(8), time(10), NIGHT), "2026-11-20T10:00:00", False),
        (Window(time(22), time(2), NIGHT), "2026-11-20T22:00:00", True),
        (Window(time(22), time(2), NIGHT), "2026-11-20T01:59:59", True),
        (Window(time(22), time(2), NIGHT), "2026-11-20T02:00:00", False),
        (Window(time(8), time(10), NIGHT, frozenset({SATURDAY})), "2026-11-20T09:00:00", False),
        (Window(time(8), time(10), NIGHT, frozenset({SATURDAY})), "2026-11-21T09:00:00", True),
        # Over midnight a window belongs to the day on which it starts.
        (Window(time(22), time(2), NIGHT, frozenset({FRIDAY})), "2026-11-21T01:00:00", True),
        (Window(time(22), time(2), NIGHT, frozenset({FRIDAY})), "2026-11-20T01:00:00", False),
        (Window(time(22), time(2), NIGHT, frozenset({7})), "2026-11-23T01:00:00", True),
    ],
)
def test_a_window_holds_from_its_first_instant_until_before_its_end(
    window: Window, at: str, holds: bool
) -> None:
    made = replace(price(), windows=(window,))

    assert made.at(datetime.fromisoformat(f"{at}+00:00")).model == ("night" if holds else "m-1")


def test_hours_are_those_of_utc_wherever_the_caller_is() -> None:
    made = replace(price(), windows=(Window(time(8), time(10), NIGHT),))

    assert made.at(datetime.fromisoformat("2026-11-20T17:30:00+08:00")).model == "night"
    assert made.at(datetime.fromisoformat("2026-11-20T09:30:00+08:00")).model == "m-1"


def test_of_two_windows_that_hold_the_later_one_is_meant() -> None:
    other = replace(NIGHT, model="late")
    made = replace(price(), windows=(Window(time(0), time(23), NIGHT), Window(time(3), time(4), other)))

    assert made.at(datetime(2026, 11, 20, 3, 30, tzinfo=UTC)).model == "late"
    assert made.at(datetime(2026, 11, 20, 4, tzinfo=UTC)).model == "night"
    assert made.windows[0].days == EVERY_DAY
