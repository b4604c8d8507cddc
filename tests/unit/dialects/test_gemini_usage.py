"""Gemini's usage block in our normal form: what is part of what, and what cannot be believed."""

from typing import Any

import pytest

from pricing.usage import Usage
from proxy.dialects.gemini_usage import read_usage, tier_of


def usage_of(block: Any) -> Usage:
    checked = read_usage(block)
    assert checked is not None
    assert checked.problems == []
    return checked.usage


def problems_of(block: Any) -> list[str]:
    checked = read_usage(block)
    assert checked is not None
    return checked.problems


def test_thoughts_are_output_beside_what_is_written() -> None:
    block = {
        "promptTokenCount": 9,
        "candidatesTokenCount": 10,
        "thoughtsTokenCount": 30,
        "totalTokenCount": 49,
    }

    assert usage_of(block) == Usage(input_tokens=9, output_tokens=40, reasoning_tokens=30)


@pytest.mark.parametrize("told", [{}, {"thoughtsTokenCount": 0}, {"thoughtsTokenCount": 12}])
def test_thoughts_that_only_the_total_tells_are_output_too(told: dict[str, int]) -> None:
    block = {"promptTokenCount": 9, "candidatesTokenCount": 1, "totalTokenCount": 103, **told}

    assert usage_of(block) == Usage(input_tokens=9, output_tokens=94, reasoning_tokens=93)


def test_what_tools_brought_in_is_input_beside_the_prompt() -> None:
    block = {"promptTokenCount": 12, "toolUsePromptTokenCount": 100, "candidatesTokenCount": 5}

    assert usage_of({**block, "totalTokenCount": 117}) == Usage(input_tokens=112, output_tokens=5)
    assert usage_of({**block, "totalTokenCount": 17}) == Usage(input_tokens=112, output_tokens=5)


def test_cached_input_is_part_of_the_prompt() -> None:
    block = {"promptTokenCount": 1000, "cachedContentTokenCount": 600, "totalTokenCount": 1000}

    assert usage_of(block) == Usage(input_tokens=1000, cache_read_tokens=600)


@pytest.mark.parametrize(("audio", "image"), [("AUDIO", "IMAGE"), (4, 2)])
def test_sound_and_pictures_are_told_by_name_or_by_number(audio: Any, image: Any) -> None:
    block = {
        "promptTokenCount": 100,
        "candidatesTokenCount": 50,
        "promptTokensDetails": [
            {"modality": audio, "tokenCount": 60},
            {"modality": image, "tokenCount": 20},
            {"modality": "VIDEO", "tokenCount": 20},
        ],
        "candidatesTokensDetails": [
            {"modality": audio, "tokenCount": 7},
            {"modality": image, "tokenCount": 40},
        ],
    }

    assert usage_of(block) == Usage(
        input_tokens=100,
        input_audio_tokens=60,
        input_image_tokens=20,
        input_video_tokens=20,
        output_tokens=50,
        output_audio_tokens=7,
        output_image_tokens=40,
    )


def test_cached_sound_is_told_as_both_so_that_it_can_have_a_price_of_its_own() -> None:
    block = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 50,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 80}],
        "cacheTokensDetails": [
            {"modality": "AUDIO", "tokenCount": 45},
            {"modality": "TEXT", "tokenCount": 5},
        ],
    }

    assert usage_of(block) == Usage(
        input_tokens=100, cache_read_tokens=50, input_audio_tokens=80, cache_read_audio_tokens=45
    )


def test_a_cached_film_is_billed_as_cached_and_not_again_as_a_film() -> None:
    block = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "promptTokensDetails": [{"modality": "VIDEO", "tokenCount": 90}],
        "cacheTokensDetails": [{"modality": "VIDEO", "tokenCount": 60}],
    }

    assert usage_of(block) == Usage(input_tokens=100, cache_read_tokens=60, input_video_tokens=30)


def test_sound_that_tools_brought_in_counts() -> None:
    block = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 30,
        "toolUsePromptTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}],
    }

    assert usage_of(block) == Usage(input_tokens=40, input_audio_tokens=30)


def test_a_prompt_alone_is_a_usage() -> None:
    assert usage_of({"promptTokenCount": 9, "totalTokenCount": 9}) == Usage(input_tokens=9)


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("many", "usage is str, not an object"),
        ([], "usage is list, not an object"),
        ({}, "usage holds no token counts"),
        ({"totalTokenCount": 5}, "usage holds no token counts"),
        ({"promptTokenCount": None}, "usage holds no token counts"),
        ({"promptTokenCount": -1}, "promptTokenCount is negative"),
        ({"promptTokenCount": True}, "promptTokenCount is no whole number"),
        ({"promptTokenCount": "9"}, "promptTokenCount is no whole number"),
        ({"candidatesTokenCount": 1.5}, "candidatesTokenCount is no whole number"),
        ({"candidatesTokenCount": float("nan")}, "candidatesTokenCount is no whole number"),
        ({"thoughtsTokenCount": 10**15}, "thoughtsTokenCount is absurd"),
        ({"promptTokenCount": 5, "cachedContentTokenCount": 6}, "more cached tokens than input"),
        (
            {"promptTokenCount": 5, "candidatesTokenCount": 6, "totalTokenCount": 7},
            "the total is less than its parts",
        ),
        (
            {"promptTokenCount": 5, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": -5}]},
            "promptTokensDetails.tokenCount is negative",
        ),
    ],
)
def test_what_cannot_be_believed_is_told(block: Any, problem: str) -> None:
    assert problem in problems_of(block)


def test_no_usage_is_none() -> None:
    assert read_usage(None) is None


@pytest.mark.parametrize(
    ("block", "tier"),
    [
        ({"serviceTier": "PRIORITY"}, "priority"),
        ({"serviceTier": "SERVICE_TIER_FLEX"}, "flex"),
        ({"serviceTier": "unspecified"}, ""),
        ({"trafficType": "ON_DEMAND"}, "standard"),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, ""),
        ({"trafficType": 5, "serviceTier": 5}, ""),
        ({}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_the_tier_that_it_was_served_in_is_told(block: Any, tier: str) -> None:
    assert tier_of(block) == tier
