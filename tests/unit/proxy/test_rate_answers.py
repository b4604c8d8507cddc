"""What answers tell of rates: the provider's under names of ours, refusals under those that SDKs know."""

from aiohttp.test_utils import make_mocked_request

from pricing.money import Nanos
from proxy import dialects
from proxy.answers import added_headers, problem
from proxy.errors import paced
from rules.counter import Limit, Measure, in_flight
from rules.rate import Pour, Standing
from rules.refusal import refusal_of_rate
from tests.support.rates import holds_of, rate
from tests.support.records import NOON, SEARCH
from tests.unit.proxy.test_till import open_call
from tests.unit.rules.build import call, policy

REQUESTS = rate(Measure.REQUESTS, 50, 600)


async def test_rate_of_a_relayed_answer_is_told_beside_the_provider_s_own() -> None:
    holds, opened = holds_of(), open_call(policy(""))
    opened.hold = await holds.place(
        "c1", (), NOON, pours=(Pour(REQUESTS, 1), Pour(rate(Measure.SPEND, 9, 9), 3))
    )

    told = dict(added_headers(opened, holds))

    rates = {name: value for name, value in told.items() if "ratelimit" in name}
    assert set(rates) == {
        f"x-spendgate-ratelimit-{name}-requests" for name in ("limit", "remaining", "reset")
    }
    assert rates["x-spendgate-ratelimit-limit-requests"] == "50"


async def test_rate_free_answers_tell_of_none_and_calls_in_flight_are_no_dollars_left() -> None:
    holds, opened = holds_of(), open_call(policy(""))
    opened.limits = (Limit(in_flight(SEARCH), Nanos(4), "search"),)
    opened.hold = await holds.place("c1", (), NOON)

    names = {name for name, _ in added_headers(opened, holds)}

    assert not [name for name in names if "ratelimit" in name]
    assert "x-spendgate-budget-remaining-usd" not in names


def test_rate_refusal_carries_its_headers_and_asks_for_another_try() -> None:
    refusal = refusal_of_rate(REQUESTS, 50, 1, 0.1, call())
    error = paced(refusal, (Standing(REQUESTS, 50),))

    answer = problem(
        make_mocked_request("POST", "/v1/chat/completions"),
        error,
        dialects.find("openai"),
        call_id="c1",
        trace_id="",
    )

    head = bytes(answer._data).partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert head[0].startswith("HTTP/1.1 429")
    assert {"Retry-After: 1", "x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 5s"} <= set(
        head
    )
    assert not [line for line in head if line.startswith("x-should-retry")]
