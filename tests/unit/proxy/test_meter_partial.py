"""Usage that is told while the answer goes on: believed only where nothing came after it."""

import pytest

from pricing.usage import Usage
from tests.unit.proxy.test_meter import DONE, GOOD, chunk, told

ZERO = {"prompt_tokens": 0, "completion_tokens": 0}
USAGE = Usage(10, output_tokens=4)


def test_a_zero_at_the_beginning_of_a_stream_that_is_cut_is_not_its_usage() -> None:
    seen = told(chunk("Nine ", usage=ZERO), chunk("lakes."))

    assert (seen.final, seen.complete, seen.output_text) == (False, False, "Nine lakes.")


def test_a_running_count_with_every_chunk_is_not_final_before_the_end() -> None:
    seen = told(chunk("Nine ", usage=GOOD), chunk("lakes.", usage=GOOD))

    assert (seen.usage, seen.final, seen.output_text) == (USAGE, False, "Nine lakes.")


@pytest.mark.parametrize("end", [DONE, b""])
def test_a_usage_after_all_output_is_final_even_without_the_end(end: bytes) -> None:
    last = b'data: {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 4}}\n\n'

    seen = told(chunk("Nine lakes."), last, end)

    assert (seen.usage, seen.final, seen.output_text) == (USAGE, True, "")


def test_a_running_count_is_final_once_the_answer_is_whole() -> None:
    seen = told(chunk("Nine ", usage=ZERO), chunk("lakes.", usage=GOOD), DONE)

    assert (seen.usage, seen.final, seen.output_text) == (USAGE, True, "")


def test_a_null_inside_does_not_hide_a_usage() -> None:
    event = b'data: {"choices":[{"delta":{},"usage":null}],"usage":{"prompt_tokens":10,"completion_tokens":4}}\n\n'

    assert told(event, DONE).usage == USAGE
