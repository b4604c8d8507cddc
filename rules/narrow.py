"""Budgets of users and categories. Callers choose those names, so such a budget only narrows what others allow."""

from collections.abc import Iterator, Sequence

from pricing.document import Document, Place, Problem, path_of
from rules.budget import Budget
from rules.scope import ScopeKind
from rules.spec import EACH

CHOSEN = frozenset({ScopeKind.USER, ScopeKind.CATEGORY})
"""Kinds whose names callers choose."""
NAMES_COUNTED = 1_000
"""Distinct names of each such kind that are counted apart, where the file does not say otherwise; all others share one."""
NAMES_COUNTED_MAX = 10_000  # each has counters in memory

_ABOVE = frozenset({ScopeKind.GLOBAL, ScopeKind.TEAM, ScopeKind.KEY})


def unsupported(budgets: Sequence[tuple[Place, Budget]], document: Document) -> Iterator[Problem]:
    """Budgets that a caller could slip past by another name. `budgets` are all those of the file."""
    stands_above = any(each.scope.kind in _ABOVE and each.limit is not None for _, each in budgets)
    has_default = any(each.scope.kind is ScopeKind.USER and each.scope.name == EACH for _, each in budgets)
    for place, budget in budgets:
        kind = budget.scope.kind
        if kind not in CHOSEN:
            continue
        if not stands_above:
            yield Problem(
                path_of(place),
                f"callers choose the name of a {kind.value}, and no budget stands above this one",
                "give a team, a key or everyone (scope: global) a limit, too",
                document.line_of(place),
            )
        if kind is ScopeKind.USER and not has_default:
            yield Problem(
                path_of(place),
                "callers choose the name of a user, and no budget covers the others",
                'add one of scope "user:*"',
                document.line_of(place),
            )
