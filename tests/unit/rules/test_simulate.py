"""What a replay makes of past calls, worked out by hand."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import pytest

from pricing.money import nanos
from rules.budget import Budget, BudgetSpec, budgets_for_key
from rules.past import Costs, NoPrices, PastCall
from rules.past_speed import PastSpeed
from rules.simulate import Outcome, Setting, Simulation
from rules.window import QUARTER_SECONDS
from tests.unit.rules.build import NOON, policy

CENT = nanos("0.01")
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def past(
    at: datetime = NOON, cents: int = 100, *, ceiling: int | None = None, team: str = "search", **more: object
) -> PastCall:
    """A call that was estimated at what it cost, unless it says otherwise."""
    cost = cents * CENT
    plain = PastCall(
        round(at.timestamp() * 1_000_000),
        "llm_call",
        "openai",
        "gpt-4o",
        team,
        "k1",
        expected=cost,
        ceiling=cost if ceiling is None else ceiling * CENT,
        input_tokens=100,
        output_tokens=100,
        charge=cost,
        paid=cost,
        tokens=200,
        output_charged=100,
    )
    return plain._replace(**more)  # type: ignore[arg-type]


def simulation(
    text: str,
    *,
    costs: Costs | None = None,
    setting: Setting = Setting(),  # noqa: B008
    keys: Mapping[str, tuple[Budget, ...]] | None = None,
) -> Simulation:
    return Simulation(policy(text), key_budgets=keys or {}, costs=costs or NoPrices(), setting=setting)


def run(made: Simulation, *calls: PastCall, before: int = 0) -> list[Outcome]:
    """`before`: cents that every counter had spent."""
    outcomes = []
    for call in calls:
        counters, speeds = made.missing(call)
        for counter in counters:
            made.seed(counter, before * CENT)
        for scope in speeds:
            made.seed_speed(scope, PastSpeed({}, start_minute=0))
        outcomes.append(made.run(call))
    return outcomes


def blocked(outcomes: Sequence[Outcome]) -> list[bool]:
    return [each.blocked for each in outcomes]


DAILY = "teams: {search: {budgets: [{period: daily, limit_usd: 3}]}}"


def test_a_budget_refuses_what_it_has_no_room_for_and_begins_anew_with_the_day() -> None:
    made = simulation(DAILY)

    outcomes = run(made, *(past(NOON + n * MINUTE) for n in range(5)), past(NOON + timedelta(days=1)))

    assert blocked(outcomes) == [False, False, False, True, True, False]
    tally = made.tallies["team:search:daily"]
    assert (tally.blocked, tally.blocked_nanos) == (2, 200 * CENT)
    assert tally.teams == {"search": 5}  # two refusals, and three thresholds: 75%, 90% and 100% at one call
    assert tally.alerts == 3
    totals = made.tallies.totals
    assert (totals.calls, totals.nanos, totals.blocked, totals.newly_blocked) == (6, 600 * CENT, 2, 2)


def test_a_threshold_that_is_met_to_the_cent_is_told_once() -> None:
    made = simulation("teams: {search: {budgets: [{period: daily, limit_usd: 4, thresholds: [75]}]}}")

    run(made, past(), past(), past(), past())

    assert made.tallies["team:search:daily"].alerts == 1


def test_a_counter_begins_with_what_was_spent_before_the_replay() -> None:
    made = simulation(DAILY)

    assert blocked(run(made, past(), past(), before=150)) == [False, True]


def test_what_is_held_is_the_estimate_and_what_is_spent_is_the_charge() -> None:
    """Expected under a soft budget, at most under a hard one."""
    hard = "teams: {search: {budgets: [{period: daily, limit_usd: 3, hold: strict}]}}"
    calls = [past(cents=100, ceiling=250), past(cents=50, ceiling=250)]

    assert blocked(run(simulation(DAILY), *calls)) == [False, False]
    assert blocked(run(simulation(hard), *calls)) == [False, True]


def test_a_call_that_was_refused_counts_as_estimated() -> None:
    refused = past(refused=True, charge=None, paid=0, tokens=None)
    made = simulation(DAILY)

    outcomes = run(made, refused, refused, refused, refused)

    totals = made.tallies.totals
    assert blocked(outcomes) == [False, False, False, True]
    assert (totals.refused_then, totals.blocked, totals.newly_blocked) == (4, 1, 0)
    assert (totals.newly_allowed, totals.newly_allowed_nanos) == (3, 300 * CENT)


def test_a_call_that_was_not_sent_spends_nothing() -> None:
    made = simulation(DAILY)

    released = past(charge=None, paid=0)

    assert blocked(run(made, *[released] * 3, *[past()] * 4)) == [False] * 6 + [True]


def test_budgets_of_keys_count_too() -> None:
    own = budgets_for_key("k1", [BudgetSpec(period="total", limit_usd="1")], timezone="UTC")
    made = simulation("", keys={"k1": own})

    assert blocked(run(made, past(), past(), past(key_id="k2"))) == [False, True, False]
    assert made.tallies["key:k1:issued:total"].blocked == 1


def test_a_rate_lets_its_burst_through_and_then_what_leaks() -> None:
    made = simulation("teams: {search: {rate: {requests_per_minute: 60, burst: 2}}}")
    at = [0, 0, 0, 1, 1]

    outcomes = run(made, *(past(NOON + n * SECOND) for n in at))

    assert blocked(outcomes) == [False, False, True, False, True]
    assert made.tallies["team:search:rate"].blocked == 2


def test_a_rate_of_tokens_counts_what_was_really_used() -> None:
    made = simulation("teams: {search: {rate: {tokens_per_minute: 500}}}")

    assert blocked(run(made, *[past(tokens=100)] * 5)) == [False, False, False, False, True]


def test_calls_in_flight_keep_others_waiting_and_no_longer_than_they_may() -> None:
    """Two places; each call takes a minute."""
    text = "teams: {search: {rate: {max_concurrent: 2}}}"
    made = simulation(text, setting=Setting(hold_wait_seconds=30))
    flights = [past(NOON + n * SECOND, in_flight_us=60_000_000) for n in (0, 10, 20, 50)]

    outcomes = run(made, *flights)

    assert blocked(outcomes) == [False, False, True, False]
    assert [each.delay_us for each in outcomes] == [0, 0, 0, 10_000_000]
    tally = made.tallies["team:search:rate"]
    assert (tally.blocked, tally.delayed, tally.delay_us) == (1, 1, 10_000_000)


def test_a_throttle_rule_delays_and_refuses_what_would_wait_too_long() -> None:
    """Slowed to half of sixty calls a minute: one every two seconds, and nobody waits for more than three."""
    rule = "{rule_id: slow, threshold_type: operation_cost, threshold_value: 0.5, action: throttle}"
    made = simulation(f"rules: [{rule}]", setting=Setting(max_delay_seconds=3))
    cheap = [past(NOON + n * SECOND, cents=1) for n in range(60)]
    dear = [past(NOON + 60 * SECOND) for _ in range(3)]

    outcomes = run(made, *cheap, *dear)

    assert not any(blocked(outcomes[:60]))
    assert blocked(outcomes[60:]) == [False, False, True]
    tally = made.tallies["slow"]
    assert (tally.delayed, tally.blocked, tally.trips) == (1, 1, 1)
    assert tally.delay_us == pytest.approx(2_000_000, rel=0.1)


def test_a_rule_that_has_tripped_refuses_until_its_cooldown_is_over_and_then_tries() -> None:
    rule = "{rule_id: day, threshold_type: absolute_daily, threshold_value: 2, cooldown_minutes: 10, trial_calls: 1}"
    made = simulation(f"rules: [{rule}]")
    dear, cheap = past(cents=150), past(cents=1)

    outcomes = run(
        made,
        dear,
        dear,  # beyond the threshold: it trips
        cheap._replace(at=cheap.at + 60_000_000),  # would have room
        cheap._replace(at=cheap.at + 660_000_000),  # on trial
        cheap._replace(at=cheap.at + 661_000_000),
    )

    assert blocked(outcomes) == [False, True, True, False, False]
    assert made.tallies["day"].trips == 1


def test_shadow_rules_are_counted_and_refuse_nothing() -> None:
    rule = "{rule_id: dear, threshold_type: operation_cost, threshold_value: 1, mode: shadow}"
    made = simulation(f"rules: [{rule}]")

    assert blocked(run(made, past(), past(cents=99))) == [False, False]
    assert (made.tallies["dear"].shadow, made.tallies["dear"].blocked) == (1, 0)


def test_an_alert_of_a_window_is_told_once_and_one_of_a_call_each_time() -> None:
    made = simulation(
        "rules: [{rule_id: day, threshold_type: absolute_daily, threshold_value: 1, action: alert_only}, "
        "{rule_id: call, threshold_type: operation_cost, threshold_value: 1, action: alert_only}]"
    )

    run(made, past(), past(), past())

    assert (made.tallies["day"].alerts, made.tallies["call"].alerts) == (1, 3)


class Halved:
    """A cheaper model costs half; a token of output costs a cent."""

    def cost(self, call: PastCall, model: str, output_tokens: int | None) -> int | None:
        whole = call.cost if model == call.model else call.cost // 2
        return whole if output_tokens is None else output_tokens * CENT

    def affordable(self, call: PastCall, model: str, nanos: int) -> int | None:
        return nanos // CENT


DOWNGRADE = (
    "downgrades: {gpt-4o: gpt-4o-mini}\nrules: "
    "[{rule_id: less, threshold_type: operation_cost, threshold_value: 1, action: downgrade}]"
)


def test_a_cheaper_model_is_asked_for_and_its_saving_told() -> None:
    made = simulation(DOWNGRADE, costs=Halved())

    (outcome,) = run(made, past())

    assert (outcome.model, outcome.cost) == ("gpt-4o-mini", 50 * CENT)
    tally = made.tallies["less"]
    assert (tally.downgraded, tally.saved_nanos, tally.untold) == (1, 50 * CENT, 0)


def test_without_a_price_the_saving_is_not_told() -> None:
    made = simulation(DOWNGRADE)

    (outcome,) = run(made, past())

    tally = made.tallies["less"]
    assert (outcome.cost, tally.downgraded, tally.saved_nanos, tally.untold) == (100 * CENT, 1, 0, 1)


@pytest.mark.parametrize("kept", [{"fixed": True}, {"setting": Setting(edits=False)}])
def test_what_cannot_be_edited_stays_as_it_was(kept: dict[str, object]) -> None:
    setting = kept.pop("setting", Setting())
    assert isinstance(setting, Setting)
    made = simulation(DOWNGRADE, costs=Halved(), setting=setting)

    (outcome,) = run(made, past(**kept))  # type: ignore[arg-type]

    assert (outcome.model, made.tallies["less"].downgraded) == ("gpt-4o", 0)


def test_a_longer_answer_than_the_cap_is_cut() -> None:
    made = simulation("teams: {search: {max_output_tokens: 40}}", costs=Halved())

    long, short = run(made, past(), past(output_charged=40))

    assert (long.cost, short.cost) == (40 * CENT, 100 * CENT)
    tally = made.tallies["team:search:max_output_tokens"]
    assert (tally.capped, tally.saved_nanos) == (1, 60 * CENT)


def test_a_capped_budget_cuts_the_answer_to_what_is_left_and_refuses_what_is_too_short() -> None:
    text = "teams: {search: {budgets: [{period: daily, limit_usd: 1.5, hold: capped}]}}"
    made = simulation(text, costs=Halved())

    outcomes = run(made, past(), past(), past())

    assert blocked(outcomes) == [False, False, True]
    assert [each.cost for each in outcomes] == [100 * CENT, 50 * CENT, 0]
    assert made.tallies["team:search:daily"].capped == 1


def test_the_worst_hour_is_the_one_with_most_hits_the_earliest_of_several() -> None:
    made = simulation("teams: {search: {budgets: [{period: daily, limit_usd: 0}]}}")

    run(made, past(), *(past(NOON + n * timedelta(hours=1)) for n in (1, 1, 2, 2)))

    tally = made.tallies["team:search:daily"]
    assert tally.first_at == past().at
    assert tally.worst_hour == (past(NOON + timedelta(hours=1)).at, 2)


def test_a_model_that_is_not_allowed_is_refused_by_its_list() -> None:
    made = simulation("teams: {search: {models: [gpt-4o-mini]}}")

    (outcome,) = run(made, past())

    assert outcome == Outcome(True, "team:search:models")


def test_simulate_tells_how_many_times_the_usual_a_scope_spends() -> None:
    """Ten dollars in each hour of the days before; then a hundred within one."""
    start = int(NOON.timestamp()) // QUARTER_SECONDS
    quarters = {start - n: 250 * CENT for n in range(1, 15 * 96)}
    rule = "{rule_id: fast, threshold_type: spend_velocity, threshold_value: 3}"
    made = simulation(f"rules: [{rule}]")
    calls = [past(NOON + n * MINUTE, cents=500) for n in range(10)]
    outcomes = []
    for call in calls:
        counters, speeds = made.missing(call)
        for counter in counters:
            made.seed(counter, 0)
        for scope in speeds:
            made.seed_speed(scope, PastSpeed(quarters, start_minute=start * 15))
        outcomes.append(made.run(call))

    # Ten of the hour before and 5 a minute, less what has left the window: beyond thirty with the sixth call.
    assert blocked(outcomes) == [False] * 5 + [True] * 5
