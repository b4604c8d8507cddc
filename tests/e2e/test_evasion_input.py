"""Input that is not in the body, or not where it is looked for: none of it lowers a hold below the bill."""

import base64
import json
import struct
from typing import Any

import pytest

from tests.support.calls import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from tests.support.evasion import Attempt, body, check_held, outcome
from tests.support.process import ScriptedProvider, Spendgate
from tests.support.script import Script, exactly
from tests.support.shapes import words

WINDOW = 128_000  # of gpt-4o-mini

Fields = dict[str, Any]


Part = dict[str, Any]


def chat(*parts: Part, role: str = "user") -> Fields:
    return {"messages": [{"role": role, "content": list(parts)}], "max_tokens": 5}


def responses(*items: Any) -> Fields:
    return {"input": list(items), "max_output_tokens": 5}


def said(*parts: Part) -> Fields:
    return responses({"role": "user", "content": list(parts)})


HOSTED = ["web_search", "web_search_preview", "file_search", "code_interpreter", "mcp", "image_generation",
          "computer_use_preview", "local_shell", "shell", "apply_patch", "tool_of_tomorrow"]  # fmt: skip

HIDDEN: list[tuple[str, Fields]] = [
    (RESPONSES, {"previous_response_id": "resp_1", "max_output_tokens": 5}),
    (RESPONSES, {"conversation": "conv_1", "max_output_tokens": 5}),
    (RESPONSES, {"conversation": {"id": "conv_1"}, "max_output_tokens": 5}),
    (RESPONSES, {"prompt": {"id": "pmpt_1"}, "max_output_tokens": 5}),
    (RESPONSES, responses({"type": "item_reference", "id": "msg_1"})),
    (RESPONSES, responses({"type": None, "id": "msg_1"})),
    (RESPONSES, responses({"id": "msg_1"})),
    (RESPONSES, said({"type": "input_file", "file_id": "file-1"})),
    (RESPONSES, said({"type": "input_file", "file_url": "https://example.org/a.pdf"})),
    (RESPONSES, said({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="})),
    (RESPONSES, said({"type": "input_image", "file_id": "file-1"})),
    (RESPONSES, responses({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file", "file_id": "file-1"}]})),
    (RESPONSES, responses({"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "file_id": "file-1"}})),
    *((RESPONSES, {"tools": [{"type": kind}], "max_output_tokens": 5}) for kind in HOSTED),
    (RESPONSES, {"tools": [{"type": ["web_search"]}], "max_output_tokens": 5}),
    (CHAT, {"tools": [{"type": "web_search"}], "max_tokens": 5}),
    (CHAT, {"web_search_options": {}, "max_tokens": 5}),
    (CHAT, chat({"type": "file", "file": {"file_id": "file-1"}})),
    (CHAT, chat({"type": "file", "file_id": "file-1"})),
    (CHAT, chat({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}})),
    (CHAT, {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}], "max_tokens": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "fields"), HIDDEN, ids=[f"{p[4:]} {str(f)[:90]}" for p, f in HIDDEN])
async def test_input_that_is_kept_elsewhere_is_held_as_a_whole_context_window(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, path: str, fields: Fields
) -> None:
    attempt = Attempt(body(path, fields), path, Script(input_tokens=WINDOW - 5, output_tokens=5))

    passed = await check_held(spendgate, provider, (poor, key), tag, attempt)

    assert passed.billed is not None
    assert passed.nanos == passed.billed.nanos


def data_url(raw: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(raw).decode()}"


SOF = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 1, 1) + bytes(12)  # says: one pixel
LIES = {
    "an address": "https://example.org/huge.png",
    "a gif whose frame is larger than its screen": data_url(
        b"GIF89a" + struct.pack("<HH", 1, 1) + bytes(3) + b"," + struct.pack("<HHHH", 0, 0, 4096, 4096), "gif"
    ),
    "a jpeg with a size behind a fill byte": data_url(b"\xff\xd8\xff\xff\x00\x04" + bytes(2) + SOF, "jpeg"),
    "a jpeg with a size behind a marker without length": data_url(
        b"\xff\xd8\xff\xd0\x00\x04" + bytes(2) + SOF, "jpeg"
    ),
    "a webp of an unknown kind": data_url(
        b"RIFF\x00\x00\x00\x00WEBPXXXX" + bytes(10) + struct.pack("<HH", 1, 1), "webp"
    ),
    "a png whose header stands later": data_url(
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dtEXt" + struct.pack(">II", 1, 1) + bytes(9), "png"
    ),
    "no picture at all": data_url(b"<svg width='1' height='1'/>", "svg+xml"),
    "not base64": "data:image/png;base64,%%%%",
}
PICTURE = 2833 + 8 * 5667  # of gpt-4o-mini, the largest: documented


@pytest.mark.parametrize("url", LIES.values(), ids=LIES.keys())
@pytest.mark.parametrize("pictures", [1, 12])
async def test_a_picture_that_says_it_is_small_is_held_as_the_largest(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, url: str, pictures: int
) -> None:
    part = {"type": "image_url", "image_url": {"url": url, "detail": "high"}}
    attempt = Attempt(
        body(CHAT, chat(*[part] * pictures)),
        script=Script(input_tokens=7 + PICTURE * pictures, output_tokens=5),
    )

    await check_held(spendgate, provider, (poor, key), tag, attempt)


URL = "https://example.org/huge.png"
PLACES: list[tuple[str, Fields]] = [
    (CHAT, chat({"type": "image_url", "image_url": {"url": URL}, "detail": "low"})),
    (CHAT, chat({"type": "image_url", "image_url": {"url": URL, "detail": None}, "detail": "low"})),
    (CHAT, chat({"type": "image_url", "image_url": {"url": URL, "detail": "LOW"}})),
    (CHAT, chat({"type": "image_url", "image_url": {"url": URL}}, role="tool")),
    (RESPONSES, said({"type": "input_image", "image_url": URL})),
    (RESPONSES, said({"type": "input_image", "image_url": URL, "detail": "original"})),
    (RESPONSES, responses({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": URL}]})),
    (RESPONSES, responses({"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": URL}]})),
    (RESPONSES, responses({"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "image_url": URL}})),
]  # fmt: skip


@pytest.mark.parametrize(("path", "fields"), PLACES, ids=[f"{p[4:]} {str(f)[:120]}" for p, f in PLACES])
async def test_a_picture_is_held_as_one_wherever_it_stands(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, path: str, fields: Fields
) -> None:
    attempt = Attempt(body(path, fields), path, Script(input_tokens=PICTURE, output_tokens=5))

    await check_held(spendgate, provider, (poor, key), tag, attempt)


SOUND = base64.b64encode(bytes(9000)).decode()
LONG = words(5000)
SHAPES: list[tuple[str, Fields, int]] = [
    (CHAT, chat({"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}}), 9000),
    (CHAT, {"messages": [{"role": "user", "content": {"type": "text", "text": LONG}}], "max_tokens": 5}, 5000),
    (CHAT, {"messages": [{"role": "user", "content": [[LONG]]}], "max_tokens": 5}, 5000),
    (CHAT, {"messages": [LONG], "max_tokens": 5}, 5000),
    (CHAT, {"messages": [{"role": "user", "content": "", "reasoning": LONG}], "max_tokens": 5}, 5000),
    (CHAT, {"tools": [{"type": "function", "function": {"name": "f", "description": LONG}}], "max_tokens": 5}, 5000),
    (CHAT, {"functions": [{"name": "f", "description": LONG}], "max_tokens": 5}, 5000),
    (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"x": LONG}}}, "max_tokens": 5}, 5000),
    (RESPONSES, {"input": {"role": "user", "content": LONG}, "max_output_tokens": 5}, 5000),
    (RESPONSES, {"instructions": [{"role": "developer", "content": LONG}], "max_output_tokens": 5}, 5000),
    (RESPONSES, {"instructions": LONG, "max_output_tokens": 5}, 5000),
    (COMPLETIONS, {"prompt": [[1] * 5000], "max_tokens": 5}, 5000),
    (COMPLETIONS, {"prompt": [1] * 5000, "max_tokens": 5}, 5000),
    (COMPLETIONS, {"prompt": [[LONG]], "max_tokens": 5}, 5000),
    (COMPLETIONS, {"prompt": [1] * 5000 + ["hi"], "max_tokens": 1}, 5000),
    (COMPLETIONS, {"prompt": {"text": LONG}, "max_tokens": 5}, 5000),
    (EMBEDDINGS, {"input": [words(50)] * 100}, 5000),
    (EMBEDDINGS, {"input": [[1] * 50] * 100}, 5000),
    (EMBEDDINGS, {"input": [1] * 5000}, 5000),
    (EMBEDDINGS, {"input": [[[1] * 5000]]}, 5000),
    (EMBEDDINGS, {"input": {"text": LONG}}, 5000),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "fields", "read"), SHAPES, ids=[f"{p[4:]} {str(f)[:70]}" for p, f, _ in SHAPES]
)
async def test_no_shape_of_a_prompt_hides_its_length(
    spendgate: Spendgate,
    provider: ScriptedProvider,
    poor: str,
    key: str,
    tag: str,
    path: str,
    fields: Fields,
    read: int,
) -> None:
    attempt = Attempt(body(path, fields), path, Script(input_tokens=read, output_tokens=1))

    await check_held(spendgate, provider, (poor, key), tag, attempt)


# -- searches -------------------------------------------------------------------------------------------------------

SEARCH = 10_000_000  # nano-dollars: ten dollars a thousand
TOLD = {"input_tokens": 10, "output_tokens": 10}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_search_that_the_provider_made_is_charged_beside_its_tokens(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, stream: bool
) -> None:
    search = {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}}
    opened = {"type": "web_search_call", "status": "completed", "action": {"type": "open_page", "url": "x"}}
    told = {
        "id": "resp_1",
        "status": "completed",
        "model": "gpt-4o-mini",
        "output": [search, opened, search],
        "usage": TOLD,
    }
    event = {"type": "response.completed", "response": told}
    data = f"event: response.completed\ndata: {json.dumps(event)}\n\n" if stream else json.dumps(told)
    kind = "text/event-stream" if stream else "application/json"
    reply = exactly(200, [("Content-Type", kind)], data.encode())
    fields = {"tools": [{"type": "web_search"}], "stream": stream}

    passed = await outcome(
        spendgate, provider, key, tag, Attempt(body(RESPONSES, fields), RESPONSES, Script(reply=reply))
    )

    assert passed.nanos == 10 * 150 + 10 * 600 + 2 * SEARCH


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_always_searches_is_held_and_charged_for_it(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, stream: bool
) -> None:
    fields = {"model": "gpt-4o-mini-search-preview", "stream": stream, "max_tokens": 5}
    attempt = Attempt(body(CHAT, fields), CHAT, Script(input_tokens=10))

    passed = await check_held(spendgate, provider, (poor, key), tag, attempt)

    assert passed.billed is not None
    assert passed.ceiling >= passed.nanos >= passed.billed.nanos + SEARCH
