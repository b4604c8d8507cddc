"""What a call would cost and whether it would go: the working, the balances, and how far off estimates were."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pricing import catalog
from pricing.charge import Basis, Charge
from pricing.estimate import FREE
from pricing.money import Nanos, nanos
from pricing.overrides import NONE, OverriddenBook
from pricing.tokens import Counter, Image, Prompt, TokenCount
from pricing.usage import Usage
from proxy.admin.answers import Problem
from proxy.admin.estimates import NO_LEDGER, NO_SERVER, Desk, Wanted, explain
from proxy.admin.report import report_estimates
from proxy.auth import Kind, mint
from proxy.dialects import Reading
from proxy.estimating import Habit, estimate_of
from proxy.holds.local import LocalHolds
from proxy.learned import CALLS_MIN, INPUT_CALLS_MIN, Learned
from proxy.ledger import Ledger, estimates, keys, sqlite_url
from proxy.ranks import load_ranks
from proxy.records import Settled
from proxy.settings import Config
from rules.budget import BudgetSpec
from rules.counter import claims_of
from rules.policy import EMPTY, Policy
from tests.support.records import NOON, refused, row, settled
from tests.unit.rules.build import call as facts
from tests.unit.rules.build import policy

BOOK = OverriddenBook(catalog.load(), NONE)
COUNTER = Counter(load_ranks().encodings)
CONFIG = Config.model_validate(
    {"providers": {"openai": {"dialect": "openai", "base_url": "https://api.openai.com/v1", "api_key": "k"}}}
)
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 100}
TEAM = 'budgets: [{{id: b, scope: "team:search", period: daily, limit_usd: "{usd}", hold: {hold}}}]'
PRICE = BOOK.find("openai", "gpt-4o-mini", NOON)
_numbers = count()


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = await Ledger.open(sqlite_url(tmp_path / "ledger.db"))
    yield opened
    await opened.close()


def desk(ledger: Ledger | None, rules: Policy, **more: Any) -> Desk:
    return Desk(CONFIG, BOOK, COUNTER, more.pop("learned", Learned()), lambda: rules, ledger, **more)


async def told(desk: Desk, request: dict[str, Any] = CHAT, **asked: Any) -> dict[str, Any]:
    return await explain(desk, Wanted(request=request, **{"team": "search", **asked}), NOON)


def call(
    cost: int, *, expected: int = 1_500, ceiling: int = 6_000, model: str = "gpt-4o-mini", output: int = 10
) -> Settled:
    made = replace(
        row(f"c{next(_numbers)}", outcome="answered"),
        model=model,
        estimate_expected_nanos=expected,
        estimate_ceiling_nanos=ceiling,
        estimate_basis="tiktoken o200k_base, default output",
        estimate_input_tokens=100,
    )
    usage = Usage(input_tokens=120, output_tokens=output)
    return Settled(made, Charge(Nanos(cost), Basis.REPORTED, usage, "v1"), ())


# -- the working ------------------------------------------------------------------------------------------------------


async def test_the_parts_come_to_the_count_and_the_classes_to_the_cost(ledger: Ledger) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    shape = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
    picture = {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}
    message = {"role": "user", "content": [{"type": "text", "text": "what is this?"}, picture]}
    request = {**CHAT, "messages": [message], "tools": [tool], "response_format": shape}

    found = await told(desk(ledger, EMPTY), request)

    parts = {part["part"]: part["tokens"] for part in found["input"]["parts"]}
    assert list(parts) == ["framing", "tools", "schema", "images", "texts"]
    assert parts["images"] == 2833, "a picture of low detail, by the published table"
    assert min(parts.values()) > 0
    assert sum(parts.values()) == found["input"]["counted"] == found["input"]["expected"]
    working = sum(Decimal(part["cost_usd"]) for part in found["price"]["parts"])
    assert nanos(working) == nanos(found["expected_usd"])
    assert found["output"] == {"choices": 1, "expected": 100, "max": 100, "learned": False}


async def test_what_was_learned_moves_what_is_expected_and_never_the_ceiling(ledger: Ledger) -> None:
    learned = Learned()
    for _ in range(max(CALLS_MIN, INPUT_CALLS_MIN)):
        learned.record("search", "gpt-4o-mini", "llm_call", 20)
        learned.record_input("gpt-4o-mini", counted=100, billed=150)

    plain = await told(desk(ledger, EMPTY))
    found = await told(desk(ledger, EMPTY, learned=learned))

    counted = plain["input"]["counted"]
    assert found["input"]["counted"] == counted
    assert found["input"]["expected"] == -(-counted * 3 // 2)
    assert found["input"]["max"] == plain["input"]["max"]
    assert (found["output"]["expected"], found["output"]["learned"]) == (20, True)
    assert nanos(found["expected_usd"]) == found["input"]["expected"] * 150 + 20 * 600
    assert found["ceiling_usd"] == plain["ceiling_usd"]
    assert found["basis"] == "tiktoken o200k_base, learned output, input x 1.5"


def test_a_ratio_learned_from_text_is_not_applied_to_pictures_or_bounds() -> None:
    assert PRICE is not None
    habit = Habit(20, 1500)
    words = TokenCount(100, 100, exact=True, basis="tiktoken o200k_base")
    text = Reading("m", Prompt(texts=("x",)), output_tokens_max=50)
    seen = replace(text, prompt=Prompt(texts=("x",), images=(Image(),)))

    made = estimate_of(text, words, PRICE, habit)
    assert made.expected == 150 * 150 + 20 * 600
    assert made.input_tokens == 100, "an observed charge stands on what was counted"
    assert estimate_of(seen, words, PRICE, habit).expected == 100 * 150 + 20 * 600
    bound = replace(words, basis="bytes")
    assert estimate_of(text, bound, PRICE, habit).expected == 100 * 150 + 20 * 600


# -- would it go ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usd", "hold", "verdict"),
    [
        ("1", "expected", "yes"),
        ("0.00001", "expected", "no"),
        ("0", "strict", "no"),
        ("0.00001", "strict", "no"),
        ("0.00002", "capped", "capped at 18 tokens"),
    ],
)
async def test_a_budget_answers_as_placing_a_hold_would(
    ledger: Ledger, usd: str, hold: str, verdict: str
) -> None:
    await ledger.ship([settled(nanos=7_500)])  # of team search, today

    found = await told(desk(ledger, policy(TEAM.format(usd=usd, hold=hold))))

    (limit,) = found["limits"]
    assert (limit["spent_usd"], limit["held_usd"]) == ("0.0000075", "0")
    assert nanos(limit["left_usd"]) == max(0, nanos(usd) - 7_500)
    assert (limit["allows"], found["allowed"]) == (verdict, verdict)
    assert found["notes"] == [NO_SERVER]


async def test_a_live_server_tells_what_is_held_and_that_a_call_would_wait(ledger: Ledger) -> None:
    holds, rules = LocalHolds(queue_max=1), policy(TEAM.format(usd="0.0001", hold="strict"))
    asked = desk(ledger, rules, holds=holds)
    before = await told(asked)
    assert before["allowed"] == "yes"

    (limit,) = rules.limits(facts(model="gpt-4o-mini"))
    holds.seed(limit.counter, nanos("0.00001"))
    claim = replace(claims_of([limit], FREE)[0], amount=nanos("0.00008"))
    await holds.place("other", [claim], NOON)
    (found,) = (await told(asked))["limits"]

    assert (found["spent_usd"], found["held_usd"], found["left_usd"]) == ("0.00001", "0.00008", "0.00001")
    assert found["allows"] == "after a wait"


async def test_a_model_that_is_not_allowed_is_refused_in_words(ledger: Ledger) -> None:
    found = await told(desk(ledger, policy("teams: {search: {models: [gpt-5*]}}")))

    assert found["allowed"] == "no"
    assert 'may not use model "gpt-4o-mini"' in found["refusal"]


async def test_without_a_ledger_the_cost_is_told_and_balances_are_not() -> None:
    found = await told(desk(None, policy(TEAM.format(usd="1", hold="strict"))))

    assert (found["limits"][0]["spent_usd"], found["limits"][0]["allows"]) == (None, "unknown")
    assert (found["allowed"], found["notes"]) == ("unknown", [NO_LEDGER])
    assert nanos(found["ceiling_usd"]) == found["input"]["max"] * 150 + 100 * 600


async def test_a_key_brings_its_team_and_its_own_budget(ledger: Ledger) -> None:
    spec = BudgetSpec.model_validate({"period": "total", "limit_usd": "0.00001", "hold": "strict"})
    _, made = mint(Kind.LIVE, now=NOON, team="search", budgets=(spec,))
    async with ledger.connect() as connection:
        await keys.add(connection, made)
    asked = desk(ledger, policy(TEAM.format(usd="1", hold="strict")))

    found = await told(asked, team=None, key=made.key_id)
    assert [(each["scope"], each["allows"]) for each in found["limits"]] == [
        ("team:search", "yes"),
        (f"key:{made.key_id}", "no"),
    ]
    assert (found["team"], found["allowed"]) == ("search", "no")

    async with ledger.connect() as connection:
        await keys.revoke(connection, made.key_id, NOON - timedelta(days=1))
    assert "the key is revoked" in (await told(asked, team=None, key=made.key_id))["notes"]
    with pytest.raises(Problem, match='the key is of team "search"'):
        await told(asked, team="mail", key=made.key_id)


@pytest.mark.parametrize(
    ("request_", "asked", "words"),
    [
        ({**CHAT, "model": 7}, {}, "model"),
        (CHAT, {"path": "/v1/models"}, "nothing|not metered"),
        (CHAT, {"path": "/nowhere"}, "no provider answers there"),
        (CHAT, {"provider": "nobody"}, "choose one of openai, sample"),
        (CHAT, {"key": "bcdfghjk"}, "no key has the id"),
    ],
)
async def test_what_cannot_be_estimated_says_why(
    ledger: Ledger, request_: dict[str, Any], asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(Problem, match=words):
        await told(desk(ledger, EMPTY), request_, **asked)


async def test_an_unknown_model_under_a_hard_budget_is_refused_and_else_priced_by_a_stand_in(
    ledger: Ledger,
) -> None:
    request = {**CHAT, "model": "gpt-4o-minni"}
    with pytest.raises(Problem, match="a hard budget covers this call"):
        await told(desk(ledger, policy(TEAM.format(usd="1", hold="strict"))), request)

    found = await told(desk(ledger, EMPTY), request)
    assert any("the dearest of its provider stands in" in note for note in found["notes"])


# -- what the ledger says ---------------------------------------------------------------------------------------------


async def test_lessons_are_the_newest_reported_answers_oldest_first(ledger: Ledger) -> None:
    at = [replace(each.row, at=NOON + timedelta(minutes=n)) for n, each in enumerate([call(1)] * 4)]
    made = [replace(call(5, output=n), row=replace(each, call_id=f"lesson{n}")) for n, each in enumerate(at)]
    assert made[3].charge is not None
    test_key = replace(made[3], charge=replace(made[3].charge, price_version=""))
    await ledger.ship([*made[:3], test_key, settled("e", basis=Basis.ESTIMATED), refused("r")])

    async with ledger.connect() as connection:
        found = await estimates.lessons(connection, limit=3)

    assert [each.output_tokens for each in found] == [1, 2]
    assert (found[0].team, found[0].model, found[0].operation) == ("search", "gpt-4o-mini", "llm_call")
    assert (found[0].counted_input, found[0].billed_input) == (100, 120)


async def test_errors_are_the_exact_median_and_percentile_of_each_model(ledger: Ledger) -> None:
    steady = [call(15 * n, expected=1_500) for n in range(1, 101)]  # 0.01, 0.02 ... 1.00
    wild = [call(cost, expected=1_000, ceiling=2_000, model="wild") for cost in (500, 1_000, 3_000)]
    free = [call(0, expected=0, ceiling=0, model="free")]
    await ledger.ship([*steady, *wild, *free, settled("e", basis=Basis.ESTIMATED)])

    found = await report_estimates(ledger, since=None, until=None)

    assert found["lines"] == [
        {"model": "gpt-4o-mini", "calls": 100, "median": "0.500", "p95": "0.950", "above_ceiling_percent": "0.0"},
        {"model": "wild", "calls": 3, "median": "1.000", "p95": "3.000", "above_ceiling_percent": "33.4"},
    ]  # fmt: skip
    late = await report_estimates(ledger, since=NOON + timedelta(seconds=1), until=None)
    assert late["lines"] == []
