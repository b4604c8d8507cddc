"""What a team's calls to a model usually put out."""

from proxy.learned import PAIRS_MAX, SAMPLES_MAX, SAMPLES_MIN, Learned


def test_nothing_is_claimed_before_enough_calls() -> None:
    learned = Learned()
    for _ in range(SAMPLES_MIN - 1):
        learned.record("search", "gpt-4o", 100)

    assert learned.expected("search", "gpt-4o") is None


def test_the_figure_is_the_95th_percentile() -> None:
    learned = Learned()
    for tokens in range(1, SAMPLES_MIN + 1):
        learned.record("search", "gpt-4o", tokens)

    assert learned.expected("search", "gpt-4o") == 19


def test_old_calls_are_forgotten() -> None:
    learned = Learned()
    for _ in range(SAMPLES_MAX):
        learned.record("search", "gpt-4o", 1000)
    for _ in range(SAMPLES_MAX * 2):
        learned.record("search", "gpt-4o", 10)

    assert learned.expected("search", "gpt-4o") == 10


def test_pairs_are_bounded_and_the_least_used_goes() -> None:
    learned = Learned()
    for number in range(PAIRS_MAX + 10):
        for _ in range(SAMPLES_MIN):
            learned.record("search", f"model-{number}", 5)

    assert learned.expected("search", "model-0") is None
    assert learned.expected("search", f"model-{PAIRS_MAX + 9}") == 5
