"""What a provider says that a call cost, and what of that cannot be true."""

import json
from decimal import ROUND_CEILING, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.money import Nanos
from proxy import dialects
from proxy.dialects import Metered, Reading
from proxy.dialects.own_cost import ABSURD_USD, OwnCost, read_own_cost
from proxy.dialects.prompt import Gathered
from proxy.meter import parsed

BYOK = {"is_byok": True, "cost": 0.00001}


@pytest.mark.parametrize(
    ("block", "nanos"),
    [
        pytest.param({}, None, id="none"),
        pytest.param(None, None, id="no usage"),
        pytest.param({"cost": None, "cost_in_usd_ticks": None}, None, id="null"),
        pytest.param({"cost": 0.000412}, 412_000, id="OpenRouter"),
        pytest.param({"cost": 2.4e-05}, 24_000, id="with an exponent"),
        pytest.param({"cost": 1}, 10**9, id="whole dollars"),
        pytest.param({"cost": 0}, 0, id="nothing"),
        pytest.param({"cost": 1e-300}, 1, id="less than money can hold"),
        pytest.param({"cost": 0.0000000011}, 2, id="rounded up"),
        pytest.param({"cost_in_usd_ticks": 34_260_000}, 3_426_000, id="xAI"),
        pytest.param({"cost_in_usd_ticks": 1}, 1, id="a tick is a tenth of a nano-dollar"),
        pytest.param({"cost_in_usd_ticks": 11}, 2, id="eleven ticks"),
        pytest.param({"cost": {"request_cost": 0.006, "total_cost": 0.010611}}, 10_611_000, id="Perplexity"),
        pytest.param({"cost": {"currency": "USD", "total_cost": 0.01}}, 10_000_000, id="in dollars"),
        pytest.param({"cost": {"request_cost": 0.006}}, None, id="no sum"),
        pytest.param(
            {**BYOK, "cost_details": {"upstream_inference_cost": 0.0002}}, 210_000, id="fee and upstream"
        ),
        pytest.param(
            {"is_byok": True, "cost": 4e-10, "cost_details": {"upstream_inference_cost": 4e-10}},
            1,
            id="the sum is rounded once",
        ),
        pytest.param({**BYOK, "cost_details": {}}, None, id="a fee alone is not the cost"),
        pytest.param(
            {"is_byok": False, "cost": 0.1, "cost_details": {"upstream_inference_cost": 0.09}},
            100_000_000,
            id="upstream is inside the cost",
        ),
    ],
)
def test_the_cost_of_a_usage_is_read_to_the_nano_dollar(block: Any, nanos: Nanos | None) -> None:
    assert read_own_cost(block) == OwnCost(nanos)


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"cost": -0.1}, "negative"),
        ({"cost": float("nan")}, "no number"),
        ({"cost": float("inf")}, "no number"),
        ({"cost": "0.1"}, "no number"),
        ({"cost": True}, "no number"),
        ({"cost": [1]}, "no number"),
        ({"cost": ABSURD_USD + 1}, "absurd"),
        ({"cost": 1e300}, "absurd"),
        ({"cost": 10**5000}, "absurd"),
        ({"cost_in_usd_ticks": -1}, "negative"),
        ({"cost_in_usd_ticks": "many"}, "no number"),
        ({"cost_in_usd_ticks": (ABSURD_USD + 1) * 10**10}, "absurd"),
        ({"cost": {"total_cost": "free"}}, "no number"),
        ({"cost": {"currency": "EUR", "total_cost": 0.1}}, "not USD"),
        ({"is_byok": True, "cost": -1, "cost_details": {"upstream_inference_cost": 1}}, "negative"),
        ({**BYOK, "cost_details": {"upstream_inference_cost": -1}}, "negative"),
    ],
)
def test_a_cost_that_cannot_be_true_is_not_taken_and_told(block: dict[str, Any], problem: str) -> None:
    told = read_own_cost(block)

    assert told.nanos is None
    assert problem in told.problem


@given(st.decimals(0, ABSURD_USD, allow_nan=False, places=11))
def test_what_is_written_is_what_is_taken_rounded_up_once(usd: Decimal) -> None:
    written = json.loads(f'{{"cost": {usd:f}}}')
    if Decimal(repr(written["cost"])) != usd:
        return  # more digits than a number in JSON keeps

    exact = (usd * 10**9).to_integral_value(rounding=ROUND_CEILING)
    assert read_own_cost(written) == OwnCost(Nanos(int(exact)))


@given(st.dictionaries(st.sampled_from(["cost", "cost_in_usd_ticks", "is_byok", "cost_details"]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.dictionaries(
        st.sampled_from(["total_cost", "upstream_inference_cost", "currency"]), inner
    ),
    max_leaves=5,
)))  # fmt: skip
def test_no_usage_raises_or_costs_less_than_nothing(block: dict[str, Any]) -> None:
    told = read_own_cost(block)

    assert told.nanos is None or (told.nanos >= 0 and not told.problem)


# -- in streams -----------------------------------------------------------------------------------------------------


def streamed(*usages: dict[str, Any]) -> Metered:
    api = dialects.find("openai").surface("POST", "/v1/chat/completions").api
    assert api is not None
    meter = api.meter(Reading("m", Gathered(0).prompt(), stream=True), withhold_usage=False)
    for usage in usages:
        meter.feed(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
    meter.feed(b"data: [DONE]\n\n")
    meter.end()
    return meter.result()


def test_a_cost_goes_with_its_usage() -> None:
    """One of fewer tokens is no cost of all of them; the same usage again takes none back."""
    first = {"prompt_tokens": 5, "completion_tokens": 1}
    grown = {"prompt_tokens": 5, "completion_tokens": 2}

    assert streamed({**first, "cost": 0.1}, {**grown, "cost": 0.2}).own_cost == 200_000_000
    assert streamed({**first, "cost": 0.1}, grown).own_cost is None
    assert streamed({**first, "cost": 0.1}, first).own_cost == 100_000_000


def test_a_streamed_cost_that_is_no_number_is_told() -> None:
    assert parsed(b'{"cost": NaN}') is not None
    told = streamed({"prompt_tokens": 5, "completion_tokens": 1, "cost": float("nan")})

    assert (told.own_cost, told.own_cost_problem) == (None, "cost is no number")
    assert not told.suspect
