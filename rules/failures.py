"""How many of the last calls failed: over a sliding window, in steps, so that its size does not grow with the traffic."""

from dataclasses import dataclass
from decimal import Decimal

from rules.minutes import Minutes

STEPS = 12  # of a window: its far end lies up to one of them short


@dataclass(frozen=True, slots=True)
class Share:
    failed: int
    calls: int

    def reaches(self, bound: Decimal, *, calls_min: int) -> bool:
        """Of too few calls nothing can be said."""
        return self.calls >= calls_min and self.failed >= bound * self.calls


class Failures:
    """Instants are seconds on a clock that never steps back."""

    __slots__ = ("_calls", "_failed", "_step_seconds")

    def __init__(self, window_seconds: float) -> None:
        self._step_seconds = window_seconds / STEPS
        self._calls, self._failed = Minutes(STEPS), Minutes(STEPS)

    def succeeded(self, at: float) -> None:
        self._calls.add(1, self._step(at))

    def failed(self, at: float, *, succeeded_at: float | None = None) -> None:
        """`succeeded_at`: when the call was counted as one that goes well, where it was. It is still one call."""
        step = self._step(at)
        if succeeded_at is None or self._step(succeeded_at) <= step - STEPS:
            self._calls.add(1, step)
        self._failed.add(1, step)

    def share(self, at: float) -> Share:
        step = self._step(at)
        calls = self._calls.total(STEPS, step)
        return Share(min(calls, self._failed.total(STEPS, step)), calls)

    def _step(self, at: float) -> int:
        return int(at / self._step_seconds)
