"""Usage blocks of every OpenAI-shaped provider in one normal form, and which of them are not to be believed."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.usage import Usage
from proxy.dialects.usage import ABSURD_TOKENS, Checked, read_usage


def checked(block: Any) -> Checked:
    found = read_usage(block)
    assert found is not None
    return found


def chat(inputs: Any, outputs: Any, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": inputs, "completion_tokens": outputs, **more}


# -- shapes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "usage"),
    [
        pytest.param(chat(29, 5, total_tokens=34), Usage(input_tokens=29, output_tokens=5), id="plain"),
        pytest.param(chat(0, 0, total_tokens=0), Usage(), id="an explicit nought"),
        pytest.param({"prompt_tokens": 16, "total_tokens": 16}, Usage(input_tokens=16), id="embeddings"),
        pytest.param(
            {"input_tokens": 328, "output_tokens": 245},
            Usage(input_tokens=328, output_tokens=245),
            id="responses",
        ),
        pytest.param(
            chat(92, 342, completion_tokens_details={"reasoning_tokens": 320}),
            Usage(input_tokens=92, output_tokens=342, reasoning_tokens=320),
            id="reasoning is inside the output",
        ),
        pytest.param(
            chat(92, 20, total_tokens=432, completion_tokens_details={"reasoning_tokens": 320}),
            Usage(input_tokens=92, output_tokens=340, reasoning_tokens=320),
            id="reasoning outside the output shows in the total (xAI)",
        ),
        pytest.param(
            chat(9, 1, total_tokens=103),
            Usage(input_tokens=9, output_tokens=94),
            id="thinking in the total only (Gemini)",
        ),
        pytest.param(
            chat(100, 5, prompt_cache_hit_tokens=64, prompt_cache_miss_tokens=36),
            Usage(input_tokens=100, output_tokens=5, cache_read_tokens=64),
            id="cache hits beside the input (DeepSeek)",
        ),
        pytest.param(
            chat(
                210,
                75,
                prompt_tokens_details={"audio_tokens": 180, "image_tokens": 8},
                completion_tokens_details={"audio_tokens": 60},
            ),
            Usage(
                input_tokens=210,
                output_tokens=75,
                input_audio_tokens=180,
                input_image_tokens=8,
                output_audio_tokens=60,
            ),
            id="audio and pictures",
        ),
        pytest.param(
            {
                "input_tokens": 328,
                "output_tokens": 1,
                "input_tokens_details": {
                    "cached_tokens": 128,
                    "cache_write_tokens": 150,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 50, "ttl_12h_tokens": 100},
                },
            },
            Usage(
                input_tokens=328,
                output_tokens=1,
                cache_read_tokens=128,
                cache_write_tokens=50,
                cache_write_12h_tokens=100,
            ),
            id="cache writes by time to live",
        ),
        pytest.param(
            {
                "input_tokens": 900,
                "output_tokens": 50,
                "input_token_details": {
                    "text_tokens": 100,
                    "audio_tokens": 500,
                    "image_tokens": 300,
                    "cached_tokens": 640,
                    "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 448, "image_tokens": 128},
                },
            },
            Usage(
                input_tokens=900,
                output_tokens=50,
                cache_read_tokens=640,
                cache_read_audio_tokens=448,
                cache_read_image_tokens=128,
                input_audio_tokens=500,
                input_image_tokens=300,
            ),
            id="cached sound and pictures (gpt-realtime, gpt-image)",
        ),
        pytest.param(
            chat(33, 10, total_tokens=43, citation_tokens=20, reasoning_tokens=70, num_search_queries=3),
            Usage(
                input_tokens=33, output_tokens=100, reasoning_tokens=70, citation_tokens=20, web_searches=3
            ),
            id="quotations, thinking and searches beside the completion (Perplexity)",
        ),
        pytest.param(
            chat(33, 10, total_tokens=133, citation_tokens=20, reasoning_tokens=70),
            Usage(input_tokens=33, output_tokens=100, reasoning_tokens=70, citation_tokens=20),
            id="the same where the total tells them too: counted once",
        ),
        pytest.param(
            chat(33, 80, total_tokens=113, reasoning_tokens=70, num_search_queries=1),
            Usage(input_tokens=33, output_tokens=80),
            id="searches that the price of a call includes, and thinking inside the output",
        ),
        pytest.param(chat(10.0, 2.0), Usage(input_tokens=10, output_tokens=2), id="whole floats"),
        pytest.param(
            chat(10, 2, prompt_tokens_details=None, completion_tokens_details={"reasoning_tokens": None}),
            Usage(input_tokens=10, output_tokens=2),
            id="details that are null",
        ),
    ],
)
def test_each_shape_is_read_in_one_form(block: dict[str, Any], usage: Usage) -> None:
    assert checked(block) == Checked(usage, [])


def test_no_block_is_no_usage() -> None:
    assert read_usage(None) is None


# -- what is not to be believed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (-5, "completion_tokens is negative"),
        (float("nan"), "completion_tokens is no whole number"),
        (float("inf"), "completion_tokens is no whole number"),
        (1.5, "completion_tokens is no whole number"),
        ("many", "completion_tokens is no whole number"),
        ("7", "completion_tokens is no whole number"),
        (True, "completion_tokens is no whole number"),
        (None, "completion_tokens is no whole number"),
        ([7], "completion_tokens is no whole number"),
        (ABSURD_TOKENS + 1, "completion_tokens is absurd"),
        (10**30, "completion_tokens is absurd"),
    ],
)
def test_a_count_that_cannot_be_is_nought_and_told(value: Any, problem: str) -> None:
    assert checked(chat(10, value)) == Checked(Usage(input_tokens=10), [problem])


def test_the_largest_believable_count_is_believed() -> None:
    assert checked(chat(0, ABSURD_TOKENS)).problems == []


@pytest.mark.parametrize("block", [5, "many", [1], True])
def test_usage_that_is_no_object_is_told(block: Any) -> None:
    assert checked(block) == Checked(Usage(), [f"usage is {type(block).__name__}, not an object"])


@pytest.mark.parametrize("block", [{}, {"cost": 0.1}, {"total_tokens": 9}, {"promptTokenCount": 9}])
def test_usage_without_counts_is_told(block: dict[str, Any]) -> None:
    assert checked(block).problems == ["usage holds no token counts"]


def test_more_cached_than_input_is_told_and_cut() -> None:
    found = checked(chat(100, 1, prompt_tokens_details={"cached_tokens": 80, "cache_write_tokens": 50}))

    assert found.problems == ["more cached tokens than input"]
    assert (found.usage.cache_read_tokens, found.usage.cache_write_tokens) == (80, 20)


def test_a_bad_detail_is_named_with_its_place() -> None:
    found = checked(chat(10, 2, completion_tokens_details={"reasoning_tokens": -1}))

    assert found.problems == ["completion_tokens_details.reasoning_tokens is negative"]


# -- anything at all ------------------------------------------------------------------------------------------------

COUNTS = st.none() | st.booleans() | st.integers(-5, 200) | st.integers() | st.floats() | st.text(max_size=2)
DETAILS = (
    COUNTS
    | st.dictionaries(
        st.sampled_from(
            ["cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "reasoning_tokens"]
        ),
        COUNTS,
    )
    | st.fixed_dictionaries(
        {"cache_write_tokens_details": COUNTS | st.fixed_dictionaries({"ttl_12h_tokens": COUNTS})}
    )
    | st.fixed_dictionaries(
        {
            "cached_tokens": COUNTS,
            "audio_tokens": COUNTS,
            "image_tokens": COUNTS,
            "cached_tokens_details": COUNTS
            | st.fixed_dictionaries({"audio_tokens": COUNTS, "image_tokens": COUNTS}),
        }
    )
)
BLOCKS = COUNTS | st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            ["prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "total_tokens"], COUNTS
        ),
        **dict.fromkeys(
            ["prompt_cache_hit_tokens", "citation_tokens", "reasoning_tokens", "num_search_queries"], COUNTS
        ),
        **dict.fromkeys(["prompt_tokens_details", "input_tokens_details"], DETAILS),
        **dict.fromkeys(["completion_tokens_details", "output_tokens_details"], DETAILS),
    },
)


@settings(max_examples=500, deadline=None)
@given(BLOCKS)
def test_whatever_a_block_says_its_classes_stay_within_its_totals(block: Any) -> None:
    found = read_usage(block)
    if found is None:
        assert block is None
        return
    usage = found.usage

    assert (
        usage.cache_read_tokens + usage.cache_write_tokens + usage.cache_write_12h_tokens
        <= usage.input_tokens
    )
    assert max(usage.input_audio_tokens, usage.input_image_tokens) <= usage.input_tokens
    assert max(usage.reasoning_tokens, usage.output_audio_tokens) <= usage.output_tokens
    assert usage.cache_read_audio_tokens + usage.cache_read_image_tokens <= usage.cache_read_tokens
    assert usage.cache_read_audio_tokens <= usage.input_audio_tokens
    assert usage.cache_read_image_tokens <= usage.input_image_tokens
    assert usage.citation_tokens <= usage.output_tokens
    assert usage.input_tokens <= ABSURD_TOKENS
    assert usage.output_tokens <= 3 * ABSURD_TOKENS  # completion, quotations and thinking
