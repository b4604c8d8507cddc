"""A breaker's states by value: what trips it, what time, trials, other limits and a hand make of it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from pricing.money import nanos
from rules.breaker import Breaker, Cause, Recovery, State, Terms, Ticket
from rules.counter import counter_at
from rules.scope import Scope, ScopeKind
from rules.window import Period
from tests.unit.rules.build import NOON

MINUTE = timedelta(minutes=1)
TERMS = Terms(5 * MINUTE, trial_calls=2)
SLOW = Terms(5 * MINUTE, recovery=Recovery(Decimal(10), 3 * MINUTE))
SEARCH = Scope(ScopeKind.TEAM, "search")
TODAY = Cause(counter_at(SEARCH, Period.DAILY, "UTC", NOON), nanos("50"))
TOMORROW = Cause(counter_at(SEARCH, Period.DAILY, "UTC", NOON + timedelta(days=1)), nanos("50"))
NEW = Breaker(NOON)


def tripped(terms: Terms = TERMS, cause: Cause | None = None, *, limited: bool = False) -> Breaker:
    return NEW.trip(NOON, terms=terms, limited=limited, reason="too dear", cause=cause)


def half_open(terms: Terms = TERMS) -> Breaker:
    return tripped(terms).at(NOON + terms.cooldown)


def admitted(breaker: Breaker) -> tuple[Breaker, Ticket]:
    after, ticket = breaker.admit()
    assert ticket is not None
    return after, ticket


def test_a_tripped_breaker_admits_nothing_until_its_cooldown_is_over() -> None:
    open_ = tripped()

    assert (open_.state, open_.until, open_.reason) == (State.OPEN, NOON + 5 * MINUTE, "too dear")
    assert open_.at(NOON + 5 * MINUTE - timedelta(microseconds=1)).admit()[1] is None
    assert open_.at(NOON + 5 * MINUTE).state is State.HALF_OPEN
    assert open_.retry_after_seconds(NOON + MINUTE) == 240


def test_an_open_breaker_is_not_kept_open_by_the_matches_of_calls_that_came_with_the_first() -> None:
    assert tripped().trip(NOON + MINUTE, terms=TERMS, reason="late") == tripped()


def test_without_a_cooldown_a_breaker_remembers_nothing() -> None:
    assert NEW.trip(NOON, terms=Terms(timedelta(0))) is NEW


def test_as_many_successes_as_trial_calls_close_a_breaker() -> None:
    after, first = admitted(half_open())
    after, second = admitted(after)
    assert after.admit() == (after, None)
    assert after.retry_after_seconds(NOON + 6 * MINUTE) == 1.0

    after = after.succeeded(first, NOON + 6 * MINUTE)
    assert after.state is State.HALF_OPEN
    assert after.admit()[1] is None, "one success and one trial out are two"
    after = after.succeeded(second, NOON + 7 * MINUTE)

    assert (after.state, after.since) == (State.CLOSED, NOON + 7 * MINUTE)


def test_one_failed_trial_opens_a_breaker_anew_for_a_whole_cooldown() -> None:
    after, ticket = admitted(half_open())

    after = after.failed(ticket, NOON + 6 * MINUTE)

    assert (after.state, after.until, after.trials_out) == (State.OPEN, NOON + 11 * MINUTE, 0)
    assert after.generation > half_open().generation
    assert after.at(NOON + 11 * MINUTE).state is State.HALF_OPEN


def test_a_match_while_half_open_opens_a_breaker_anew() -> None:
    after = half_open().trip(NOON + 6 * MINUTE, terms=TERMS)

    assert (after.state, after.until) == (State.OPEN, NOON + 11 * MINUTE)


def test_a_trial_that_ends_without_result_gives_its_place_back_once() -> None:
    after, first = admitted(half_open())
    after, _ = admitted(after)

    after = after.left(first).left(first)

    assert after.trials_out == 1
    after, _ = admitted(after)
    assert after.admit()[1] is None


def test_a_late_answer_of_an_old_generation_changes_nothing() -> None:
    trying, late = admitted(half_open())
    trying, other = admitted(trying)
    again, _ = admitted(trying.failed(other, NOON + 6 * MINUTE).at(NOON + 11 * MINUTE))
    assert again.trials_out == 1

    assert again.succeeded(late, NOON + 12 * MINUTE) is again
    assert again.failed(late, NOON + 12 * MINUTE) is again
    assert again.left(late) is again


def test_a_throttle_is_lengthened_by_every_match_and_closes_by_itself() -> None:
    limited = tripped(limited=True)
    assert limited.state is State.LIMITED
    assert limited.admit()[1] is not None
    assert limited.retry_after_seconds(NOON) is None

    longer = limited.trip(NOON + 4 * MINUTE, terms=TERMS, limited=True)

    assert (longer.until, longer.since, longer.generation) == (NOON + 9 * MINUTE, NOON, limited.generation)
    assert longer.at(NOON + 8 * MINUTE).state is State.LIMITED
    assert longer.at(NOON + 9 * MINUTE).state is State.CLOSED


def test_a_match_with_a_shorter_cooldown_does_not_end_a_throttle_sooner() -> None:
    limited = tripped(limited=True)

    shorter = limited.trip(NOON + MINUTE, terms=Terms(MINUTE), limited=True)

    assert shorter.until == NOON + 5 * MINUTE


def test_a_match_of_a_throttle_begins_its_recovery_anew() -> None:
    breaker = tripped(SLOW, limited=True).measured(Decimal(9), NOON)
    breaker = breaker.trip(NOON + MINUTE, terms=SLOW, limited=True)

    assert breaker.at(NOON + 6 * MINUTE).state is State.LIMITED
    assert breaker.measured(Decimal(9), NOON + 3 * MINUTE).at(NOON + 6 * MINUTE).state is State.CLOSED


@pytest.mark.parametrize(("limited", "after"), [(False, State.HALF_OPEN), (True, State.CLOSED)])
def test_with_a_recovery_threshold_the_figure_must_have_been_down_for_its_window(
    limited: bool, after: State
) -> None:
    breaker = tripped(SLOW, limited=limited)
    assert breaker.at(NOON + 60 * MINUTE).state is breaker.state, "nobody knows the figure"

    breaker = breaker.measured(Decimal(10), NOON + MINUTE).measured(Decimal(11), NOON + 2 * MINUTE)
    assert breaker.at(NOON + 6 * MINUTE).state is breaker.state, "it rose again"
    breaker = breaker.measured(Decimal(9), NOON + 4 * MINUTE).measured(Decimal(10), NOON + 6 * MINUTE)

    assert breaker.at(NOON + 7 * MINUTE - timedelta(microseconds=1)).state is breaker.state
    assert breaker.at(NOON + 7 * MINUTE).state is after


def test_waiting_for_recovery_counts_into_when_to_ask_again() -> None:
    breaker = tripped(SLOW).measured(Decimal(9), NOON + 4 * MINUTE)

    assert breaker.retry_after_seconds(NOON + 5 * MINUTE) == 120


def test_a_window_that_turns_closes_what_it_had_tripped() -> None:
    breaker = tripped(Terms(timedelta(days=30)), TODAY)

    assert breaker.at(NOON + timedelta(hours=11)).state is State.OPEN
    assert breaker.retry_after_seconds(NOON) == 12 * 3600
    assert breaker.at(NOON + timedelta(hours=12)).state is State.CLOSED
    assert breaker.under([TOMORROW], NOON).state is State.CLOSED


def test_a_higher_limit_closes_and_a_lower_one_does_not() -> None:
    breaker = tripped(cause=TODAY)

    assert breaker.under([Cause(TODAY.counter, nanos("50.01"))], NOON).state is State.CLOSED
    assert breaker.under([TODAY], NOON) is breaker
    assert breaker.under([Cause(TODAY.counter, nanos("49"))], NOON) is breaker
    assert breaker.under([], NOON) is breaker


def test_of_several_limits_one_that_still_stands_keeps_it_tripped() -> None:
    higher = Cause(TODAY.counter, nanos("80"))

    assert tripped(cause=TODAY).under([higher, TODAY], NOON).state is State.OPEN


def test_a_call_from_before_the_present_window_does_not_close_what_this_one_tripped() -> None:
    breaker = tripped(cause=TOMORROW)

    assert breaker.under([TODAY], NOON) is breaker


def test_what_a_hand_has_set_only_a_hand_changes() -> None:
    year = NOON + timedelta(days=365)
    shut = tripped(cause=TODAY).force_open("an attack", NOON)
    closed = tripped().force_close("a false alarm", NOON)

    assert (shut.state, shut.forced, shut.reason) == (State.OPEN, True, "an attack")
    assert shut.at(year) is shut
    assert shut.under([TOMORROW], year) is shut
    assert shut.retry_after_seconds(NOON) is None
    assert closed.trip(year, terms=TERMS, cause=TODAY) is closed
    assert closed.admit()[1] is not None
    assert shut.reset("over", year).state is State.CLOSED
    assert not shut.reset("over", year).forced
