"""What calls taught: a decayed 95th percentile of output, and the ratio of billed to counted input."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.learned import (
    CALLS_MIN,
    GROUPS_MAX,
    HALF_LIFE_CALLS,
    INPUT_CALLS_MIN,
    INPUT_PERMILLE_MAX,
    MODELS_MAX,
    REFRESH_EVERY,
    Learned,
    Lesson,
    is_counted,
)

GROUP = ("search", "gpt-4o", "llm_call")
COUNTED = "tiktoken o200k_base, default output"


def record(learned: Learned, tokens: int, times: int, group: tuple[str, str, str] = GROUP) -> None:
    for _ in range(times):
        learned.record(*group, tokens)


def lesson(basis: str = COUNTED, *, output: int = 90, counted: int = 100, billed: int = 110) -> Lesson:
    return Lesson(*GROUP, basis, counted, billed, output)


def test_nothing_is_claimed_before_enough_calls() -> None:
    learned = Learned()
    record(learned, 50, CALLS_MIN - 1)
    assert learned.expected(*GROUP) is None

    record(learned, 50, 1)
    assert learned.expected(*GROUP) == 50


def test_the_figure_is_the_95th_percentile() -> None:
    learned = Learned()
    record(learned, 60, 5)
    record(learned, 10, 95)

    assert learned.expected(*GROUP) == 10, "five early calls in a hundred are above"


def test_operations_teams_and_models_learn_apart() -> None:
    learned = Learned()
    record(learned, 50, CALLS_MIN)

    assert learned.expected("search", "gpt-4o", "embedding_call") is None
    assert learned.expected("mail", "gpt-4o", "llm_call") is None
    assert learned.expected("search", "gpt-4o-mini", "llm_call") is None


def test_a_call_a_half_life_ago_counts_half() -> None:
    """Long answers were all there was; short ones then take over once the long ones weigh less than one in twenty."""
    learned = Learned()
    record(learned, 1000, 50 * HALF_LIFE_CALLS)
    record(learned, 10, 4 * HALF_LIFE_CALLS)  # the long ones weigh 1 in 16
    assert (learned.expected(*GROUP) or 0) >= 1000

    record(learned, 10, HALF_LIFE_CALLS)  # 1 in 32
    assert learned.expected(*GROUP) == 10


@given(st.lists(st.integers(0, 1 << 40), min_size=CALLS_MIN, max_size=3 * CALLS_MIN))
def test_it_is_never_under_the_percentile_and_hardly_above_the_largest(tokens: list[int]) -> None:
    learned = Learned()
    for each in tokens:
        learned.record(*GROUP, each)
    found = learned.expected(*GROUP)

    assert found is not None
    weights = [2 ** (n / HALF_LIFE_CALLS) for n in range(len(tokens))]
    under = sum(
        weight for weight, each in zip(weights, tokens, strict=True) if min(each, (1 << 31) - 1) <= found
    )
    assert under >= 0.95 * sum(weights) * (1 - 1e-6)
    assert found <= max(tokens) * 33 / 32


def test_the_figure_follows_within_a_few_calls() -> None:
    learned = Learned()
    record(learned, 10, CALLS_MIN)
    assert learned.expected(*GROUP) == 10

    record(learned, 40, REFRESH_EVERY)
    assert learned.expected(*GROUP) == 40


def test_weights_stay_finite_over_many_calls() -> None:
    learned = Learned()
    record(learned, 40, 1)
    record(learned, 7, 100 * HALF_LIFE_CALLS)

    assert learned.expected(*GROUP) == 7


def test_groups_are_bounded_and_the_least_used_goes() -> None:
    learned = Learned()
    for number in range(GROUPS_MAX + 10):
        record(learned, 5, CALLS_MIN, ("search", f"model-{number}", "llm_call"))

    assert learned.expected("search", "model-0", "llm_call") is None
    assert learned.expected("search", f"model-{GROUPS_MAX + 9}", "llm_call") == 5


def test_the_ratio_of_input_is_claimed_after_fifty_calls() -> None:
    learned = Learned()
    for n in range(INPUT_CALLS_MIN):
        assert learned.input_permille("gpt-4o") is None, n
        learned.record_input("gpt-4o", counted=200, billed=250)

    assert learned.input_permille("gpt-4o") == 1250
    assert learned.input_permille("gpt-4o-mini") is None


def test_long_prompts_weigh_more_in_the_ratio() -> None:
    learned = Learned()
    for _ in range(10 * HALF_LIFE_CALLS):
        learned.record_input("gpt-4o", counted=10, billed=20)
        learned.record_input("gpt-4o", counted=990, billed=990)

    assert learned.input_permille("gpt-4o") == 1010


def test_the_ratio_is_bounded_and_what_is_no_count_teaches_nothing() -> None:
    learned = Learned()
    for _ in range(INPUT_CALLS_MIN):
        learned.record_input("gpt-4o", counted=1, billed=1_000_000)
        learned.record_input("other", counted=0, billed=5)
        learned.record_input("other", counted=5, billed=0)

    assert learned.input_permille("gpt-4o") == INPUT_PERMILLE_MAX
    assert learned.input_permille("other") is None


def test_models_are_bounded() -> None:
    learned = Learned()
    for number in range(MODELS_MAX + 1):
        for _ in range(INPUT_CALLS_MIN):
            learned.record_input(f"model-{number}", counted=10, billed=11)

    assert learned.input_permille("model-0") is None
    assert learned.input_permille(f"model-{MODELS_MAX}") == 1100


def test_only_counted_text_teaches_of_counting() -> None:
    assert is_counted("tiktoken cl100k_base x 150%, learned output")
    assert not is_counted("bytes, default output")
    assert not is_counted("tiktoken o200k_base, default output, not text alone")


def test_lessons_of_the_ledger_teach_what_the_calls_themselves_would_have() -> None:
    taught, lived = Learned(), Learned()
    taught.take([lesson(output=n) for n in range(60)])
    for n in range(60):
        lived.record(*GROUP, n)
        lived.record_input("gpt-4o", counted=100, billed=110)

    assert taught.expected(*GROUP) == lived.expected(*GROUP) is not None
    assert taught.input_permille("gpt-4o") == lived.input_permille("gpt-4o") == 1100


def test_lessons_of_several_answers_or_of_pictures_teach_only_what_they_tell() -> None:
    learned = Learned()
    learned.take([lesson(f"{COUNTED}, 3 answers")] * INPUT_CALLS_MIN)
    assert (learned.expected(*GROUP), learned.input_permille("gpt-4o")) == (None, 1100)

    learned = Learned()
    learned.take([lesson(f"{COUNTED}, not text alone", output=9)] * INPUT_CALLS_MIN)
    assert (learned.expected(*GROUP), learned.input_permille("gpt-4o")) == (9, None)
