"""Names that hide a dear model, and providers that serve, or say, something else than was asked."""

import json
from typing import Any

import pytest

from tests.support.calls import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, chat_body
from tests.support.evasion import Attempt, check_held, outcome
from tests.support.gathering import dollars
from tests.support.process import ScriptedProvider, Spendgate
from tests.support.script import Script, Tale, exactly

MINI = 10 * 150 + 10 * 600  # what a call of ten tokens in and ten out costs
DEAR = 10 * 2500 + 10 * 10_000


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("GPT-4o-Mini", "gpt-4o-mini"),
        ("gpt-4O", "gpt-4o"),
        ("models/gpt-4o", "gpt-4o"),
        ("MODELS/GPT-4O", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("GPT-4O-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-4o-2099-01-01", "gpt-4o-2099-01-01"),
        ("gpt-4o-mini-2024-07-18-2024-07-18", "gpt-4o-mini"),
        ("ft:gpt-4o-mini-2024-07-18:acme::1", "ft:gpt-4o-mini-2024-07-18:acme::1"),
        ("ft:gpt-4o-mini:acme::1", "ft:gpt-4o-mini:acme::1"),
        ("FT:gpt-4o-mini:acme::1", "ft:gpt-4o-mini:acme::1"),
        ("models/ft:gpt-4o-mini:acme::1", "ft:gpt-4o-mini:acme::1"),
        ("ft:gpt-4.1-mini:acme::1", "ft:gpt-4.1-mini:acme::1"),
        ("openai/gpt-4o", "gpt-4o"),
        ("models/models/gpt-4o", "gpt-4o"),
    ],
)
async def test_a_form_of_a_known_name_is_held_and_charged_at_its_own_price(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, name: str, served: str
) -> None:
    attempt = Attempt(chat_body(model=name), script=Script(model=served))

    passed = await check_held(spendgate, provider, (poor, key), tag, attempt)

    assert passed.billed is not None
    assert (passed.nanos, passed.flags) == (passed.billed.nanos, [])


UNKNOWN = {
    "space behind": "gpt-4o-mini ",
    "space before": " gpt-4o-mini",
    "tab": "gpt-4o-mini\t",
    "line feed": "gpt-4o-mini\n",
    "line feed behind a date": "gpt-4o-mini-2024-07-18\n",
    "zero-width space": "gpt-4o-mini\u200b",
    "no-break hyphen": "gpt\u20114o-mini",
    "cyrillic o": "gpt-4\u043e-mini",
    "full-width letters": "\uff47\uff50\uff54-4o-mini",
    "right-to-left override": "\u202egpt-4o-mini",
    "combining accent": "gpt-4o\u0301-mini",
    "null byte": "gpt-4o-mini\x00",
    "null byte between": "gpt-4o-mini\x00gpt-4o",
    "suffix": "gpt-4o-mini-latest",
    "variant": "gpt-4o-mini:free",
    "dash": "gpt-4o-mini-",
    "no date": "gpt-4o-mini-2024-7-18",
    "another vendor": "elsewhere/gpt-4o-mini",
    "router": "openrouter/auto",
    "auto": "auto",
    "a path": "../gpt-4o-mini",
    "two names": "gpt-4o-mini,gpt-4o",
    "a pattern": "gpt-4o-*",
    "very long": "gpt-4o-mini" * 1000,
    "spaces": "   ",
}


@pytest.mark.parametrize("name", UNKNOWN.values(), ids=UNKNOWN.keys())
async def test_a_name_that_nobody_knows_is_refused_under_a_strict_budget_and_marked_elsewhere(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, name: str
) -> None:
    """The provider trims, folds or routes it, serves a dear model, and says the name that it was asked for."""
    told = json.dumps({"model": name, "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 0}})
    reply = exactly(200, [("Content-Type", "application/json")], told.encode())
    attempt = Attempt(chat_body(model=name), script=Script(model="gpt-4o", reply=reply))

    refused = await outcome(spendgate, provider, poor, f"{tag}-poor", attempt)
    assert (refused.status, refused.code) == (403, "unknown_model")

    passed = await outcome(spendgate, provider, key, f"{tag}-free", attempt)
    assert passed.billed is not None
    assert passed.nanos >= passed.billed.nanos
    assert "unknown_price" in passed.flags


@pytest.mark.parametrize("name", [None, "", 1, True, ["gpt-4o-mini"], {"id": "gpt-4o-mini"}, "gpt-4o\ud800"])
async def test_what_is_no_name_is_refused_everywhere(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, name: Any
) -> None:
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "hi"}]}).encode()

    passed = await check_held(spendgate, provider, (poor, key), tag, Attempt(body))

    assert (passed.status, passed.code) == (400, "invalid_value")


# -- another model, another tier ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("served", "flag"),
    [
        ("gpt-4o", "served_other_model"),
        ("gpt-4.1-mini", "served_other_model"),
        ("gpt-4o-secret", "served_unknown_model"),  # billed as its family, but we cannot know
    ],
)
async def test_another_model_than_asked_is_charged_at_the_truth_or_owned_up_to(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, served: str, flag: str, stream: bool
) -> None:
    attempt = Attempt(chat_body(stream=stream), script=Script(model=served))

    passed = await outcome(spendgate, provider, key, tag, attempt)

    assert passed.billed is not None
    assert flag in passed.flags
    assert passed.nanos == (MINI if flag == "served_unknown_model" else passed.billed.nanos)


async def test_a_dearer_model_than_was_held_for_empties_the_budget_and_is_the_last_call(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = spendgate.key(tag, "--budget-usd", dollars(2 * MINI), "--period", "total", "--hold", "strict")
    attempt = Attempt(chat_body(), script=Script(model="gpt-4o"))

    first = await outcome(spendgate, provider, key, f"{tag}-1", attempt)
    second = await outcome(spendgate, provider, key, f"{tag}-2", attempt)

    assert (first.nanos, "hold_exceeded" in first.flags) == (DEAR, True)
    assert (second.status, second.billed) == (402, None)


@pytest.mark.parametrize("tier", ["priority", "fast", "PRIORITY", "priority ", "turbo", "scale"])
async def test_a_dear_tier_that_was_asked_for_is_held_and_charged_as_such(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, tier: str
) -> None:
    attempt = Attempt(chat_body(service_tier=tier), script=Script(tier="priority"))

    passed = await check_held(spendgate, provider, (poor, key), tag, attempt)

    assert passed.nanos == 10 * 250 + 10 * 1000


@pytest.mark.parametrize("tier", [None, "auto", "default", "", "flex"])
async def test_a_dear_tier_that_was_not_asked_for_is_charged_at_the_truth(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, tier: str | None
) -> None:
    """A project's own settings may make `auto` a dear tier: the hold cannot know, the row does."""
    attempt = Attempt(chat_body(service_tier=tier), script=Script(tier="priority"))

    passed = await outcome(spendgate, provider, key, tag, attempt)

    assert passed.nanos == 10 * 250 + 10 * 1000
    assert passed.ceiling >= passed.nanos or "hold_exceeded" in passed.flags


@pytest.mark.parametrize("tier", [1, ["priority"], {"tier": "priority"}, True])
async def test_a_tier_that_is_no_name_is_refused(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, tier: Any
) -> None:
    passed = await check_held(spendgate, provider, (poor, key), tag, Attempt(chat_body(service_tier=tier)))

    assert (passed.status, passed.code) == (400, "invalid_value")


# -- usage ----------------------------------------------------------------------------------------------------------

TALES: tuple[Tale, ...] = (
    "missing", "null", "zero", "negative", "nan", "infinity", "string", "fraction", "huge", "doubled",
)  # fmt: skip


@pytest.mark.parametrize("tale", TALES)
@pytest.mark.parametrize(
    ("path", "stream"),
    [(RESPONSES, False), (RESPONSES, True), (COMPLETIONS, False), (COMPLETIONS, True), (EMBEDDINGS, False)],
)
async def test_no_lie_about_usage_makes_a_call_cheaper_without_a_word(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, tale: Tale, path: str, stream: bool
) -> None:
    text = "word " * 20
    body: dict[str, Any] = {"model": "gpt-4o-mini", "stream": stream}
    if path == EMBEDDINGS:
        body = {"model": "text-embedding-3-small", "input": text}
    else:
        limit = "max_output_tokens" if path == RESPONSES else "max_tokens"
        body |= {"input" if path == RESPONSES else "prompt": text, limit: 8}

    passed = await outcome(
        spendgate, provider, key, tag, Attempt(json.dumps(body).encode(), path, Script(usage=tale))
    )

    assert passed.billed is not None
    assert passed.nanos >= passed.billed.nanos or passed.flags


@pytest.mark.parametrize(
    "usage",
    [
        {},
        [],
        "free",
        0,
        False,
        {"prompt_tokens": {"count": 0}},
        {"prompt_tokens": [10]},
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": -10, "completion_tokens": 10},
        {"prompt_tokens": 10, "completion_tokens": -10},
        {"prompt_tokens": True, "completion_tokens": True},
        {"prompt_tokens": "10", "completion_tokens": "10"},
        {"prompt_tokens": 10, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 10**30}},
        {"prompt_tokens": 10, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": -10}},
        {"prompt_tokens": 10**400, "completion_tokens": 10},
        {"usage": {"prompt_tokens": 0, "completion_tokens": 0}},
        {"total_tokens": 0},
    ],
    ids=lambda usage: json.dumps(usage)[:60],
)
async def test_usage_of_a_strange_shape_is_not_taken_for_nothing(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, usage: Any
) -> None:
    """Ten words went in and ten came out, whatever the usage says."""
    message = {"role": "assistant", "content": "word " * 9 + "word"}
    told = {"model": "gpt-4o-mini", "choices": [{"index": 0, "message": message}], "usage": usage}
    reply = exactly(200, [("Content-Type", "application/json")], json.dumps(told).encode())

    passed = await outcome(spendgate, provider, key, tag, Attempt(chat_body(), CHAT, Script(reply=reply)))

    assert passed.row is not None
    assert (passed.row["basis"], passed.nanos >= MINI) == ("observed", True)
