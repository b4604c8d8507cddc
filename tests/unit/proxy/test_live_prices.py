"""Prices that change while the server runs: each call keeps those that it came under."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pricing import catalog
from pricing.overrides import OverriddenBook
from proxy.live_prices import BOOKS_MAX, LivePrices

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def book(rate: int) -> OverriddenBook:
    rates = {"input": rate, "output": rate}
    model = {"id": "small", "prices": [{"from": None, "standard": {"rates": rates}}]}
    file: dict[str, Any] = {
        "provider": "acme",
        "source": "a page",
        "checked": "2026-11-01",
        "models": [model],
    }
    return OverriddenBook(catalog.book([file]))


def rates_at(live: LivePrices, at: datetime) -> set[int]:
    """Of every way to ask; they agree."""
    found = (live.find("acme", "small", at), live.find_named("acme", "small", at), live.dearest("acme", at))
    return {price.standard.rates.input for price in found if price is not None}


def test_a_call_that_came_before_a_change_is_settled_by_the_prices_of_then() -> None:
    live = LivePrices(book(1))

    live.swap(book(2), NOON)

    assert rates_at(live, NOON - HOUR) == {1}
    assert rates_at(live, NOON) == {2}
    assert live.present.find("acme", "small", NOON - HOUR) == live.find("acme", "small", NOON)


def test_books_of_long_ago_are_forgotten() -> None:
    live = LivePrices(book(0))
    for n in range(1, BOOKS_MAX + 3):
        live.swap(book(n), NOON + n * HOUR)

    oldest_kept = 3
    assert rates_at(live, NOON) == {oldest_kept}
    assert rates_at(live, NOON + BOOKS_MAX * HOUR) == {BOOKS_MAX}


def test_names_are_suggested_from_the_present_prices() -> None:
    assert LivePrices(book(1)).suggest("acme", "smal") == "small"
