"""Table tests of a policy, as people write them: a call, how things stand, and what should become of it."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from rules.breaker import State
from rules.budget import BudgetSpec
from rules.call import Operation
from rules.spec import ListOf, Name, Section, Spec, Usd

CASES_MAX = 10_000
TOKENS_MAX = 100_000_000
FREE = Decimal(0)

Tokens = Annotated[int, Field(ge=0, le=TOKENS_MAX)]
Count = Annotated[int, Field(ge=0)]
Times = Annotated[Decimal, Field(ge=0)]


class Ending(StrEnum):
    """What becomes of a call: the verdicts, and a wait for calls in flight to end."""

    ALLOW = "allow"
    CAP = "cap"
    DOWNGRADE = "downgrade"
    THROTTLE = "throttle"
    WAIT = "wait"
    BLOCK = "block"


class CallSpec(Section):
    """The facts of a call. Its cost is given, or worked out from its tokens at the model's price."""

    team: Name | None = None
    key: Name = "k1"
    user: str = ""
    category: str = ""
    model: str | None = None
    provider: str | None = None
    operation: Operation = Operation.LLM
    at: AwareDatetime | None = None
    estimate_usd: Usd | None = None
    ceiling_usd: Usd | None = None
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    max_tokens: Tokens | None = None

    def over(self, default: "CallSpec") -> "CallSpec":
        """This call, and what it does not say as the other has it. A cost of its own stands for its own tokens."""
        given = {name: getattr(default, name) for name in default.model_fields_set - self.model_fields_set}
        if self.input_tokens is not None and self.estimate_usd is None:
            given.pop("estimate_usd", None)
            given.pop("ceiling_usd", None)
        return self.model_copy(update=given)


class BalanceSpec(Spec):
    spent_usd: Usd = FREE
    held_usd: Usd = FREE


def _spent(value: object) -> object:
    return value if isinstance(value, dict | BalanceSpec) else {"spent_usd": value}


class UsedSpec(Spec):
    """What is in the buckets of one rate."""

    requests: Count | None = None
    tokens: Count | None = None
    usd: Usd | None = None


class ExpectSpec(Spec):
    """Left out: anything will do. `alerts` and `shadow` are rule ids in any order."""

    verdict: Ending
    rule_id: str | None = None
    code: str | None = None
    reason: str | None = None
    alerts: tuple[str, ...] | None = None
    shadow: tuple[str, ...] | None = None
    model: str | None = None
    max_tokens: int | None = None


class CaseSpec(Spec):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    call: CallSpec = CallSpec()
    key_budgets: ListOf[BudgetSpec] = ()
    balances: dict[str, Annotated[BalanceSpec, BeforeValidator(_spent)]] = Field(default_factory=dict)
    used: dict[str, UsedSpec] = Field(default_factory=dict)
    in_flight: dict[str, Count] = Field(default_factory=dict)
    velocity: Times | None = None
    repeats: Annotated[int, Field(ge=1)] = 1
    breakers: dict[str, State] = Field(default_factory=dict)
    expect: ExpectSpec


def _some(cases: tuple[CaseSpec, ...]) -> tuple[CaseSpec, ...]:
    if not cases:
        raise ValueError("has no case: write one as in examples/rules_cases.yaml")
    return cases


class CasesFile(Spec):
    """The whole file. `call` is what cases do not say of theirs."""

    version: Literal[1] = 1
    call: CallSpec = CallSpec()
    cases: Annotated[tuple[CaseSpec, ...], Field(max_length=CASES_MAX), AfterValidator(_some)]


def as_written(value: Any) -> str:
    """An expectation or what came of it, as the file would hold it."""
    if value is None:
        return "nothing"
    if isinstance(value, tuple):
        return f"[{', '.join(sorted(value))}]"
    return str(value.value) if isinstance(value, StrEnum) else str(value)
