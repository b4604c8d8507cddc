"""What calls usually put out, and how input as counted compares with input as billed: from the calls that ended."""

from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

HALF_LIFE_CALLS = 200  # a call this long ago counts half as much as the last one
GROUPS_MAX = 2_000  # of team, model and operation; the least recently recorded goes first
MODELS_MAX = 500
CALLS_MIN = 20  # before that, the estimate's own default is better than a guess from a few calls
INPUT_CALLS_MIN = 50
REFRESH_EVERY = 16
TOKENS_MAX = (1 << 31) - 1
EXACT_BITS = (
    6  # smaller numbers than 2^6 are kept as they are, larger ones by their first six bits, rounded up
)
INPUT_PERMILLE_MIN, INPUT_PERMILLE_MAX = 500, 2_000  # what lies beyond is a fault of counting, not a habit
BEYOND_TEXT = "not text alone"
"""Stands in the basis of an estimate whose input holds pictures, files or what nobody sees: nothing to learn from."""
BEYOND_ONE = " answers"
"""Ends the number of answers in the basis of an estimate for several: a row tells only their sum."""

_GROWTH = 2 ** (1 / HALF_LIFE_CALLS)  # of each call's weight: later calls weigh more, so earlier ones decay
_WEIGHT_MAX = 2.0**60
_WEIGHT_MIN = 2.0**-20
_PERCENT = 0.95
_SLACK = 1e-9  # that sums of floats may be off by


@lru_cache(maxsize=256)
def is_counted(basis: str) -> bool:
    """Was the input of an estimate on that basis counted, and text alone? Bounds teach nothing of counting."""
    return basis.startswith("tiktoken") and BEYOND_TEXT not in basis


class Lesson(NamedTuple):
    """One whole answer that its provider reported, as the ledger keeps it."""

    team: str
    model: str
    operation: str
    estimate_basis: str
    counted_input: int
    billed_input: int
    output_tokens: int  # of all choices


class Learned:
    """The 95th percentile of one choice's output by team, model and operation, and the ratio of billed to counted input
    by model. Bounded in memory, and older calls fade."""

    def __init__(self) -> None:
        self._outputs: OrderedDict[tuple[str, str, str], _Outputs] = OrderedDict()
        self._inputs: OrderedDict[str, _Inputs] = OrderedDict()

    def expected(self, team: str, model: str, operation: str) -> int | None:
        """Output tokens that 95 in 100 calls stay under; None until enough were seen."""
        outputs = self._outputs.get((team, model, operation))
        return None if outputs is None else outputs.p95()

    def input_permille(self, model: str) -> int | None:
        """Tokens billed for a thousand counted; None until enough calls were seen."""
        inputs = self._inputs.get(model)
        return None if inputs is None else inputs.permille()

    def record(self, team: str, model: str, operation: str, output_tokens: int) -> None:
        group = (team, model, operation)
        outputs = self._outputs.get(group)
        if outputs is None:
            outputs = self._outputs[group] = _Outputs()
            if len(self._outputs) > GROUPS_MAX:
                self._outputs.popitem(last=False)
        else:
            self._outputs.move_to_end(group)
        outputs.add(output_tokens)

    def take(self, lessons: Iterable[Lesson]) -> None:
        """What earlier runs saw, oldest first: what the calls themselves would have taught had they ended here."""
        for lesson in lessons:
            basis = lesson.estimate_basis
            if BEYOND_ONE not in basis:
                self.record(lesson.team, lesson.model, lesson.operation, lesson.output_tokens)
            if is_counted(basis):
                self.record_input(lesson.model, counted=lesson.counted_input, billed=lesson.billed_input)

    def record_input(self, model: str, *, counted: int, billed: int) -> None:
        """Of a call whose input was counted as text: see `is_counted`."""
        if counted <= 0 or billed <= 0:
            return
        inputs = self._inputs.get(model)
        if inputs is None:
            inputs = self._inputs[model] = _Inputs()
            if len(self._inputs) > MODELS_MAX:
                self._inputs.popitem(last=False)
        else:
            self._inputs.move_to_end(model)
        inputs.add(counted, billed)


class _Outputs:
    """Weights by token count. Instead of shrinking all old weights at each call, the next call's weight grows."""

    __slots__ = ("_fresh", "_p95", "_seen", "_weight", "_weights")

    def __init__(self) -> None:
        self._weights: dict[int, float] = {}  # by the most tokens that fall into a bucket
        self._weight = 1.0
        self._seen = 0
        self._fresh = 0  # calls since the figure was worked out
        self._p95: int | None = None

    def add(self, tokens: int) -> None:
        self._weight *= _GROWTH
        if self._weight > _WEIGHT_MAX:
            self._rescale()
        bucket = _bucket(tokens)
        self._weights[bucket] = self._weights.get(bucket, 0.0) + self._weight
        self._seen += 1
        self._fresh += 1

    def p95(self) -> int | None:
        if self._seen < CALLS_MIN:
            return None
        if self._p95 is None or self._fresh >= REFRESH_EVERY:
            self._p95, self._fresh = self._worked_out(), 0
        return self._p95

    def _worked_out(self) -> int:
        wanted = sum(self._weights.values()) * (_PERCENT - _SLACK)
        below = 0.0
        for bucket in sorted(self._weights):
            below += self._weights[bucket]
            if below >= wanted:
                break
        return bucket

    def _rescale(self) -> None:
        scaled = ((bucket, weight / self._weight) for bucket, weight in self._weights.items())
        self._weights = {bucket: weight for bucket, weight in scaled if weight > _WEIGHT_MIN}
        self._weight = 1.0


class _Inputs:
    """Sums that decay: long prompts weigh as much as they cost."""

    __slots__ = ("_billed", "_counted", "_seen")

    def __init__(self) -> None:
        self._counted = 0.0
        self._billed = 0.0
        self._seen = 0

    def add(self, counted: int, billed: int) -> None:
        self._counted = self._counted / _GROWTH + min(counted, TOKENS_MAX)
        self._billed = self._billed / _GROWTH + min(billed, TOKENS_MAX)
        self._seen += 1

    def permille(self) -> int | None:
        if self._seen < INPUT_CALLS_MIN:
            return None
        return max(INPUT_PERMILLE_MIN, min(INPUT_PERMILLE_MAX, round(1000 * self._billed / self._counted)))


def _bucket(tokens: int) -> int:
    """The largest number that shares its first bits: at most a 32nd more than the number itself."""
    tokens = max(0, min(tokens, TOKENS_MAX))
    shift = max(0, tokens.bit_length() - EXACT_BITS)
    return ((tokens >> shift) + 1 << shift) - 1
