"""Overrides in a server's memory: who hears of one, and what it leaves alone."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from pricing.money import nanos
from proxy import clock
from proxy.auth import Keyring, Kind, mint
from proxy.breakers import Breakers, Forced
from proxy.ledger import Ledger, sqlite_url
from proxy.ledger.overrides import Override as Row
from proxy.overrides import KIND, BudgetOverrides, override_of, reset_breakers
from rules.alert import Alert
from rules.breaker import State
from rules.budget import BudgetSpec
from rules.rule import Rule, ThresholdType
from rules.scope import EVERYONE, Scope, ScopeKind
from tests.unit.proxy.test_reload_counters import ALL_DAILY, TEAM_TOTAL, Server
from tests.unit.rules.build import NOON

MINUTE = timedelta(minutes=1)
SEARCH, SHOP = Scope(ScopeKind.TEAM, "search"), Scope(ScopeKind.TEAM, "shop")
TEAM_ROW_LIMIT = str(nanos("2000"))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    ledger = await Ledger.open(sqlite_url(None))
    made = Server(tmp_path, ledger)
    made.shipper.start()
    yield made
    await made.shipper.close()
    made.journal.close()
    await ledger.close()


def row(id_: int = 1, *, budget: str = "team", scope: Scope = SEARCH) -> Row:
    facts = {
        "scope": str(scope),
        "period": "total",
        "previous_limit": str(nanos("1000")),
        "limit": TEAM_ROW_LIMIT,
        "authorized_by": "ops",
    }
    now = clock.now()
    return Row(KIND, budget, facts, "a launch", "ops", now, now + MINUTE, override_id=id_)


async def test_a_waiting_call_goes_by_an_override_and_not_by_an_edit_of_the_file(server: Server) -> None:
    server.reload(TEAM_TOTAL)
    waiting, standing = server.arrive("c1"), BudgetOverrides(server.swapping)

    standing.put([row()], clock.now())
    server.swapping.renew(waiting)
    assert waiting.policy is server.policy.now
    assert waiting.row.policy_version.endswith("+override1")
    (limit,) = waiting.policy.limits(waiting.call)
    assert limit.nanos == nanos("2000")

    server.reload(ALL_DAILY)
    server.swapping.renew(waiting)
    assert waiting.policy is not server.policy.now


async def test_an_override_stays_in_force_over_a_reload_and_ends_over_the_new_file(server: Server) -> None:
    server.reload(TEAM_TOTAL)
    standing, mine = BudgetOverrides(server.swapping), row()
    standing.put([mine], clock.now())

    server.reload(TEAM_TOTAL + "\n# edited")
    assert [budget.limit for budget in server.policy.now.budgets] == [nanos("2000")]
    file = server.swapping.file

    standing.enforce(clock.now() + MINUTE)
    assert server.policy.now is file
    assert standing.over(clock.now() + MINUTE) == [mine], "until the ledger knows"


async def test_an_edit_under_an_override_is_compared_with_the_file_and_not_with_the_raised_limit(
    server: Server,
) -> None:
    server.reload(TEAM_TOTAL)
    BudgetOverrides(server.swapping).put([row()], clock.now())

    server.reload(TEAM_TOTAL.replace("1000", "1500"))

    assert [budget.limit for budget in server.swapping.file.budgets] == [nanos("1500")]
    assert [budget.limit for budget in server.policy.now.budgets] == [nanos("2000")]


def test_a_keys_own_budget_is_raised_under_whatever_comes_and_goes() -> None:
    spec = BudgetSpec.model_validate({"period": "daily", "limit_usd": 5})
    _, kept = mint(Kind.LIVE, now=NOON, team="search", budgets=(spec,))
    keyring = Keyring([kept], timezone="UTC")
    raise_it = row(budget=f"key:{kept.key_id}:issued:daily", scope=Scope(ScopeKind.KEY, kept.key_id))
    (fresh,) = keyring.use_overrides([override_of(raise_it)])
    assert fresh.limit == nanos("2000")
    keyring.put(kept)
    keyring.use_timezone("Europe/Berlin")
    (budget,) = keyring.budgets
    assert (budget.limit, budget.timezone) == (nanos("2000"), "Europe/Berlin")
    assert [each.limit for each in keyring.issued_budgets(NOON)] == [nanos("5")]

    (back,) = keyring.use_overrides([])
    assert (back.limit, back.timezone) == (nanos("5"), "Europe/Berlin")
    keyring.put(replace(kept, revoked_at=NOON))
    assert keyring.issued_budgets(NOON) == []


@pytest.mark.parametrize(("scope", "left"), [(SEARCH, {SHOP}), (EVERYONE, set()), (SHOP, {SEARCH})])
def test_tripped_breakers_of_the_scope_are_reset_and_forced_ones_stay(scope: Scope, left: set[Scope]) -> None:
    told: list[Alert] = []
    breakers = Breakers(told.extend)
    rule = Rule("dear", ThresholdType.ABSOLUTE_DAILY, Decimal(50))
    for each in (SEARCH, SHOP):
        breakers.trip(rule, each, None, Decimal(51), NOON)
        breakers.force(Forced("stolen", each, is_open=True, reason="by hand", author="ops", at=NOON))

    reset = reset_breakers(breakers, [scope], "a launch", NOON)

    standing = {key for key, breaker in breakers.listed(NOON) if breaker.state is State.OPEN}
    assert reset == 2 - len(left)
    assert standing == {("stolen", SEARCH), ("stolen", SHOP), *(("dear", each) for each in left)}
    assert told[-1].message.endswith("is closed: emergency budget override: a launch")
