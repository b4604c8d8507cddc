"""Windows of the periods, on the days when the clocks make them odd."""

from datetime import UTC, datetime, timedelta

import pytest

from rules.counter import counter_at
from rules.scope import EVERYONE
from rules.window import Period, period_key, window_of


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def span(period: Period, zone: str, at: str) -> tuple[str, str]:
    window = window_of(period, zone, utc(at))
    assert window.end is not None
    return f"{window.start:%Y-%m-%dT%H:%M}", f"{window.end:%Y-%m-%dT%H:%M}"


def test_a_day_begins_at_midnight_on_the_wall_clock() -> None:
    assert span(Period.DAILY, "Europe/Berlin", "2026-01-05T23:30") == ("2026-01-05T23:00", "2026-01-06T23:00")


def test_the_day_on_which_clocks_go_forward_has_23_hours() -> None:
    assert span(Period.DAILY, "Europe/Berlin", "2026-03-29T12:00") == ("2026-03-28T23:00", "2026-03-29T22:00")


def test_the_day_on_which_clocks_go_back_has_25_hours() -> None:
    assert span(Period.DAILY, "Europe/Berlin", "2026-10-25T12:00") == ("2026-10-24T22:00", "2026-10-25T23:00")


def test_a_day_without_a_midnight_begins_when_its_clocks_do() -> None:
    """In Beirut the clocks go from 00:00 to 01:00."""
    assert span(Period.DAILY, "Asia/Beirut", "2024-03-31T12:00") == ("2024-03-30T22:00", "2024-03-31T21:00")


def test_a_repeated_wall_clock_hour_is_two_windows() -> None:
    first = span(Period.HOURLY, "Europe/Berlin", "2026-10-25T00:30")
    second = span(Period.HOURLY, "Europe/Berlin", "2026-10-25T01:30")

    assert first == ("2026-10-25T00:00", "2026-10-25T01:00")
    assert second == ("2026-10-25T01:00", "2026-10-25T02:00")


def test_hours_begin_on_the_wall_clock_in_zones_of_half_and_quarter_hours() -> None:
    assert span(Period.HOURLY, "Asia/Kolkata", "2026-01-05T12:10") == ("2026-01-05T11:30", "2026-01-05T12:30")
    assert span(Period.HOURLY, "Asia/Kathmandu", "2026-01-05T12:10") == (
        "2026-01-05T11:15",
        "2026-01-05T12:15",
    )


def test_an_hour_is_cut_where_the_clocks_change_by_half_an_hour() -> None:
    """On Lord Howe they go from 02:00 back to 01:30, at 15:00 UTC."""
    before = span(Period.HOURLY, "Australia/Lord_Howe", "2026-04-04T14:50")
    after = span(Period.HOURLY, "Australia/Lord_Howe", "2026-04-04T15:10")

    assert before == ("2026-04-04T14:00", "2026-04-04T15:00")
    assert after == ("2026-04-04T15:00", "2026-04-04T15:30")


def test_an_hour_is_cut_where_the_clocks_change_in_its_middle() -> None:
    """On Chatham they go from 03:45 back to 02:45, at 14:00 UTC."""
    before = span(Period.HOURLY, "Pacific/Chatham", "2026-04-04T13:50")
    after = span(Period.HOURLY, "Pacific/Chatham", "2026-04-04T14:10")

    assert before == ("2026-04-04T13:15", "2026-04-04T14:00")
    assert after == ("2026-04-04T14:00", "2026-04-04T14:15")


def test_a_week_begins_on_monday() -> None:
    assert span(Period.WEEKLY, "UTC", "2026-01-04T23:59") == ("2025-12-29T00:00", "2026-01-05T00:00")
    assert span(Period.WEEKLY, "UTC", "2026-01-05T00:00") == ("2026-01-05T00:00", "2026-01-12T00:00")


def test_a_leap_day_belongs_to_february() -> None:
    assert span(Period.MONTHLY, "UTC", "2028-02-29T12:00") == ("2028-02-01T00:00", "2028-03-01T00:00")


def test_december_ends_with_the_year() -> None:
    assert span(Period.MONTHLY, "UTC", "2026-12-31T12:00") == ("2026-12-01T00:00", "2027-01-01T00:00")


def test_a_total_never_ends() -> None:
    assert window_of(Period.TOTAL, "UTC", utc("2026-01-05T12:00")).end is None


@pytest.mark.parametrize(
    ("period", "at", "key"),
    [
        (Period.HOURLY, "2026-01-05T23:30", "2026-01-06T00"),
        (Period.DAILY, "2026-01-05T23:30", "2026-01-06"),
        (Period.WEEKLY, "2026-01-04T23:30", "2026-W02"),
        (Period.WEEKLY, "2027-01-01T12:00", "2026-W53"),
        (Period.MONTHLY, "2026-01-31T23:30", "2026-02"),
        (Period.TOTAL, "2026-01-31T23:30", "total"),
    ],
)
def test_a_period_key_is_that_of_the_budgets_time_zone(period: Period, at: str, key: str) -> None:
    start = window_of(period, "Europe/Berlin", utc(at)).start

    assert period_key(period, "Europe/Berlin", start) == key


def test_a_counter_tells_the_window_it_was_made_for() -> None:
    at = utc("2026-03-29T12:00")
    counter = counter_at(EVERYONE, Period.DAILY, "Europe/Berlin", at)

    assert counter.window == window_of(Period.DAILY, "Europe/Berlin", at)
    assert counter != counter_at(EVERYONE, Period.DAILY, "Europe/Berlin", at + timedelta(days=1))
