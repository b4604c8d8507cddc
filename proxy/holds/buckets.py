"""The buckets of one process: what rates let pass, poured with a hold, corrected when it ends."""

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction

from proxy.holds import Paced
from proxy.records import micros
from rules.measure import Measure
from rules.rate import EMPTY, BucketKey, Level, Pour, Standing, correct, pour, rebased, used_at, wait_for

BUCKETS_MAX = 20_000
SPARED_SHARE = 10  # where all are in use, one in so many makes room: looking through them takes milliseconds


class _Bucket:
    __slots__ = ("level", "per_minute")

    def __init__(self, level: Level, per_minute: Fraction | int) -> None:
        self.level = level
        self.per_minute = per_minute


_Poured = tuple[_Bucket, Pour, int]
"""What an open call has poured, and what stood on the bucket after it."""


class Buckets:
    """Each method is one step. Instants may come in any order: leaking never goes back."""

    def __init__(self, buckets_max: int = BUCKETS_MAX) -> None:
        self._buckets: dict[BucketKey, _Bucket] = {}  # the one poured into last is the last
        self._open: dict[str, tuple[_Poured, ...]] = {}
        self._max = buckets_max

    def __len__(self) -> int:
        return len(self._buckets)

    @property
    def open_count(self) -> int:
        return len(self._open)

    def check(self, pours: Sequence[Pour], now: datetime) -> None:
        """Raises Paced, for the rate that lets pass last. Nothing is poured."""
        at = micros(now)
        waits = [0 if each.rate.watched else self._wait(each, at) for each in pours]
        wait = max(waits)
        if not wait:
            return
        last = pours[waits.index(wait)]
        standing = [
            Standing(each.rate, used_at(self._level(each.rate.bucket, at), each.rate.per_minute, at))
            for each in (last, *(each for each in pours if each is not last))
        ]
        raise Paced(last.rate, standing[0].used, last.amount, wait / 1_000_000, tuple(standing[1:]))

    def pour(self, call_id: str, pours: Sequence[Pour], now: datetime) -> None:
        """After `check`, without a wait in between."""
        at = micros(now)
        self._open[call_id] = tuple(
            self._pour(each, at)
            for each in _one_a_bucket(pours)
            if not (each.rate.watched and self._wait(each, at))
        )

    def settle(self, call_id: str, *, spent: int, tokens: int | None) -> None:
        """Without the true number of tokens the estimate stands."""
        for bucket, poured, after in self._open.pop(call_id, ()):
            match poured.rate.bucket.measure:
                case Measure.SPEND:
                    bucket.level = correct(bucket.level, after, poured.amount, spent)
                case Measure.TOKENS if tokens is not None:
                    bucket.level = correct(bucket.level, after, poured.amount, tokens)

    def release(self, call_id: str) -> None:
        """Tokens and money come back; a request was made all the same."""
        self.settle(call_id, spent=0, tokens=0)

    def used(self, key: BucketKey, now: datetime) -> int:
        bucket = self._buckets.get(key)
        return 0 if bucket is None else used_at(bucket.level, bucket.per_minute, micros(now))

    def _wait(self, wanted: Pour, at: int) -> int:
        return wait_for(self._level(wanted.rate.bucket, at), wanted.rate, wanted.amount, at)

    def _level(self, key: BucketKey, at: int) -> Level:
        bucket = self._buckets.get(key)
        if bucket is None:
            return EMPTY
        bucket.level = rebased(bucket.level, at)
        return bucket.level

    def _pour(self, wanted: Pour, at: int) -> _Poured:
        rate = wanted.rate
        bucket = self._buckets.pop(rate.bucket, None)
        if bucket is None:
            self._make_room(at)
            bucket = _Bucket(EMPTY, rate.per_minute)
        bucket.level = pour(bucket.level, rate.per_minute, wanted.amount, at)
        bucket.per_minute = rate.per_minute
        self._buckets[rate.bucket] = bucket
        return bucket, wanted, bucket.level.poured

    def _make_room(self, at: int) -> None:
        """An empty bucket is as good as none. A call that is still open corrects its own, whether anyone finds it or not."""
        if len(self._buckets) < self._max:
            return
        for key, bucket in list(self._buckets.items()):
            if not used_at(bucket.level, bucket.per_minute, at):
                del self._buckets[key]
        spared = self._max - max(1, self._max // SPARED_SHARE)
        for key in list(self._buckets)[: max(0, len(self._buckets) - spared)]:
            del self._buckets[key]


def _one_a_bucket(pours: Sequence[Pour]) -> Sequence[Pour]:
    """Of rates over one and the same bucket the slowest is poured for."""
    if len(pours) == 1:
        return pours
    slowest: dict[BucketKey, Pour] = {}
    for each in pours:
        known = slowest.get(each.rate.bucket)
        if known is None or each.rate.per_minute < known.rate.per_minute:
            slowest[each.rate.bucket] = each
    return tuple(slowest.values())
