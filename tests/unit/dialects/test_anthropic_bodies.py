"""A message's body with a lower limit in it, and bodies that are not what their path says."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects import BadBody, Reading
from proxy.dialects.anthropic_messages import Messages

API = Messages()


def read(**more: Any) -> Reading:
    return API.read(json.dumps({"model": "m", "max_tokens": 10, "messages": [], **more}).encode())


def refused(**more: Any) -> BadBody:
    with pytest.raises(BadBody) as bad:
        read(**more)
    return bad.value


# -- a lower limit --------------------------------------------------------------------------------------------------


def capped(body: bytes, cap: int) -> bytes:
    return API.with_output_cap(body, API.read(body), cap)


def test_a_cap_lowers_max_tokens_and_leaves_every_other_byte() -> None:
    body = b'{ "model":"m", "max_tokens" : 4096 ,"messages":[],"x":{"max_tokens":9}}'

    assert capped(body, 100) == body.replace(b"4096", b"100")
    assert capped(body, 5000) == body


@pytest.mark.parametrize("limit", [b"", b',"max_tokens":null', b',"max_tokens":0'])
def test_a_call_without_a_limit_gets_one(limit: bytes) -> None:
    body = b'{"model":"m","messages":[]' + limit + b"}"

    assert API.read(body).output_tokens_max is None
    assert json.loads(capped(body, 64))["max_tokens"] == 64


@pytest.mark.parametrize(
    ("cap", "budget"),
    [(4000, 3999), (3000, 2999), (2000, 1999), (1025, 1024), (1024, 4000), (5000, 4000)],
)
def test_a_budget_for_thinking_stays_below_a_lowered_limit_where_it_can(cap: int, budget: int) -> None:
    body = b'{"model":"m","max_tokens":8000,"thinking":{"type":"enabled","budget_tokens":4000},"messages":[]}'

    told = json.loads(capped(body, cap))

    assert (told["max_tokens"], told["thinking"]["budget_tokens"]) == (cap, budget)


def test_nothing_is_spliced_into_a_stream() -> None:
    body = b'{"model":"m","max_tokens":1,"stream":true,"messages":[]}'

    assert API.forward(body, API.read(body)) is body


# -- hostile bodies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1 << 40}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"tools": {}}, "tools"),
        ({"thinking": []}, "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": "all"}}, "budget_tokens"),
        ({"service_tier": 1}, "service_tier"),
    ],
)
def test_a_wrong_value_is_refused_with_its_parameter(more: dict[str, Any], param: str) -> None:
    assert refused(**more).param == param


def test_a_doubled_key_is_refused() -> None:
    with pytest.raises(BadBody) as bad:
        API.read(b'{"model":"m","max_tokens":1,"max_tokens":9,"messages":[]}')

    assert (bad.value.code, bad.value.param) == ("duplicate_key", "max_tokens")


def test_results_within_results_have_an_end() -> None:
    block: Any = {"type": "text", "text": "deep"}
    for _ in range(300):
        block = {"type": "tool_result", "content": [block]}

    prompt = read(messages=[{"role": "user", "content": [block]}]).prompt

    assert "deep" in "".join(prompt.texts)


@pytest.mark.parametrize("levels", [480, 5_000])
def test_results_within_results_without_end_are_read_or_refused(levels: int) -> None:
    """How deep it goes is the interpreter's: 3.12 goes deeper than 3.11. Nothing else may come of it."""
    nested = '{"type":"tool_result","content":[' * levels + '"deep"' + "]}" * levels

    body = f'{{"model":"m","messages":[{{"role":"user","content":[{nested}]}}]}}'.encode()

    try:
        told = "".join(API.read(body, strict=False).prompt.texts)
    except BadBody as bad:
        told = bad.message

    assert "deep" in told


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "source", "data", "thinking", "signature", "name"])
            | st.text(max_size=2),
            inner
            | st.sampled_from(["text", "image", "document", "tool_result", "thinking", "base64", "content"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)
NAMES = [
    "system",
    "messages",
    "tools",
    "thinking",
    "metadata",
    "output_config",
    "context_management",
    "speed",
]


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4), st.lists(JSON, max_size=3))
def test_a_body_is_read_or_refused_and_nothing_else(more: dict[str, Any], blocks: list[Any]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": blocks}], **more}
    try:
        reading = API.read(json.dumps(body).encode())
    except BadBody as bad:
        bad.message.encode()
        return
    assert reading.model == "m"
    reading.user.encode()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_bytes_are_read_or_refused(body: bytes) -> None:
    with pytest.raises(BadBody):
        API.read(body)
