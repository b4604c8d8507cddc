"""The share of calls that failed, by which an upstream breaker opens."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.failures import STEPS, Failures, Share


@pytest.mark.parametrize(
    ("share", "reached"),
    [
        (Share(0, 20), False),
        (Share(17, 20), False),
        (Share(18, 20), True),
        (Share(20, 20), True),
        (Share(19, 19), False),  # too few to say
    ],
)
def test_a_breaker_opens_from_the_bound_on_and_never_by_a_few_calls(share: Share, reached: bool) -> None:
    assert share.reaches(Decimal("0.9"), calls_min=20) is reached


def test_what_is_older_than_the_window_of_a_breaker_counts_no_more() -> None:
    failures = Failures(60)
    failures.failed(0)
    failures.succeeded(30)

    assert failures.share(30) == Share(1, 2)
    assert failures.share(61) == Share(0, 1)
    assert failures.share(200) == Share(0, 0)


def test_a_call_that_breaks_off_is_one_call_for_the_breaker() -> None:
    """But its good beginning counts only while it is within the window."""
    failures = Failures(60)
    failures.succeeded(1000)
    failures.failed(1010, succeeded_at=1000)
    assert failures.share(1010) == Share(1, 1)

    failures.failed(1200, succeeded_at=1000)
    assert failures.share(1200) == Share(1, 1)


@given(
    st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=60),
    st.floats(1, 600, allow_nan=False),
)
def test_a_breakers_share_is_that_of_the_calls_in_its_window(
    pauses: list[tuple[float, bool]], window: float
) -> None:
    """All of the last eleven twelfths are in it, and none that is older than the window."""
    failures, at, told = Failures(window), 0.0, list[tuple[float, bool]]()
    for pause, failed in pauses:
        at += pause
        told.append((at, failed))
        if failed:
            failures.failed(at)
        else:
            failures.succeeded(at)

    share = failures.share(at)
    sure = [failed for when, failed in told if when > at - window * (STEPS - 1) / STEPS + 1e-6]
    most = [failed for when, failed in told if when > at - window - 1e-6]
    assert len(sure) <= share.calls <= len(most)
    assert sum(sure) <= share.failed <= sum(most)
    assert share.failed <= share.calls
