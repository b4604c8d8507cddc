"""Laws of repeats: counts are those of a plain list while memory lasts; an agent's growing conversation repeats nothing."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.likeness import turn_of
from rules.repeats import Sightings

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
likely = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "tool", "model"]),
        "type": st.sampled_from(["message", "function_call", "function_call_output", "reasoning"]),
        "content": json_values,
        "parts": json_values,
        "tool_calls": json_values,
        "id": st.text(),
    },
)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc")), max_size=100), st.integers(1, 60))
def test_repeats_are_counted_as_in_a_plain_list(steps: list[tuple[int, str]], window: int) -> None:
    some, plain, minute = Sightings(), list[tuple[int, str]](), 1_000
    for passed, name in steps:
        minute += passed
        some.note(name, minute)
        plain.append((minute, name))
        counted = sum(each == name for at, each in plain if at > minute - window)
        assert some.count(name, window, minute) == counted


@given(st.lists(json_values | likely, max_size=12), json_values)
def test_whatever_a_conversation_holds_it_repeats_itself_long_or_short(
    items: list[object], before: object
) -> None:
    short, long = (turn_of(items, before, body_bytes=size)() for size in (1, 1 << 30))

    assert short == long
    assert all(isinstance(each, str) for each in short)
    assert sum(map(len, short)) < 20_000


@given(st.lists(likely, max_size=8), st.text(), st.text())
def test_conversations_with_other_last_words_never_repeat(
    prefix: list[object], words: str, others: str
) -> None:
    def after(text: str) -> tuple[str, ...]:
        said = {"role": "assistant", "content": "ok"}
        return turn_of([*prefix, said, {"role": "user", "content": text}], body_bytes=1)()

    assert (after(words) == after(others)) is (words == others)
