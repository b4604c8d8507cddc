"""What a call is charged, for every way it can end: the money rules row by row."""

from typing import Any

import pytest

from pricing.charge import PROVIDER_COST, Basis, Charge, Outcome, Seen, charge_for
from pricing.money import Nanos, nanos
from pricing.price import Rates, Tariff
from pricing.usage import Usage
from tests.unit.pricing.build import estimate, per_mtok, price

IN, OUT = 2_000, 10_000  # nano-dollars a token
PRICE = price(
    variants={
        "priority": Tariff(Rates(input=per_mtok("4"), output=per_mtok("20"))),
        "flex": Tariff(Rates(input=per_mtok("1"), output=per_mtok("5"))),
    }
)
BEFORE = estimate(expected="0.007", ceiling="0.05", input_tokens=1_000, output_tokens=500)
TOLD = Usage(input_tokens=900, output_tokens=100)
SEEN, NOTHING_SEEN = Seen(output_tokens=40, quarter_second_tokens=10), Seen()


def charged(
    outcome: Outcome,
    *,
    usage: Usage | None = None,
    suspect: bool = False,
    seen: Seen = NOTHING_SEEN,
    final: bool = True,
    service_tier: str = "",
    asked_tier: str = "",
    unpriced: bool = False,
    own_cost: Nanos | None = None,
    own_cost_problem: str = "",
) -> Charge:
    made = charge_for(
        outcome,
        price=PRICE,
        estimate=BEFORE,
        usage=usage,
        suspect=suspect,
        seen=seen,
        final=final,
        service_tier=service_tier,
        asked_tier=asked_tier,
        unpriced=unpriced,
        own_cost=own_cost,
        own_cost_problem=own_cost_problem,
    )
    assert made is not None, f"{outcome} is not charged"
    return made


@pytest.mark.parametrize("usage", [None, TOLD])
def test_what_was_never_sent_is_released_and_not_charged(usage: Usage | None) -> None:
    assert charge_for(Outcome.NOT_SENT, price=PRICE, estimate=BEFORE, usage=usage, seen=SEEN) is None


def test_a_refusal_of_the_provider_costs_nothing_and_is_reported() -> None:
    charge = charged(Outcome.PROVIDER_REFUSED)

    assert charge == Charge(nanos("0"), Basis.REPORTED, Usage(), PRICE.version)


@pytest.mark.parametrize("outcome", [Outcome.ANSWERED, Outcome.BROKEN, Outcome.CLIENT_LEFT, Outcome.FAILED])
def test_a_reported_usage_is_charged_as_reported_however_the_call_ended(outcome: Outcome) -> None:
    charge = charged(outcome, usage=TOLD, seen=Seen(output_tokens=9_999))

    assert charge == Charge(nanos("0.0028"), Basis.REPORTED, TOLD, PRICE.version)


def test_an_explicit_zero_stays_zero() -> None:
    charge = charged(Outcome.ANSWERED, usage=Usage(), seen=SEEN)

    assert (charge.nanos, charge.basis, charge.reason) == (0, Basis.REPORTED, "")


def test_a_bill_above_the_ceiling_is_charged_in_full() -> None:
    charge = charged(Outcome.ANSWERED, usage=Usage(input_tokens=1_000_000, output_tokens=1_000_000))

    assert charge.nanos == nanos("12") > BEFORE.ceiling


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome.ANSWERED, "the provider reported no usage"),
        (Outcome.BROKEN, "the provider's answer broke off before its usage"),
    ],
)
def test_without_a_usage_input_and_what_was_seen_are_charged(outcome: Outcome, reason: str) -> None:
    charge = charged(outcome, seen=SEEN)

    assert charge.nanos == 1_000 * IN + 40 * OUT
    assert charge.usage == Usage(input_tokens=1_000, output_tokens=40)
    assert (charge.basis, charge.flags, charge.reason) == (Basis.OBSERVED, (), reason)


@pytest.mark.parametrize("outcome", [Outcome.ANSWERED, Outcome.BROKEN])
def test_a_usage_that_fails_its_check_cannot_make_a_call_cheap(outcome: Outcome) -> None:
    charge = charged(outcome, usage=Usage(input_tokens=1, output_tokens=1), suspect=True, seen=SEEN)

    assert charge.nanos == 1_000 * IN + 40 * OUT
    assert charge.usage == Usage(input_tokens=1_000, output_tokens=40)
    assert (charge.basis, charge.flags) == (Basis.OBSERVED, ("usage_suspect",))
    assert "failed its check" in charge.reason


def test_of_a_usage_that_fails_its_check_the_plausible_part_counts_where_it_is_more() -> None:
    plausible = Usage(input_tokens=2_000, output_tokens=200)

    charge = charged(Outcome.ANSWERED, usage=plausible, suspect=True, seen=SEEN)

    assert charge.nanos == 2_000 * IN + 200 * OUT
    assert charge.usage == plausible
    assert charge.flags == ("usage_suspect",)


def test_an_unreadable_usage_is_flagged_although_nothing_of_it_was_plausible() -> None:
    charge = charged(Outcome.ANSWERED, usage=None, suspect=True, seen=SEEN)

    assert (charge.nanos, charge.flags) == (1_000 * IN + 40 * OUT, ("usage_suspect",))


def test_a_failure_after_sending_is_charged_at_input_and_the_output_expected() -> None:
    charge = charged(Outcome.FAILED)

    assert charge.nanos == 1_000 * IN + 500 * OUT == BEFORE.expected
    assert charge.usage == Usage(input_tokens=1_000, output_tokens=500)
    assert (charge.basis, charge.flags) == (Basis.ESTIMATED, ())
    assert charge.reason == "the provider failed after the request was sent"


def test_a_reused_connection_that_died_unanswered_costs_nothing_and_is_flagged() -> None:
    charge = charged(Outcome.UNPROVEN)

    assert (charge.nanos, charge.basis, charge.usage) == (0, Basis.ESTIMATED, Usage())
    assert charge.flags == ("unproven",)
    assert charge.reason


def test_a_client_that_left_pays_what_was_seen_and_a_quarter_of_a_second_more() -> None:
    charge = charged(Outcome.CLIENT_LEFT, seen=SEEN)

    assert charge.nanos == 1_000 * IN + 50 * OUT
    assert charge.usage == Usage(input_tokens=1_000, output_tokens=50)
    assert (charge.basis, charge.flags) == (Basis.OBSERVED, ())
    assert charge.reason == "the client left and the call was cancelled"


def test_a_client_that_left_before_the_first_token_pays_the_input() -> None:
    assert charged(Outcome.CLIENT_LEFT).nanos == 1_000 * IN


@pytest.mark.parametrize(
    ("outcome", "flags"), [(Outcome.LOST, ("lost",)), (Outcome.FAILED, ())], ids=["lost", "failed"]
)
@pytest.mark.parametrize(("seen", "output"), [(0, 500), (499, 500), (501, 501), (2_000, 2_000)])
def test_an_estimated_charge_is_as_expected_and_never_under_what_was_seen(
    outcome: Outcome, flags: tuple[str, ...], seen: int, output: int
) -> None:
    charge = charged(outcome, seen=Seen(output_tokens=seen))

    assert charge.nanos == 1_000 * IN + output * OUT
    assert (charge.basis, charge.flags) == (Basis.ESTIMATED, flags)


def test_a_process_that_died_cannot_have_read_a_usage() -> None:
    assert charged(Outcome.LOST, usage=Usage()).nanos == BEFORE.expected


def test_an_estimated_charge_is_never_under_the_estimate() -> None:
    dear = estimate(expected="0.03", ceiling="0.05", input_tokens=1_000, output_tokens=500)

    charge = charge_for(Outcome.LOST, price=PRICE, estimate=dear, usage=None)

    assert charge is not None
    assert charge.nanos == nanos("0.03")


@pytest.mark.parametrize(
    ("outcome", "usage", "tokens"),
    [
        (Outcome.ANSWERED, TOLD, (900, 100)),
        (Outcome.ANSWERED, None, (1_000, 1_000)),
        (Outcome.CLIENT_LEFT, None, (1_000, 1_250)),
        (Outcome.FAILED, None, (1_000, 1_000)),
        (Outcome.LOST, None, (1_000, 1_000)),
    ],
)
def test_the_tier_that_served_the_call_sets_the_tariff_of_every_charge(
    outcome: Outcome, usage: Usage | None, tokens: tuple[int, int]
) -> None:
    seen = Seen(output_tokens=1_000, quarter_second_tokens=250)

    charge = charged(outcome, usage=usage, seen=seen, service_tier="priority")

    assert charge.nanos == 2 * (tokens[0] * IN + tokens[1] * OUT)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.NOT_SENT])
def test_a_call_without_a_known_price_is_flagged_however_it_ended(outcome: Outcome) -> None:
    flagged = charged(outcome, unpriced=True, seen=SEEN)
    plain = charged(outcome, seen=SEEN)

    assert flagged.flags == ("unknown_price", *plain.flags)
    assert flagged.nanos == plain.nanos


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.NOT_SENT])
def test_every_charge_names_the_price_it_was_made_with(outcome: Outcome) -> None:
    assert charged(outcome).price_version == "maker/m-1@1"


@pytest.mark.parametrize(("asked", "usd"), [("", "0.0028"), ("flex", "0.0028"), ("priority", "0.0056")])
def test_a_tier_that_nobody_told_of_is_the_dearer_of_the_standard_and_the_one_asked_for(
    asked: str, usd: str
) -> None:
    assert charged(Outcome.ANSWERED, usage=TOLD, asked_tier=asked).nanos == nanos(usd)


def test_a_tier_that_the_provider_told_of_counts_whatever_was_asked_for() -> None:
    charge = charged(Outcome.ANSWERED, usage=TOLD, service_tier="flex", asked_tier="priority")

    assert charge.nanos == nanos("0.0014")


def test_an_answer_that_cannot_be_read_costs_its_input_and_the_likely_output() -> None:
    charge = charged(Outcome.UNREADABLE, seen=SEEN)

    assert (charge.nanos, charge.basis) == (1_000 * IN + 500 * OUT, Basis.ESTIMATED)
    assert charge.flags == ("unreadable",)


def test_a_count_that_ran_along_is_a_lower_bound_of_what_was_seen() -> None:
    early = charged(Outcome.BROKEN, usage=Usage(), final=False, seen=SEEN)
    late = charged(
        Outcome.CLIENT_LEFT, usage=Usage(input_tokens=1_000, output_tokens=400), final=False, seen=SEEN
    )

    assert (early.nanos, early.basis, early.flags) == (1_000 * IN + 40 * OUT, Basis.OBSERVED, ())
    assert (late.nanos, late.basis, late.flags) == (1_000 * IN + 400 * OUT, Basis.OBSERVED, ())


def test_the_input_that_was_told_before_the_output_counts_when_the_answer_breaks_off() -> None:
    """Anthropic tells what was read from its cache at the start: far cheaper than what a count can know."""
    told = Usage(input_tokens=1_000, cache_read_tokens=900, output_tokens=1)
    charge = charged(Outcome.BROKEN, usage=told, final=False, seen=SEEN)

    assert (charge.usage.cache_read_tokens, charge.usage.output_tokens) == (900, 40)
    assert charge.nanos == PRICE.cost(charge.usage).nanos


# -- the provider's own figure --------------------------------------------------------------------------------------


@pytest.mark.parametrize("usd", ["0.001", "0.0027", "0.0029", "0.9"])
def test_the_providers_own_cost_goes_before_the_price_and_both_are_told(usd: str) -> None:
    charge = charged(Outcome.ANSWERED, usage=TOLD, own_cost=nanos(usd))

    assert charge == Charge(
        nanos(usd),
        Basis.REPORTED,
        TOLD,
        PRICE.version,
        (PROVIDER_COST,),
        f"the provider told its cost, ${usd}: by its price it would be $0.0028",
    )


def test_an_own_cost_that_is_the_price_needs_no_words() -> None:
    charge = charged(Outcome.ANSWERED, usage=TOLD, own_cost=nanos("0.0028"))

    assert (charge.nanos, charge.flags, charge.reason) == (nanos("0.0028"), (PROVIDER_COST,), "")


def test_an_own_cost_of_nothing_is_not_believed_where_the_tokens_have_a_price() -> None:
    billed = charged(Outcome.ANSWERED, usage=TOLD, own_cost=Nanos(0))
    nothing = charged(Outcome.ANSWERED, usage=Usage(), own_cost=Nanos(0))

    assert (billed.nanos, billed.basis, billed.flags) == (nanos("0.0028"), Basis.REPORTED, ("usage_suspect",))
    assert "it is 0" in billed.reason
    assert (nothing.nanos, nothing.flags) == (0, (PROVIDER_COST,))


def test_an_own_cost_that_cannot_be_true_leaves_the_price_and_is_told() -> None:
    charge = charged(Outcome.ANSWERED, usage=TOLD, own_cost_problem="cost is negative")

    assert (charge.nanos, charge.flags) == (nanos("0.0028"), ("usage_suspect",))
    assert "cost is negative" in charge.reason


def test_an_own_cost_leaves_the_flag_of_an_unknown_model() -> None:
    charge = charged(Outcome.ANSWERED, usage=TOLD, own_cost=nanos("0.5"), unpriced=True)

    assert charge.flags == ("unknown_price", PROVIDER_COST)


def test_an_own_cost_replaces_the_guess_for_what_has_no_price() -> None:
    searched = Usage(input_tokens=900, output_tokens=100, web_searches=2)

    assert charged(Outcome.ANSWERED, usage=searched).flags == ("unpriced_class",)
    assert charged(Outcome.ANSWERED, usage=searched, own_cost=nanos("0.5")).flags == (PROVIDER_COST,)


@pytest.mark.parametrize(
    ("outcome", "more"),
    [
        (Outcome.ANSWERED, {"suspect": True}),
        (Outcome.BROKEN, {"final": False}),
        (Outcome.LOST, {}),
        (Outcome.PROVIDER_REFUSED, {}),
    ],
)
def test_an_own_cost_counts_only_with_a_usage_that_is_charged(outcome: Outcome, more: dict[str, Any]) -> None:
    with_it = charged(outcome, usage=TOLD, seen=SEEN, own_cost=nanos("0.000001"), **more)

    assert with_it == charged(outcome, usage=TOLD, seen=SEEN, **more)
