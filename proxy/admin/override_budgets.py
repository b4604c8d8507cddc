"""Which budgets an override is of, and how far each limit goes up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pricing.document import nearest
from pricing.money import Nanos, nanos
from proxy.admin.answers import Problem
from rules.budget import Budget
from rules.override import Override, multiplied, raised
from rules.policy import Policy
from rules.scope import Scope, parse_scope
from rules.sentence import dollars
from rules.spec import EACH, USD_MAX
from rules.window import Period

LIMIT_MAX = nanos(USD_MAX)


@dataclass(frozen=True, slots=True)
class Books:
    """What budgets there are: those of the file, those that keys were issued with, and the overrides in force."""

    policy: Policy
    issued: Sequence[Budget]
    standing: Sequence[Override]


@dataclass(frozen=True, slots=True)
class Raised:
    """One limit, for one scope of the budget or, where that is the budget's own, for all that it is over."""

    budget: Budget
    scope: Scope
    previous: Nanos
    limit: Nanos


def by_id(books: Books, budget_id: str, scope: Scope | None) -> tuple[Budget, Scope] | None:
    """None where no budget has that id. Raises Problem where the scope does not fit, or is missing to tell which."""
    named = [budget for budget in _every(books) if budget.id == budget_id]
    if not named:
        return None
    if scope is None and len(named) > 1:
        raise Problem(
            409, "ambiguous_budget", f'{len(named)} budgets have the id "{budget_id}": name the scope'
        )
    if scope is None:
        return named[0], named[0].scope
    for budget in named:
        if scope == budget.scope or budget in books.policy.over(scope):
            return budget, scope
    raise Problem(
        400, "invalid_request", f'scope: budget "{budget_id}" is over {named[0].scope}, not over {scope}'
    )


def by_scope(books: Books, scope: Scope) -> Iterator[tuple[Budget, Scope]]:
    """The budgets over a scope, its own and its share of those over each of a kind."""
    for budget in books.policy.over(scope):
        yield budget, scope if budget.scope.name == EACH else budget.scope
    for budget in books.issued:
        if budget.scope == scope:
            yield budget, scope


def is_mistyped(books: Books, asked: str, scope: Scope) -> bool:
    """Ids read like scopes: team:serach:daily is no team to be given more of the default."""
    return ":" in scope.name and _nearest(books, asked) is not None


def unknown(books: Books, asked: str) -> Problem:
    near = _nearest(books, asked)
    hint = f'; did you mean "{near}"?' if near else ""
    return Problem(404, "unknown_budget", f'no budget has the id "{asked[:80]}"{hint}')


def scope_named(asked: str) -> Scope | None:
    try:
        return parse_scope(asked)
    except ValueError:
        return None


def raise_to(books: Books, budget: Budget, scope: Scope, limit: Nanos) -> Raised:
    """Raises Problem for what is no raise."""
    own = budget.limit
    if own is None:
        raise Problem(
            409, "not_a_raise", f'budget "{budget.id}" has no limit: nothing of it needs to be raised'
        )
    if limit <= own:
        raise Problem(
            409,
            "not_a_raise",
            f'budget "{budget.id}" is {dollars(own)} already, and an override only raises: say limit_usd above that, '
            "or edit the rules",
        )
    if limit > LIMIT_MAX:
        raise Problem(400, "invalid_request", f"limit_usd: must be at most {USD_MAX}")
    before = raised(budget, books.standing, scope).limit
    assert before is not None, f"{budget.id} has a limit"
    return Raised(budget, scope, before, limit)


def raise_by(
    books: Books, chosen: Sequence[tuple[Budget, Scope]], factors: dict[Period, Decimal]
) -> list[Raised]:
    """Each by the factor of its period, of the limit that the rules or the key say: pressing twice is pressing once."""
    return [
        raise_to(books, budget, scope, multiplied(budget.limit, factors[budget.period]))
        for budget, scope in chosen
        if budget.limit and budget.period in factors
    ]


def _nearest(books: Books, asked: str) -> str | None:
    return nearest(asked, sorted({budget.id for budget in _every(books)}))


def _every(books: Books) -> Iterator[Budget]:
    yield from books.policy.budgets
    yield from books.policy.default_team.budgets
    yield from books.issued
