"""What a peek into a request gives: model, limits, answers that are billed, and what the model is given to read."""

import base64
import json
import struct
from typing import Any

import pytest

from pricing.tokens import Image
from proxy.dialects import Api, BadBody, Reading
from proxy.dialects.openai import DIALECT

HELLO = [{"role": "user", "content": "hello"}]


def api(path: str) -> Api:
    found = DIALECT.surface("POST", f"/v1/{path}").api
    assert found is not None
    return found


def read(path: str, **body: Any) -> Reading:
    return api(path).read(json.dumps({"model": "gpt-4o", **body}).encode())


def chat(**body: Any) -> Reading:
    return read("chat/completions", **{"messages": HELLO, **body})


def content(*parts: Any) -> Reading:
    return chat(messages=[{"role": "user", "content": list(parts)}])


# -- who, how much, how many ----------------------------------------------------------------------------------------


def test_a_plain_chat_call_is_one_answer_without_a_limit() -> None:
    reading = chat()

    assert (reading.model, reading.stream, reading.choices) == ("gpt-4o", False, 1)
    assert (reading.output_tokens_max, reading.limit_names, reading.batch_size) == (None, (), 1)
    assert (reading.prompt.texts, reading.prompt.messages) == (("user", "hello"), 1)
    assert reading.has_output


def test_every_fact_of_a_chat_call_is_read() -> None:
    reading = chat(
        stream=True,
        n=3,
        max_tokens=9,
        user="ann",
        service_tier="flex",
        stream_options={"include_usage": True},
    )

    assert (reading.stream, reading.choices, reading.output_tokens_max) == (True, 3, 9)
    assert (reading.user, reading.service_tier, reading.include_usage_asked) == ("ann", "flex", True)


def test_null_is_as_good_as_absent() -> None:
    nulls = dict.fromkeys(
        ["stream", "n", "max_tokens", "tools", "functions", "user", "service_tier", "stream_options"]
    )

    reading = chat(**nulls)

    assert (reading.stream, reading.choices, reading.output_tokens_max) == (False, 1, None)
    assert (reading.user, reading.service_tier, reading.include_usage_asked) == ("", "", False)


@pytest.mark.parametrize(
    ("limits", "most", "named"),
    [
        ({"max_tokens": 7}, 7, ("max_tokens",)),
        ({"max_completion_tokens": 8}, 8, ("max_completion_tokens",)),
        ({"max_tokens": 7, "max_completion_tokens": 8}, 8, ("max_completion_tokens", "max_tokens")),
        ({"max_tokens": 9, "max_completion_tokens": 8}, 9, ("max_completion_tokens", "max_tokens")),
        ({"max_tokens": None, "max_completion_tokens": 8}, 8, ("max_completion_tokens",)),
        ({"max_tokens": 9, "max_output_tokens": 50}, 50, ("max_tokens", "max_output_tokens")),
        ({"max_tokens": 0}, None, ("max_tokens",)),
        ({"max_tokens": 9, "max_completion_tokens": 0}, None, ("max_completion_tokens", "max_tokens")),
        ({"max_output_tokens": 5}, None, ("max_output_tokens",)),
    ],
)
def test_the_largest_of_a_chat_calls_limits_is_what_it_may_write(
    limits: dict[str, Any], most: int | None, named: tuple[str, ...]
) -> None:
    reading = chat(**limits)

    assert (reading.output_tokens_max, reading.limit_names) == (most, named)


def test_responses_are_limited_by_a_name_of_their_own() -> None:
    reading = read("responses", input="hi", max_output_tokens=64, max_tokens=9, background=True)

    assert (reading.output_tokens_max, reading.limit_names) == (64, ("max_tokens", "max_output_tokens"))
    assert reading.background
    assert read("responses", input="hi", max_tokens=9).output_tokens_max is None


def test_completions_write_sixteen_tokens_unless_told_otherwise() -> None:
    assert read("completions", prompt="a").output_tokens_max == 16
    assert read("completions", prompt="a", max_tokens=400).output_tokens_max == 400


@pytest.mark.parametrize(
    ("body", "choices"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": ["a", "b"], "n": 2}, 4),
        ({"prompt": ["a", "b"], "n": 2, "best_of": 5}, 10),
        ({"prompt": [1, 2, 3], "best_of": 3}, 3),
        ({"prompt": [[1, 2], [3]], "n": 1}, 2),
        ({"prompt": []}, 1),
        ({}, 1),
    ],
)
def test_each_prompt_of_completions_is_billed_for_the_best_of_its_answers(
    body: dict[str, Any], choices: int
) -> None:
    assert read("completions", **body).choices == choices


@pytest.mark.parametrize(
    ("given", "batch", "texts", "tokens"),
    [
        ("one", 1, ("one",), 0),
        (["one", "two", "three"], 3, ("one", "two", "three"), 0),
        ([11, 12, 13], 1, (), 3),
        ([[11, 12], [13]], 2, (), 3),
        ([], 1, (), 0),
    ],
)
def test_embeddings_are_counted_by_input(given: Any, batch: int, texts: tuple[str, ...], tokens: int) -> None:
    reading = read("embeddings", input=given)

    assert (reading.batch_size, reading.prompt.texts, reading.prompt.tokens) == (batch, texts, tokens)
    assert not reading.has_output


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_the_newer_name_of_the_user_comes_first(path: str) -> None:
    both = {"user": "old", "safety_identifier": "new", "messages": HELLO}

    assert read(path, **both).user == "new"


@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings", "responses"])
@pytest.mark.parametrize("model", [None, "", 4, ["gpt-4o"]])
def test_a_call_without_a_model_names_the_parameter(path: str, model: Any) -> None:
    with pytest.raises(BadBody) as bad:
        read(path, model=model, messages=HELLO)

    assert (bad.value.param, bad.value.message) == ("model", '"model" must be a string')


# -- what the model is given to read --------------------------------------------------------------------------------


def test_tools_functions_and_schemas_are_read_as_compact_json() -> None:
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    schema = {"name": "answer", "schema": {"type": "object"}}

    prompt = chat(
        tools=[tool],
        functions=[{"name": "old"}],
        response_format={"type": "json_schema", "json_schema": schema},
    ).prompt

    assert [json.loads(one) for one in prompt.tools] == [
        tool,
        {"type": "function", "function": {"name": "old"}},
    ]
    assert prompt.schema == '{"name":"answer","schema":{"type":"object"}}'
    assert not prompt.hidden


def test_a_json_mode_without_schema_is_nothing_to_read() -> None:
    assert chat(response_format={"type": "json_object"}).prompt.schema == ""


def test_a_responses_schema_stands_under_text() -> None:
    given = {"format": {"type": "json_schema", "name": "a", "schema": {}}}

    assert json.loads(read("responses", input="x", text=given).prompt.schema) == given["format"]


def test_names_tool_calls_and_refusals_of_earlier_messages_are_read() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    prompt = chat(
        messages=[
            {"role": "user", "name": "ann", "content": "hi"},
            {"role": "assistant", "content": None, "refusal": "no", "tool_calls": [call]},
        ]
    ).prompt

    assert (prompt.messages, prompt.named) == (2, 1)
    assert prompt.texts[:5] == ("user", "ann", "hi", "assistant", "no")
    assert json.loads(prompt.texts[5]) == call


def test_responses_read_instructions_and_every_item() -> None:
    prompt = read(
        "responses",
        instructions="be kind",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call_output", "call_id": "call_1", "output": "9"},
        ],
    ).prompt

    assert prompt.messages == 3
    assert prompt.texts[:3] == ("be kind", "user", "hi")
    assert '"output":"9"' in prompt.texts[3]


@pytest.mark.parametrize(
    "body",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"tools": [{"type": "web_search"}]},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
    ],
)
def test_input_that_is_not_in_the_body_is_hidden(body: dict[str, Any]) -> None:
    assert read("responses", **{"input": "hi", **body}).prompt.hidden
    assert not read("responses", input="hi").prompt.hidden


def test_a_web_search_and_an_earlier_audio_answer_are_hidden_input_of_chat() -> None:
    assert chat(web_search_options={}).prompt.hidden
    assert chat(messages=[{"role": "assistant", "audio": {"id": "audio_1"}}]).prompt.hidden


def test_the_payload_of_audio_and_files_is_bytes_and_never_text() -> None:
    data = base64.b64encode(b"x" * 300).decode()
    prompt = content(
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": data}},
    ).prompt

    assert (prompt.attachment_bytes, prompt.texts) == (600, ("user",))
    assert prompt.hidden, "a compressed file holds more than its bytes"


def picture(raw: bytes, **more: Any) -> Image:
    url = "data:image/any;base64," + base64.b64encode(raw).decode()
    prompt = content({"type": "image_url", "image_url": {"url": url, **more}}).prompt
    assert prompt.texts == ("user",)
    return prompt.images[0]


@pytest.mark.parametrize(
    "raw",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + struct.pack(">II", 640, 480) + bytes(9),
        b"\xff\xd8\xff\xe0\x00\x04\x00\x00\xff\xc0\x00\x11\x08" + struct.pack(">HH", 480, 640) + bytes(9),
        b"RIFF\x00\x00\x00\x00WEBPVP8X" + bytes(8) + b"\x7f\x02\x00\xdf\x01\x00",
        b"RIFF\x00\x00\x00\x00WEBPVP8L" + bytes(5) + struct.pack("<I", 639 | 479 << 14) + bytes(9),
        b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(10) + struct.pack("<HH", 640, 480),
    ],
    ids=["png", "jpeg", "webp extended", "webp lossless", "webp lossy"],
)
def test_the_size_of_a_picture_in_the_body_is_read_from_its_head(raw: bytes) -> None:
    assert picture(raw, detail="high") == Image("high", 640, 480)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dtEXt" + struct.pack(">II", 1, 1) + bytes(9),
        b"GIF89a" + struct.pack("<HH", 1, 1) + bytes(9),
        b"\xff\xd8\xff\xc0",
        b"\xff\xd8\xff\xff\x00\x02\xff\xc0\x00\x11\x08" + struct.pack(">HH", 1, 1) + bytes(9),
        b"RIFF\0\0\0\0WEBPVP8X",
        b"RIFF\0\0\0\0WEBPXXXX" + bytes(10) + struct.pack("<HH", 1, 1),
        b"BM",
    ],
)
def test_a_picture_that_cannot_be_read_is_counted_without_a_size(raw: bytes) -> None:
    assert picture(raw) == Image("auto", None, None)


def test_a_picture_behind_an_address_is_never_looked_at() -> None:
    prompt = content({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}).prompt

    assert prompt.images == (Image("auto", None, None),)


def test_a_part_of_an_unknown_kind_is_counted_as_its_json() -> None:
    assert content({"type": "video", "at": 3}).prompt.texts == ("user", '{"type":"video","at":3}')
