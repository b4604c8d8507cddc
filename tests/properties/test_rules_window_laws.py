"""Law: every instant lies in exactly one window, whatever the clocks of its zone do."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from rules.counter import counter_at
from rules.scope import EVERYONE
from rules.window import Period, period_key, window_of

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",  # half-hour offset
    "Asia/Kolkata",  # half-hour offset
    "Asia/Kathmandu",  # quarter-hour offset
    "Pacific/Chatham",  # quarter-hour offset, with summer time
    "Australia/Lord_Howe",  # clocks change by half an hour
    "Antarctica/Troll",  # clocks change by two hours
    "Africa/Casablanca",  # clocks change around Ramadan
    "America/Havana",  # midnight comes twice
    "America/Santiago",  # midnight is left out
    "Asia/Beirut",  # midnight is left out
    "America/Asuncion",  # clocks change at midnight, until they stopped
    "Pacific/Kiritimati",  # fourteen hours ahead
    "Pacific/Pago_Pago",  # eleven hours behind
]
FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
TICK, QUARTER = timedelta(microseconds=1), timedelta(minutes=15)


@lru_cache
def changes(name: str) -> list[datetime]:
    """The quarter hours at which this zone's clocks change."""
    zone, step, found = ZoneInfo(name), timedelta(days=7), []
    at = FIRST
    while at < LAST:
        if at.astimezone(zone).utcoffset() != (at + step).astimezone(zone).utcoffset():
            found.append(_change_within(zone, at, at + step))
        at += step
    return found


def _change_within(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    before = low.astimezone(zone).utcoffset()
    while high - low > QUARTER:
        middle = low + (high - low) // QUARTER // 2 * QUARTER
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == before else (low, middle)
    return high


@st.composite
def places(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone and an instant: any, or one within some hours of a change of its clocks."""
    zone = draw(st.sampled_from(ZONES))
    anywhere = st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None), timezones=st.just(UTC))
    if not changes(zone):
        return zone, draw(anywhere)
    near = st.builds(
        lambda change, minutes: change + timedelta(minutes=minutes),
        st.sampled_from(changes(zone)),
        st.integers(-26 * 60, 26 * 60),
    )
    return zone, draw(st.one_of(anywhere, near))


periods = st.sampled_from(Period)
ending_periods = st.sampled_from([period for period in Period if period is not Period.TOTAL])
calendar_periods = st.sampled_from([Period.DAILY, Period.WEEKLY, Period.MONTHLY])


@given(place=places(), period=periods)
def test_an_instant_lies_in_its_window(place: tuple[str, datetime], period: Period) -> None:
    zone, at = place
    window = window_of(period, zone, at)

    assert window.start <= at
    assert window.end is None or at < window.end


@given(place=places(), period=ending_periods)
def test_all_instants_of_a_window_have_that_window(place: tuple[str, datetime], period: Period) -> None:
    zone, at = place
    window = window_of(period, zone, at)
    assert window.end is not None

    assert window_of(period, zone, window.start) == window
    assert window_of(period, zone, window.end - TICK) == window


@given(place=places(), period=ending_periods)
def test_the_next_window_begins_where_one_ends(place: tuple[str, datetime], period: Period) -> None:
    zone, at = place
    window = window_of(period, zone, at)
    assert window.end is not None

    assert window_of(period, zone, window.end).start == window.end
    assert window_of(period, zone, window.start - TICK).end == window.start


@given(place=places(), period=calendar_periods)
def test_a_calendar_window_begins_with_a_new_day_on_the_wall_clock(
    place: tuple[str, datetime], period: Period
) -> None:
    zone, at = place
    start = window_of(period, zone, at).start
    day, eve = start.astimezone(ZoneInfo(zone)).date(), (start - TICK).astimezone(ZoneInfo(zone)).date()

    assert day == eve + timedelta(days=1)
    assert period is not Period.WEEKLY or day.isoweekday() == 1
    assert period is not Period.MONTHLY or day.day == 1


@given(place=places())
def test_an_hour_is_never_longer_than_an_hour_and_keeps_its_wall_clock_name(
    place: tuple[str, datetime],
) -> None:
    zone, at = place
    window = window_of(Period.HOURLY, zone, at)
    assert window.end is not None

    assert timedelta(0) < window.end - window.start <= timedelta(hours=1)
    assert period_key(Period.HOURLY, zone, window.start) == period_key(Period.HOURLY, zone, at)


@given(place=places(), period=periods)
def test_a_period_key_names_the_same_window_from_any_instant_in_it(
    place: tuple[str, datetime], period: Period
) -> None:
    zone, at = place
    window = window_of(period, zone, at)

    assert period_key(period, zone, window.start) == period_key(period, zone, at)


@given(place=places(), period=periods)
def test_a_counter_tells_the_window_it_was_made_for(place: tuple[str, datetime], period: Period) -> None:
    zone, at = place

    assert counter_at(EVERYONE, period, zone, at).window == window_of(period, zone, at)
