"""Edits to a request: one value's span is changed, every other byte is the client's own."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects import Api
from proxy.dialects.body import splice, value_of
from proxy.dialects.openai import DIALECT


def api(path: str) -> Api:
    found = DIALECT.surface("POST", f"/v1/{path}").api
    assert found is not None
    return found


def forwarded(body: str, path: str = "chat/completions") -> str:
    sent, wire = body.encode("utf-8", "surrogatepass"), api(path)
    return wire.forward(sent, wire.read(sent)).decode("utf-8", "surrogatepass")


def capped(body: str, cap: int, path: str = "chat/completions") -> str:
    sent, wire = body.encode(), api(path)
    return wire.with_output_cap(sent, wire.read(sent), cap).decode()


# -- include_usage --------------------------------------------------------------------------------------------------

TAIL = '"model": "m" , "messages":[ ],\n\t"stream" :true }\r\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{", '{"stream_options":{"include_usage":true},'),
        (" \n{ ", ' \n{"stream_options":{"include_usage":true}, '),
        ('{"stream_options":null,', '{"stream_options":{"include_usage":true},'),
        ('{"stream_options" :  null , ', '{"stream_options" :  {"include_usage":true} , '),
        ('{"stream_options":{},', '{"stream_options":{"include_usage":true},'),
        ('{"stream_options":{ \n},', '{"stream_options":{"include_usage":true \n},'),
        ('{"stream_options":{"include_usage":false},', '{"stream_options":{"include_usage":true},'),
        ('{"stream_options":{"include_usage" : null },', '{"stream_options":{"include_usage" : true },'),
        ('{"stream_options":{"include_usage":0},', '{"stream_options":{"include_usage":true},'),
        ('{"stream_options":{"include_usage":"true"},', '{"stream_options":{"include_usage":true},'),
        (
            '{"stream_options":{ "include_obfuscation" : false },',
            '{"stream_options":{"include_usage":true, "include_obfuscation" : false },',
        ),
        (
            '{"stream_options":{"a":1e2,"include_usage":false,"b":123456789012345678901234567890},',
            '{"stream_options":{"a":1e2,"include_usage":true,"b":123456789012345678901234567890},',
        ),
        ('{"stream_\\u006fptions":null,', '{"stream_\\u006fptions":{"include_usage":true},'),
        (
            '{"a":"\\"stream_options\\":null,}{","b":{"stream_options":null},',
            '{"stream_options":{"include_usage":true},"a":"\\"stream_options\\":null,}{","b":{"stream_options":null},',
        ),
        ('{"\\ud800":"\\ud800",', '{"stream_options":{"include_usage":true},"\\ud800":"\\ud800",'),
        (
            '{"stream_options":{"x":"\\ud800"},',
            '{"stream_options":{"include_usage":true,"x":"\\ud800"},',
        ),
    ],
)
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_usage_is_asked_for_and_no_other_byte_changes(before: str, after: str, path: str) -> None:
    assert forwarded(before + TAIL, path) == after + TAIL


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("chat/completions", '"stream":true,"stream_options":{"include_usage":true}'),
        ("chat/completions", '"stream":false,"stream_options":{}'),
        ("chat/completions", '"stream":null'),
        ("chat/completions", '"n":1'),
        ("completions", '"stream":true,"stream_options":{"include_usage":true}'),
        ("embeddings", '"stream":true'),
        ("responses", '"stream":true'),
        ("responses", '"stream":true,"stream_options":{"include_obfuscation":false}'),
    ],
)
def test_a_call_that_needs_no_edit_is_the_very_same_object(path: str, more: str) -> None:
    body = f'{{"model":"m","messages":[],{more}}}'.encode()

    assert api(path).forward(body, api(path).read(body)) is body


def test_a_picture_of_megabytes_is_walked_over_without_a_copy_for_each_byte() -> None:
    """A regular expression that can go back keeps a state for every character."""
    head, tail = '{"messages":[{"content":"', '\\"' * 1000 + '"}],"model":"m","stream":true}'
    body = head + "A" * (4 << 20) + tail

    assert forwarded(body) == '{"stream_options":{"include_usage":true},' + body[1:]


TEXTS = st.text(max_size=8) | st.sampled_from(
    ['"', "\\", "{", "}", "[", "]", ",", "stream_options", "\ud800"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OPTIONS = st.none() | st.fixed_dictionaries(
    {}, optional={"include_usage": st.none() | st.booleans(), "include_obfuscation": VALUES}
)


@st.composite
def streamed(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """A streamed call and one way of writing it down."""
    extra = draw(st.lists(st.tuples(st.sampled_from(["metadata", "a", "\\", '"', "é", "\ud800"]), VALUES)))
    body: dict[str, Any] = {**dict(extra), "model": "m", "messages": [], "stream": True}
    if draw(st.booleans()):
        body["stream_options"] = draw(OPTIONS)
    ordered = {name: body[name] for name in draw(st.permutations(sorted(body)))}
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")]))
    indent = draw(st.sampled_from([None, 0, 3]))
    space = draw(st.sampled_from(["", " ", "\r\n\t"]))
    return body, space + json.dumps(ordered, separators=separators, indent=indent) + space


@settings(max_examples=300, deadline=None)
@given(streamed())
def test_what_is_forwarded_differs_in_nothing_but_include_usage(call: tuple[dict[str, Any], str]) -> None:
    body, text = call

    after = forwarded(text)

    expected = {**body, "stream_options": {**(body.get("stream_options") or {}), "include_usage": True}}
    assert json.loads(after) == expected
    assert json.loads(text) == body


# -- a lower limit --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("chat/completions", '"max_tokens" : 900', '"max_tokens" : 50'),
        ("chat/completions", '"max_completion_tokens":900', '"max_completion_tokens":50'),
        (
            "chat/completions",
            '"max_tokens":800,"max_completion_tokens":900',
            '"max_tokens":50,"max_completion_tokens":50',
        ),
        (
            "chat/completions",
            '"max_tokens":10,"max_completion_tokens":900',
            '"max_tokens":10,"max_completion_tokens":50',
        ),
        ("chat/completions", '"max_completion_tokens":null', '"max_completion_tokens":50'),
        ("chat/completions", '"max_completion_tokens":0', '"max_completion_tokens":50'),
        (
            "chat/completions",
            '"max_tokens":10,"max_output_tokens":900',
            '"max_tokens":10,"max_output_tokens":50',
        ),
        (
            "responses",
            '"max_output_tokens":0,"max_tokens":900',
            '"max_output_tokens":50,"max_tokens":50',
        ),
        ("completions", '"max_tokens":900', '"max_tokens":50'),
        ("responses", '"max_output_tokens":900', '"max_output_tokens":50'),
        ("embeddings", '"dimensions":256', '"dimensions":256'),
    ],
)
def test_every_limit_above_the_cap_is_lowered_and_none_is_raised(path: str, before: str, after: str) -> None:
    body = '{{"model":"m", {} ,"messages":[]}}\n'

    assert capped(body.format(before), 50, path) == body.format(after)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("chat/completions", "max_completion_tokens"),
        ("completions", "max_tokens"),
        ("responses", "max_output_tokens"),
    ],
)
def test_a_call_without_a_limit_gets_one(path: str, name: str) -> None:
    body = '{"model":"m","messages":[]}'

    assert capped(body, 50, path) == f'{{"{name}":50,"model":"m","messages":[]}}'


def test_another_apis_limit_is_lowered_but_does_not_stand_for_ones_own() -> None:
    body = '{"max_output_tokens":900,"model":"m","messages":[]}'

    assert capped(body, 50) == '{"max_completion_tokens":50,"max_output_tokens":50,"model":"m","messages":[]}'


# -- the splice itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"{}", b" { } ", b'{"a":1}', b'{"a":{"b":2}}', b'{"a":[{"b":"}"}],"c":"x"}']
)
def test_a_key_that_is_absent_is_put_first(body: bytes) -> None:
    before = json.loads(body)

    after = splice(body, "b", b"[3]")

    assert json.loads(after) == {**before, "b": [3]}
    assert list(json.loads(after)) == ["b", *before]


def test_of_a_doubled_key_the_last_is_the_one() -> None:
    body = b'{"a":1,"b":"x","a":[2, {}] }'

    assert value_of(body, "a") == b"[2, {}]"
    assert splice(body, "a", b"0") == b'{"a":1,"b":"x","a":0 }'


def test_the_value_of_an_absent_key_is_none() -> None:
    assert value_of(b'{"a":{"b":1}}', "b") is None
