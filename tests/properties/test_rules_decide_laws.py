"""Laws: deciding never raises and always gives a reason; shadow rules change nothing; a file is a policy or an error."""

import json
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from pricing.document import DocumentError, Problem, parse
from pricing.estimate import Estimate
from pricing.money import Nanos
from rules.breaker import Breaker, Cause, State
from rules.budget import Budget, BudgetSpec, budgets_for_key
from rules.call import Call, CallId, Operation
from rules.counter import Balance, CounterKey
from rules.decide import Decision, Verdict, decide
from rules.policy import Policy, load_policy
from rules.rate import BucketKey
from rules.rule import Action, ThresholdType
from rules.scope import Scope
from tests.unit.rules.build import NOON

names = st.sampled_from(["search", "chat", "k1", "k2", "gpt-4o", "o3", "openai"])
patterns = st.lists(
    st.sampled_from(["*", "s*", "gpt-*", "o?", "[ok]*", "k1", "openai", "llm_call"]), min_size=1
)
money = st.sampled_from([0, 1, "0.000000001", "0.5", "20", "1000000000"])
positive = st.sampled_from([1, "0.000000001", "0.5", "20", "100"])
periods = st.sampled_from(["hourly", "daily", "weekly", "monthly", "total"])
holds = st.sampled_from(["expected", "strict", "capped"])


def objects(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


budgets = objects(
    {"period": periods, "limit_usd": st.none() | money}, {"hold": holds, "thresholds": st.just([50, "99.5"])}
)
scopes = st.sampled_from(
    ["global", "team:search", "team:*", "key:k1", "key:*", "model:o3", "provider:openai"]
)
rates = objects({"requests_per_minute": st.just(5)}, {"burst": st.just(2), "max_concurrent": st.just(3)})
allowances = objects(
    {},
    {
        "budgets": st.lists(budgets, max_size=2),
        "models": patterns,
        "rate": rates,
        "max_output_tokens": st.just(100),
    },
)
rules = objects(
    {
        "threshold_type": st.sampled_from([kind.value for kind in ThresholdType]),
        "threshold_value": positive,
    },
    {
        "action": st.sampled_from([action.value for action in Action]),
        "mode": st.sampled_from(["enforce", "shadow"]),
        "per": st.sampled_from(["global", "team", "key"]),
        "priority": st.integers(-5, 5),
        "cooldown_minutes": st.sampled_from([0, 5]),
        "on_error": st.sampled_from(["block", "allow"]),
        "applies_to_models": patterns,
        "applies_to_operations": patterns,
        "applies_to_users": patterns,
        "applies_to_categories": patterns,
        "applies_to_keys": patterns,
    },
).map(lambda rule: fitting(rule))
WHOLE = {"requests_per_minute", "tokens_per_minute", "repeat_calls", "spend_velocity"}


def fitting(rule: dict[str, Any]) -> dict[str, Any]:
    """With a threshold that its type can have, and what its action needs."""
    whole = {"threshold_value": 2} if rule["threshold_type"] in WHOLE else {}
    needs = {"max_output_tokens": 10} if rule.get("action") == "cap" else {}
    return rule | whole | needs


files = objects(
    {"version": st.just(1)},
    {
        "timezone": st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
        "default_team": allowances,
        "teams": st.dictionaries(names, allowances, max_size=3),
        "keys": st.dictionaries(names, allowances, max_size=2),
        "budgets": st.lists(
            st.builds(lambda one, scope: one | {"scope": scope}, budgets, scopes), max_size=3
        ),
        "rules": st.lists(rules, max_size=4),
        "models": st.dictionaries(names, objects({"max_output_tokens": st.just(50)}, {}), max_size=2),
    },
)


def numbered(file: dict[str, Any]) -> dict[str, Any]:
    """Ids of its own for everything that needs one."""
    allowances = [
        file.get("default_team", {}),
        *file.get("teams", {}).values(),
        *file.get("keys", {}).values(),
    ]
    lists = [file.get("budgets", []), *(allowance.get("budgets", []) for allowance in allowances)]
    count = 0
    for listed in lists:
        for n, budget in enumerate(listed):
            listed[n] = budget | {"id": f"b{count}"}
            count += 1
    file["rules"] = [rule | {"rule_id": f"r{n}"} for n, rule in enumerate(file.get("rules", []))]
    file["downgrades"] = {"gpt-*": "o3"}
    return file


def loaded(file: dict[str, Any]) -> Policy:
    return load_policy(parse(json.dumps(file, ensure_ascii=False), file="rules.yaml", environ={}))


calls = st.builds(
    Call,
    id=st.just(CallId("c1")),
    at=st.just(NOON),
    operation=st.sampled_from(Operation),
    provider=st.sampled_from(["openai", "other"]),
    model=st.text(max_size=8) | names,
    team=st.text(max_size=8) | names,
    key_id=st.text(max_size=8) | names,
    user=st.text(max_size=8),
    category=st.text(max_size=8),
)
amounts = st.integers(0, 10**18).map(Nanos)
estimates = st.builds(
    lambda low, more: Estimate(low, Nanos(low + more), 0.5, "law", 1, 1, 1, 1), amounts, amounts
)
key_budgets = st.lists(budgets.map(BudgetSpec.model_validate), max_size=2).map(
    lambda specs: budgets_for_key("k1", specs, timezone="UTC")
)


@dataclass(frozen=True)
class World:
    """One figure for each question, whoever it is about; None: it cannot be told."""

    known: Balance | None
    bucket: int | None
    state: State | None
    times: Decimal | None
    count: int | None

    def balance(self, counter: CounterKey) -> Balance:
        return told(self.known)

    def used(self, bucket: BucketKey) -> int:
        return told(self.bucket)

    def breaker(self, rule_id: str, scope: Scope, causes: tuple[Cause, ...]) -> Breaker | None:
        return None if self.state is None else Breaker(NOON, self.state, until=NOON)

    def velocity(self, scope: Scope, minutes: int) -> Decimal | None:
        return self.times

    def repeats(self, scope: Scope, minutes: int) -> int:
        return told(self.count)


T = TypeVar("T")


def told(figure: T | None) -> T:
    if figure is None:
        raise OSError("nobody knows")
    return figure


worlds = st.builds(
    World,
    known=st.none() | st.builds(Balance, amounts | st.just(Nanos(-1)), amounts),
    bucket=st.none() | st.integers(0, 10),
    state=st.none() | st.sampled_from(State),
    times=st.none() | st.decimals(0, 100, places=1),
    count=st.none() | st.integers(1, 5),
)


def judge(policy: Policy, call: Call, estimate: Estimate, own: tuple[Budget, ...], world: World) -> Decision:
    return decide(policy, call, estimate, key_budgets=own, figures=world, now=NOON)


@given(file=files.map(numbered), call=calls, estimate=estimates, own=key_budgets, world=worlds)
def test_every_call_gets_a_verdict_and_a_reason(
    file: dict[str, Any], call: Call, estimate: Estimate, own: tuple[Budget, ...], world: World
) -> None:
    decision = judge(loaded(file), call, estimate, own, world)

    assert decision.reason
    assert (decision.verdict is Verdict.BLOCK) == (decision.refusal is not None)
    assert decision.refusal is None or decision.refusal.sentence
    assert not set(decision.matched) & set(decision.shadow)
    assert len({alert.key for alert in decision.alerts}) == len(decision.alerts)


@given(file=files.map(numbered), call=calls, estimate=estimates, own=key_budgets, world=worlds)
def test_shadow_rules_change_nothing_but_what_is_told_of_them(
    file: dict[str, Any], call: Call, estimate: Estimate, own: tuple[Budget, ...], world: World
) -> None:
    shadows = {rule["rule_id"] for rule in file["rules"] if is_shadow(rule)}
    bare = file | {"rules": [rule for rule in file["rules"] if rule["rule_id"] not in shadows]}

    judged, without = (judge(loaded(each), call, estimate, own, world) for each in (file, bare))

    assert set(judged.shadow) <= shadows
    assert acted(judged) == acted(without)
    assert enforced(judged) == enforced(without)


def is_shadow(rule: dict[str, Any]) -> bool:
    usual = "shadow" if rule["threshold_type"] == "repeat_calls" else "enforce"
    return bool(rule.get("mode", usual) == "shadow")


def acted(decision: Decision) -> Decision:
    """All that anybody but a reader of the row would notice."""
    return replace(decision, shadow=(), limits=(), rates=())


def enforced(decision: Decision) -> list[object]:
    limits = [limit for limit in decision.limits if limit.nanos is not None]
    return [*limits, *(rate for rate in decision.rates if not rate.watched)]


@given(file=files.map(numbered), call=calls, estimate=estimates, own=key_budgets, world=worlds)
def test_every_limit_is_over_a_counter_of_the_call_at_its_time(
    file: dict[str, Any], call: Call, estimate: Estimate, own: tuple[Budget, ...], world: World
) -> None:
    policy = loaded(file)
    decision = judge(policy, call, estimate, own, world)

    for limit in decision.limits:
        window = limit.counter.window
        assert window.start <= call.at
        assert window.end is None or call.at < window.end
    assert judge(policy, call, estimate, own, world) == decision


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
sections = [
    "timezone",
    "thresholds",
    "default_team",
    "teams",
    "keys",
    "budgets",
    "rules",
    "routes",
    "categories",
]


@given(file=st.dictionaries(st.sampled_from(sections), anything, max_size=4))
def test_whatever_stands_in_a_file_is_a_policy_or_an_error_that_tells_why(file: dict[str, Any]) -> None:
    told = problems(file)

    assert told is None or all(problem.message for problem in told)


def problems(file: dict[str, Any]) -> tuple[Problem, ...] | None:
    try:
        loaded(file)
    except DocumentError as error:
        return error.problems
    return None
