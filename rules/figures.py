"""What a decision may know of the world: last known figures, told by the shell. Nothing here waits or writes."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from pricing.money import Nanos
from rules.breaker import Breaker, Cause
from rules.counter import Balance, CounterKey
from rules.rate import BucketKey
from rules.scope import Scope


class Figures(Protocol):
    """Any of these may raise: the rule that asked then follows its `on_error`."""

    def balance(self, counter: CounterKey) -> Balance: ...

    def used(self, bucket: BucketKey) -> int:
        """What is in a bucket now, in the units of its measure."""

    def breaker(self, rule_id: str, scope: Scope, causes: tuple[Cause, ...]) -> Breaker | None:
        """The breaker as it is now, its cooldown reckoned with; None for one that never tripped. `causes` are the limits
        that the rule has for this call: one that was tripped by another window, or a lower limit, is closed."""

    def velocity(self, scope: Scope, minutes: int) -> Decimal | None:
        """Trailing spend as a multiple of the usual for this hour of the week. None: too little is known."""

    def repeats(self, scope: Scope, minutes: int) -> int:
        """How often this very call came in the window, this one included."""


@dataclass(frozen=True, slots=True)
class Balances:
    """Balances alone: nothing flows, nothing is tripped, nothing repeats itself."""

    of: Callable[[CounterKey], Balance] = lambda _: Balance(Nanos(0), Nanos(0))

    def balance(self, counter: CounterKey) -> Balance:
        return self.of(counter)

    def used(self, bucket: BucketKey) -> int:
        return 0

    def breaker(self, rule_id: str, scope: Scope, causes: tuple[Cause, ...]) -> Breaker | None:
        return None

    def velocity(self, scope: Scope, minutes: int) -> Decimal | None:
        return None

    def repeats(self, scope: Scope, minutes: int) -> int:
        return 1
