"""How much output calls of a team and model usually make: what a soft budget holds for the next one."""

from collections import OrderedDict, deque
from math import ceil

PAIRS_MAX = 2_000  # (team, model) pairs remembered; the least recently used goes first
SAMPLES_MAX = 128
SAMPLES_MIN = 20  # before that, the estimate's own default is better than a guess from a few calls
REFRESH_EVERY = 16


class Learned:
    """The 95th percentile of output tokens for one choice, per team and model, over the last calls."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[tuple[str, str], _Samples] = OrderedDict()

    def expected(self, team: str, model: str) -> int | None:
        """Output tokens that 95 in 100 calls stay under; None until enough were seen."""
        samples = self._pairs.get((team, model))
        return None if samples is None else samples.p95

    def record(self, team: str, model: str, output_tokens: int) -> None:
        pair = (team, model)
        samples = self._pairs.get(pair)
        if samples is None:
            samples = self._pairs[pair] = _Samples()
            if len(self._pairs) > PAIRS_MAX:
                self._pairs.popitem(last=False)
        else:
            self._pairs.move_to_end(pair)
        samples.add(output_tokens)


class _Samples:
    __slots__ = ("_last", "_seen", "p95")

    def __init__(self) -> None:
        self._last: deque[int] = deque(maxlen=SAMPLES_MAX)
        self._seen = 0
        self.p95: int | None = None

    def add(self, output_tokens: int) -> None:
        self._last.append(output_tokens)
        self._seen += 1
        if self._seen == SAMPLES_MIN or (self._seen > SAMPLES_MIN and self._seen % REFRESH_EVERY == 0):
            ordered = sorted(self._last)
            self.p95 = ordered[ceil(len(ordered) * 0.95) - 1]
