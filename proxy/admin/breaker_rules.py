"""Which rules have breakers, and in which scopes."""

from pricing.document import nearest
from proxy.admin.answers import Problem
from rules.policy import Policy
from rules.rule import Rule
from rules.scope import Scope, ScopeKind


def rule_of(policy: Policy, rule_id: str) -> Rule:
    """Raises Problem."""
    named = {rule.rule_id: rule for rule in policy.rules}
    if rule_id not in named:
        near = nearest(rule_id, sorted(named))
        hint = f'; did you mean "{near}"?' if near else ""
        raise Problem(404, "unknown_rule", f'no rule has the id "{rule_id[:80]}"{hint}')
    rule = named[rule_id]
    if not rule.has_breaker:
        raise Problem(
            409,
            "no_breaker",
            f'rule "{rule.rule_id}" has no breaker: it remembers nothing. Edit the rule itself.',
        )
    return rule


def scope_for(rule: Rule, scope: Scope | None) -> Scope | None:
    """Raises Problem: a breaker in a scope that the rule never looks at would do nothing, and nobody would notice."""
    if rule.per is not None:
        kinds: tuple[ScopeKind, ...] = (rule.per.kind,)
    elif rule.threshold_type.is_percentage:
        kinds = (ScopeKind.TEAM, ScopeKind.GLOBAL)
    else:
        kinds = (ScopeKind.TEAM,)
    if scope is not None and scope.kind not in kinds:
        known = " or ".join("global" if kind is ScopeKind.GLOBAL else f"{kind.value}:NAME" for kind in kinds)
        raise Problem(400, "invalid_request", f'scope: rule "{rule.rule_id}" is measured per {known}')
    return scope
