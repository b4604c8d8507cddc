"""Names that callers choose: so many are counted apart, and the same ones after a restart."""

from dataclasses import replace
from datetime import timedelta

from proxy import dialects
from proxy.auth import Key, Kind
from proxy.callrow import AS_OTHER
from proxy.chosen import IDLE_DAYS, Chosen, day_of
from proxy.dialects import Surface
from proxy.opencall import OpenCall
from proxy.routing import Route
from rules.call import OTHER
from rules.policy import Policy
from rules.scope import Scope, ScopeKind
from tests.support.records import NOON, row
from tests.unit.rules.build import call, policy

ABOVE = "{scope: global, period: daily, limit_usd: 5}"
TWO = policy("names_max: 2")


def counted(
    chosen: Chosen, rules: Policy = TWO, *, user: str = "", category: str = "", days: int = 0
) -> OpenCall:
    at = NOON + timedelta(days=days)
    opened = OpenCall(
        row=row(at=at),
        started=0.0,
        route=Route("openai", "/v1/chat/completions", "", chosen=False),
        key=Key("k1", "search", Kind.LIVE, "", "", (), NOON),
        policy=rules,
        dialect=dialects.find("openai"),
        surface=Surface("metered"),
        call=replace(call(user=user, category=category), at=at),
    )
    chosen.count(opened)
    return opened


def is_other(opened: OpenCall, kind: ScopeKind = ScopeKind.USER) -> bool:
    """As counted, and as the row tells: the two never differ."""
    assert (AS_OTHER[kind] in opened.row.flags) == (kind in opened.call.as_other)
    assert (Scope(kind, OTHER) in opened.call.scopes()) == (kind in opened.call.as_other)
    return kind in opened.call.as_other


def test_names_beyond_the_bound_count_as_other_and_those_before_it_stay() -> None:
    chosen = Chosen()

    found = [
        is_other(counted(chosen, user=name)) for name in ("anna", "bert", "cleo", "anna", "dora", "bert")
    ]

    assert found == [False, False, True, False, True, False]


def test_users_and_categories_have_a_bound_each() -> None:
    chosen = Chosen()
    counted(chosen, user="anna", category="a")
    counted(chosen, user="bert", category="a")

    last = counted(chosen, user="cleo", category="b")

    assert (is_other(last), is_other(last, ScopeKind.CATEGORY)) == (True, False)


def test_a_call_without_names_counts_nowhere() -> None:
    assert counted(Chosen()).call.as_other == frozenset()


def test_names_of_the_file_need_no_room() -> None:
    rules = policy(
        f"names_max: 1\ncategories: [{{name: a}}]\nbudgets: [{ABOVE}, {{user: '*', period: daily, limit_usd: 1}}, "
        "{user: vip, period: daily, limit_usd: 2}]"
    )
    chosen = Chosen()
    counted(chosen, rules, user="anna", category="x")

    last = counted(chosen, rules, user="vip", category="a")

    assert last.call.as_other == frozenset()
    assert is_other(counted(chosen, rules, user="bert"))


def test_a_name_that_was_not_seen_for_long_makes_room() -> None:
    chosen = Chosen()
    counted(chosen, user="anna")
    counted(chosen, user="bert")
    counted(chosen, user="anna", days=5)

    assert is_other(counted(chosen, user="cleo", days=IDLE_DAYS - 1))
    assert not is_other(counted(chosen, user="cleo", days=IDLE_DAYS))
    assert is_other(counted(chosen, user="bert", days=IDLE_DAYS)), "its room is taken"
    assert not is_other(counted(chosen, user="anna", days=IDLE_DAYS))


def test_names_of_before_a_restart_keep_their_room() -> None:
    today = day_of(NOON)
    seen = [(Scope(ScopeKind.USER, name), today - 1) for name in ("anna", OTHER, "bert")]

    chosen = Chosen(seen)

    assert [is_other(counted(chosen, user=name)) for name in ("cleo", "anna", "bert")] == [True, False, False]


def test_a_lower_bound_keeps_whom_it_finds_and_lets_nobody_in() -> None:
    chosen, one = Chosen(), policy("names_max: 1")
    counted(chosen, user="anna")
    counted(chosen, user="bert")

    assert [is_other(counted(chosen, one, user=name)) for name in ("anna", "bert", "cleo")] == [
        False,
        False,
        True,
    ]
