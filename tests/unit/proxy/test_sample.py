"""The sample provider: OpenAI's shapes, honest usage, and words that say what it is."""

import json
from functools import cache
from typing import Any

import pytest

from pricing.tokens import Counter, Prompt
from proxy import dialects
from proxy.ranks import load_ranks
from proxy.sample import SampleAnswer, SampleProvider

MODEL = "gpt-4o-mini"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hello world"}]}


@cache
def counter() -> Counter:
    return Counter(load_ranks().encodings)


async def ask(path: str, body: Any, method: str = "POST") -> tuple[SampleAnswer, bytes]:
    provider = SampleProvider(counter(), dialects.find("openai"))
    data = None if body is None else json.dumps(body).encode()
    answer = await provider.send(method, path, [], data, on_sent=lambda: None)
    return answer, b"".join([piece async for piece in answer.pieces()])


def events(body: bytes) -> list[Any]:
    lines = [line[6:] for line in body.decode().split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def tokens(text: str) -> int:
    return counter().count(Prompt(texts=(text,)), MODEL).tokens


async def test_a_chat_is_answered_with_honest_usage() -> None:
    answer, body = await ask("/v1/chat/completions?x=1", CHAT)

    completion = json.loads(body)
    text = completion["choices"][0]["message"]["content"]
    assert (answer.status, answer.headers) == (200, [("Content-Type", "application/json")])
    assert "sample provider" in text
    assert completion["choices"][0]["finish_reason"] == "stop"
    usage = completion["usage"]
    assert usage["prompt_tokens"] == 9  # two words, one role, three of framing, three that prime the answer
    assert usage["completion_tokens"] == tokens(text)
    assert usage["total_tokens"] == 9 + tokens(text)


@pytest.mark.parametrize("most", [1, 2, 7, 20])
async def test_a_token_limit_is_kept(most: int) -> None:
    _, body = await ask("/v1/chat/completions", {**CHAT, "max_tokens": most})

    completion = json.loads(body)
    assert 0 < completion["usage"]["completion_tokens"] <= most
    assert completion["choices"][0]["finish_reason"] == "length"


async def test_every_choice_is_made_and_counted() -> None:
    _, body = await ask("/v1/chat/completions", {**CHAT, "n": 3, "max_tokens": 5})

    completion = json.loads(body)
    assert [choice["index"] for choice in completion["choices"]] == [0, 1, 2]
    one = tokens(completion["choices"][0]["message"]["content"])
    assert completion["usage"]["completion_tokens"] == 3 * one


async def test_a_stream_says_the_same_and_tells_usage_only_when_asked() -> None:
    _, whole = await ask("/v1/chat/completions", CHAT)
    answer, silent = await ask("/v1/chat/completions", {**CHAT, "stream": True})
    _, told = await ask(
        "/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    )

    assert answer.headers[0][1].startswith("text/event-stream")
    *chunks, done = events(silent)
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == json.loads(whole)["choices"][0]["message"]["content"]
    assert done == "[DONE]"
    assert all("usage" not in chunk for chunk in chunks)
    *chunks, usage, _ = events(told)
    assert usage["choices"] == []
    assert usage["usage"] == json.loads(whole)["usage"]
    assert all(chunk["usage"] is None for chunk in chunks)


async def test_a_cancelled_stream_goes_on_where_it_stopped() -> None:
    provider = SampleProvider(counter(), dialects.find("openai"))
    body = json.dumps({**CHAT, "stream": True}).encode()
    answer = await provider.send("POST", "/v1/chat/completions", [], body, on_sent=lambda: None)

    first = answer.pieces()
    got = [await anext(first), await anext(first)]
    await first.aclose()  # type: ignore[attr-defined] # an async generator, as its users know
    got += [piece async for piece in answer.pieces()]

    _, uncut = await ask("/v1/chat/completions", {**CHAT, "stream": True})
    assert len(events(b"".join(got))) == len(events(uncut))


async def test_a_closed_answer_ends() -> None:
    provider = SampleProvider(counter(), dialects.find("openai"))
    body = json.dumps({**CHAT, "stream": True}).encode()
    answer = await provider.send("POST", "/v1/chat/completions", [], body, on_sent=lambda: None)

    answer.close()

    assert [piece async for piece in answer.pieces()] == []


async def test_a_completion() -> None:
    _, body = await ask("/v1/completions", {"model": MODEL, "prompt": "hello", "max_tokens": 8})

    completion = json.loads(body)
    assert completion["object"] == "text_completion"
    assert completion["usage"]["prompt_tokens"] == 1
    assert completion["choices"][0]["text"].startswith("This is the sample provider")


async def test_embeddings_give_a_vector_an_input() -> None:
    _, body = await ask("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["a", "b b"]})

    made = json.loads(body)
    assert [vector["index"] for vector in made["data"]] == [0, 1]
    assert made["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize(("most", "status"), [(None, "completed"), (16, "incomplete")])
async def test_a_response_and_its_stream_end_alike(most: int | None, status: str) -> None:
    asked = {"model": MODEL, "input": "hello", **({"max_output_tokens": most} if most else {})}

    _, whole = await ask("/v1/responses", asked)
    _, streamed = await ask("/v1/responses", {**asked, "stream": True})

    response, last = json.loads(whole), events(streamed)[-1]
    assert response["status"] == status
    assert last["type"] == f"response.{status}"
    assert last["response"]["usage"] == response["usage"]
    deltas = [event["delta"] for event in events(streamed) if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == response["output"][0]["content"][0]["text"]
    assert [event["sequence_number"] for event in events(streamed)] == list(range(len(events(streamed))))


async def test_models_are_listed() -> None:
    answer, body = await ask("/v1/models", None, "GET")

    assert answer.status == 200
    assert MODEL in [model["id"] for model in json.loads(body)["data"]]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/images/generations", {"prompt": "x"}, 404),
        ("GET", "/v1/chat/completions", None, 404),
        ("POST", "/v1/chat/completions", {"model": MODEL}, 400),
        ("POST", "/v1/chat/completions", ["not an object"], 400),
    ],
)
async def test_what_it_cannot_do_is_an_error_in_openais_shape(
    method: str, path: str, body: Any, status: int
) -> None:
    answer, told = await ask(path, body, method)

    assert answer.status == status
    assert set(json.loads(told)["error"]) == {"message", "type", "param", "code"}
