"""What a team, a key or a model may be asked for beyond money: which models, how often, how much at once, how long."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from rules.budget import BudgetSpec
from rules.glob import Globs
from rules.ratespec import RateSpec
from rules.spec import ListOf, Patterns, Section

OutputTokens = Annotated[int, Field(ge=1, le=10_000_000)]


@dataclass(frozen=True, slots=True)
class Allowance:
    """`models` None: all of them."""

    models: Globs | None = None
    rate: RateSpec | None = None
    max_output_tokens: int | None = None

    @property
    def is_empty(self) -> bool:
        return self.models is None and self.rate is None and self.max_output_tokens is None


NO_ALLOWANCE = Allowance()


class ModelSpec(Section):
    """What may be asked of the models that match a pattern, by all callers together."""

    rate: RateSpec | None = None
    max_output_tokens: OutputTokens | None = None

    def allowance(self) -> Allowance:
        return Allowance(None, self.rate, self.max_output_tokens)


class AllowanceSpec(Section):
    """What a team or a key may use: its budgets, and the models it may ask for (left out: all)."""

    budgets: ListOf[BudgetSpec] = ()
    models: Patterns | None = None
    rate: RateSpec | None = None
    max_output_tokens: OutputTokens | None = None

    def allowance(self) -> Allowance:
        models = None if self.models is None else Globs(self.models)
        return Allowance(models, self.rate, self.max_output_tokens)
