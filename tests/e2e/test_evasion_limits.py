"""Limits under other names, and what multiplies an answer: none of them lowers a hold below the bill."""

from typing import Any

import pytest

from tests.support.calls import CHAT, COMPLETIONS, RESPONSES, chat_body
from tests.support.evasion import Attempt, body, check_held, outcome
from tests.support.gathering import dollars
from tests.support.process import ScriptedProvider, Spendgate
from tests.support.script import Script
from tests.support.shapes import words

MODEL_MAX = 16_384  # of gpt-4o-mini's output

Fields = dict[str, Any]


# -- limits ---------------------------------------------------------------------------------------------------------

LIMITS: list[tuple[str, Fields, int]] = [
    (CHAT, {"max_tokens": 5, "max_completion_tokens": 400}, 400),
    (CHAT, {"max_tokens": 400, "max_completion_tokens": 5}, 400),
    (CHAT, {"max_tokens": None, "max_completion_tokens": 400}, 400),
    (CHAT, {"max_tokens": 5, "max_output_tokens": 400}, 400),
    (CHAT, {"max_completion_tokens": 5, "max_output_tokens": 400}, 400),
    (CHAT, {"max_output_tokens": 5}, MODEL_MAX),
    (CHAT, {"Max_Tokens": 5}, MODEL_MAX),
    (CHAT, {"max_tokens ": 5}, MODEL_MAX),
    (CHAT, {"generationConfig": {"maxOutputTokens": 5}}, MODEL_MAX),
    (CHAT, {}, MODEL_MAX),
    (CHAT, {"max_tokens": None}, MODEL_MAX),
    (CHAT, {"max_tokens": 0}, MODEL_MAX),
    (CHAT, {"max_tokens": 5, "max_completion_tokens": 0}, MODEL_MAX),
    (CHAT, {"max_tokens": 1 << 31}, MODEL_MAX),
    (COMPLETIONS, {"max_tokens": 5, "max_completion_tokens": 400}, 400),
    (COMPLETIONS, {"max_completion_tokens": 400}, 400),
    (COMPLETIONS, {"max_tokens": 0}, 16),
    (COMPLETIONS, {"max_tokens": None}, 16),
    (COMPLETIONS, {}, 16),
    (RESPONSES, {"max_output_tokens": 5, "max_tokens": 400}, 400),
    (RESPONSES, {"max_output_tokens": 5, "max_completion_tokens": 400}, 400),
    (RESPONSES, {"max_tokens": 5}, MODEL_MAX),
    (RESPONSES, {"max_output_tokens": None}, MODEL_MAX),
    (RESPONSES, {"max_output_tokens": 0}, MODEL_MAX),
    (RESPONSES, {"max_tool_calls": 1, "reasoning": {"effort": "high"}}, MODEL_MAX),
    (CHAT, {"n": 7, "max_tokens": 50}, 50),
    (CHAT, {"n": 128, "max_tokens": 5}, 5),
    (CHAT, {"n": None, "max_tokens": 5, "logprobs": True, "top_logprobs": 20}, 5),
    (CHAT, {"n": 3}, MODEL_MAX),
    (COMPLETIONS, {"n": 2, "best_of": 9, "max_tokens": 10}, 45),  # 90 for two answers
    (COMPLETIONS, {"best_of": 9, "max_tokens": 10}, 90),
    (COMPLETIONS, {"prompt": ["hi"] * 5, "max_tokens": 10}, 50),
    (COMPLETIONS, {"prompt": ["hi"] * 5, "n": 2, "best_of": 4, "max_tokens": 10}, 100),
    (COMPLETIONS, {"prompt": "hi", "echo": True, "logprobs": 5, "max_tokens": 10}, 10),
    (CHAT, {"max_tokens": 5, "prediction": {"type": "content", "content": words(300)}}, 305),
    (
        CHAT,
        {"prediction": {"type": "content", "content": [{"type": "text", "text": words(300)}]}},
        MODEL_MAX + 300,
    ),
]


@pytest.mark.parametrize(
    ("path", "fields", "made"), LIMITS, ids=[f"{p[4:]} {str(f)[:70]}" for p, f, _ in LIMITS]
)
async def test_no_form_of_a_limit_holds_less_than_the_longest_answer_costs(
    spendgate: Spendgate,
    provider: ScriptedProvider,
    poor: str,
    key: str,
    tag: str,
    path: str,
    fields: Fields,
    made: int,
) -> None:
    """The provider makes as much as any reading of the body lets it."""
    attempt = Attempt(body(path, fields), path, Script(output_tokens=made, input_tokens=1))

    passed = await check_held(spendgate, provider, (poor, key), tag, attempt)

    assert passed.billed is not None, "it should pass without a budget"
    assert passed.nanos == passed.billed.nanos


NO_NUMBER = [
    "-1",
    "1.5",
    "5.0",
    "5e0",
    '"5"',
    "true",
    "[5]",
    "{}",
    "1e999",
    "1" + "0" * 400,
    "NaN",
    "Infinity",
    '""',
]


@pytest.mark.parametrize("value", NO_NUMBER, ids=lambda value: value[:12])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        (CHAT, "max_tokens"),
        (CHAT, "max_completion_tokens"),
        (CHAT, "n"),
        (COMPLETIONS, "max_tokens"),
        (COMPLETIONS, "best_of"),
        (RESPONSES, "max_output_tokens"),
    ],
)
async def test_a_limit_that_is_no_whole_number_goes_nowhere(
    spendgate: Spendgate,
    provider: ScriptedProvider,
    poor: str,
    key: str,
    tag: str,
    path: str,
    name: str,
    value: str,
) -> None:
    raw = body(path, {"hole": 0}).replace(b'"hole": 0', f'"{name}": {value}'.encode())

    passed = await check_held(spendgate, provider, (poor, key), tag, Attempt(raw, path))

    assert (passed.status, passed.billed) == (400, None)


# -- exactly --------------------------------------------------------------------------------------------------------


async def test_a_budget_of_exactly_the_ceiling_takes_one_call_and_no_other(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, tag: str
) -> None:
    """The hold is not only enough: it is what the budget is measured by, call after call."""
    attempt = Attempt(
        body(COMPLETIONS, {"prompt": [words(5)] * 3, "best_of": 2, "max_tokens": 10}),
        COMPLETIONS,
        Script(input_tokens=15, output_tokens=60),
    )
    told = await outcome(spendgate, provider, poor, f"{tag}-poor", attempt)
    key = spendgate.key(tag, "--budget-usd", dollars(told.estimate), "--period", "total", "--hold", "strict")

    first = await outcome(spendgate, provider, key, f"{tag}-1", attempt)
    second = await outcome(spendgate, provider, key, f"{tag}-2", Attempt(chat_body(8, max_tokens=1)))

    assert first.billed is not None
    assert first.nanos == first.billed.nanos == told.estimate
    assert (second.status, second.code, second.billed) == (402, "budget_exceeded", None)
