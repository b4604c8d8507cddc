"""Sums over trailing minutes."""

from rules.minutes import Minutes


def filled(*pairs: tuple[int, int], size: int = 10) -> Minutes:
    made = Minutes(size)
    for minute, amount in pairs:
        made.add(amount, minute)
    return made


def test_a_total_holds_the_running_minute_and_those_before_it() -> None:
    some = filled((100, 1), (101, 2), (101, 3), (105, 4))

    assert [some.total(n, 105) for n in (1, 4, 5, 6, 10)] == [4, 4, 9, 10, 10]
    assert some.total(5, 120) == 0
    assert Minutes(3).total(3, 100) == 0


def test_no_more_is_looked_at_than_the_size() -> None:
    assert filled((100, 1), (109, 1), (110, 1)).total(1_000, 110) == 2


def test_memory_is_bounded_and_sums_stay_exact() -> None:
    some = filled(*((minute, minute) for minute in range(1_000)))

    assert some.total(10, 999) == sum(range(990, 1_000))
    assert len(some._minutes) <= 20


def test_a_clock_set_back_a_little_adds_to_the_last_minute() -> None:
    assert filled((100, 1), (98, 1)).total(1, 100) == 2


def test_a_clock_set_back_far_starts_anew() -> None:
    some = filled((100, 1), (50, 1))

    assert (some.total(10, 50), some.last) == (1, 50)


def test_between_tells_of_any_span_that_is_kept() -> None:
    some = filled((100, 1), (101, 2), (105, 4))

    assert [some.between(*span) for span in ((100, 101), (100, 106), (102, 105), (0, 100), (105, 200))] == [
        1,
        7,
        0,
        0,
        4,
    ]
