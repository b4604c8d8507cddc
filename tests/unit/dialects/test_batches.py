"""Batches on the wire: what stands in a request, in a line of it, in the batch itself and in a line of its results."""

import json
from typing import Any

import pytest

from pricing.usage import Usage
from proxy.dialects import BadBody
from proxy.dialects.anthropic_batches import MessageBatches
from proxy.dialects.openai_batches import Batches

OPENAI, ANTHROPIC = Batches(), MessageBatches()
PATH = "/v1/batches"


def written(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_a_submission_names_its_file_and_what_for() -> None:
    batch = OPENAI.read(written(input_file_id="file-1", endpoint="/v1/embeddings")).batch

    assert batch is not None
    assert (batch.endpoint, batch.file_id) == ("/v1/embeddings", "file-1")
    assert OPENAI.inline(batch.body, strict=True) == []
    assert OPENAI.input_path(PATH, "file-1") == "/v1/files/file-1/content"
    assert OPENAI.input_path("/batches", "file-1") == "/files/file-1/content"


@pytest.mark.parametrize("name", ["", "..", "a/b", "files/abc", "a%2Fb", "a?b", "x" * 201])
def test_an_id_that_cannot_stand_in_a_path_leads_nowhere(name: str) -> None:
    assert OPENAI.input_path(PATH, name) == ""


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"endpoint": 1}', b'{"endpoint": "a", "Endpoint": "b"}'])
def test_a_submission_that_cannot_be_read_is_a_bad_body(body: bytes) -> None:
    with pytest.raises(BadBody):
        OPENAI.read(body)


def test_a_line_is_a_request_to_its_own_path_or_to_the_batchs() -> None:
    body = {"model": "m", "messages": []}

    assert OPENAI.request(written(url="/v1/x", body=body), "/v1/y", strict=True)[0] == "/v1/x"
    path, plain = OPENAI.request(written(body=body), "/v1/y", strict=True)
    assert (path, json.loads(plain)) == ("/v1/y", body)
    for line in (b"{}", b'{"body": 1}', b'{"body": {}, "body": {}}', b'{"body": {"a": 1, "a": 2}}', b"x"):
        with pytest.raises(BadBody):
            OPENAI.request(line, "/v1/y", strict=True)


def test_requests_of_messages_stand_in_the_body() -> None:
    params = {"model": "m", "messages": [], "max_tokens": 1}
    body = written(requests=[{"custom_id": "a", "params": params}, 7])

    batch = ANTHROPIC.read(body).batch
    assert batch is not None
    first, second = ANTHROPIC.inline(batch.body, strict=True)
    path, plain = ANTHROPIC.request(first, batch.endpoint, strict=True)

    assert (path, json.loads(plain)) == ("/v1/messages", params)
    with pytest.raises(BadBody, match='"params" must be an object'):
        ANTHROPIC.request(second, batch.endpoint, strict=True)


@pytest.mark.parametrize("body", [b"{}", b'{"requests": []}', b'{"requests": {}}', b"[", b'{"requests": 1}'])
def test_a_body_without_requests_is_a_bad_body(body: bytes) -> None:
    with pytest.raises(BadBody):
        ANTHROPIC.inline(body, strict=True)


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling", None, 1])
def test_a_batch_goes_on_until_its_status_says_otherwise(status: Any) -> None:
    assert OPENAI.end({"id": "b", "status": status}, PATH) is None
    assert ANTHROPIC.end({"id": "b", "processing_status": status}, PATH) is None


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled", "failed"])
def test_an_end_tells_of_files_and_counts(status: str) -> None:
    answer = {
        "id": "b",
        "status": status,
        "output_file_id": "file-o",
        "error_file_id": "file-e",
        "request_counts": {"total": 3, "completed": 2, "failed": 1},
    }

    end = OPENAI.end(answer, PATH)

    assert end is not None
    assert end.files == ("/v1/files/file-o/content", "/v1/files/file-e/content")
    assert (end.answered, end.usage, end.is_whole) == (2, None, False)


def test_a_batch_that_failed_its_validation_has_answered_nothing() -> None:
    failed = OPENAI.end({"id": "b", "status": "failed"}, PATH)
    untold = OPENAI.end({"id": "b", "status": "completed", "output_file_id": "a/b"}, PATH)

    assert failed is not None
    assert untold is not None
    assert (failed.files, failed.answered) == ((), 0)
    assert (untold.files, untold.answered) == (("",), None)


@pytest.mark.parametrize(
    ("endpoint", "model", "is_whole"),
    [
        ("/v1/chat/completions", "gpt-4o-mini", True),
        ("/chat/completions", "gpt-4o-mini", True),
        ("/v1/embeddings", "text-embedding-3-small", True),
        ("/v1/responses", "gpt-4o-mini", False),
        ("/v1/chat/completions", "gpt-4o-search-preview", False),
        (None, None, False),
    ],
)
def test_the_usage_of_a_batch_is_all_where_nothing_else_is_billed(
    endpoint: str | None, model: str | None, is_whole: bool
) -> None:
    usage = {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 7}
    answer = {"status": "completed", "endpoint": endpoint, "model": model, "usage": usage}

    end = OPENAI.end(answer, PATH)

    assert end is not None
    assert end.usage == Usage(input_tokens=5, cache_read_tokens=2, output_tokens=7)
    assert end.is_whole is is_whole


def test_a_usage_that_cannot_be_believed_is_none() -> None:
    end = OPENAI.end({"status": "completed", "usage": {"input_tokens": -5, "output_tokens": 7}}, PATH)

    assert end is not None
    assert (end.usage, end.is_whole) == (None, False)


def test_an_end_of_messages_has_one_file() -> None:
    counts = {"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0}
    answer = {"id": "msgbatch_1", "processing_status": "ended", "request_counts": counts}

    end = ANTHROPIC.end(answer, "/v1/messages/batches")

    assert end is not None
    assert (end.files, end.answered) == (("/v1/messages/batches/msgbatch_1/results",), 2)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ({"response": {"status_code": 200, "body": {"id": "x"}}}, {"id": "x"}),
        ({"response": {"body": {"id": "x"}}, "error": None}, {"id": "x"}),
        ({"response": {"status_code": 200, "body": None}}, {}),
        ({"response": {"status_code": 400, "body": {"error": {}}}}, None),
        ({"response": None, "error": {"code": "batch_expired"}}, None),
        ({}, None),
    ],
)
def test_a_line_of_results_holds_an_answer_or_none(line: Any, answer: Any) -> None:
    assert OPENAI.answer(line) == answer


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        ({"type": "succeeded", "message": {"id": "x"}}, {"id": "x"}),
        ({"type": "succeeded"}, {}),
        ({"type": "errored", "error": {}}, None),
        ({"type": "canceled"}, None),
        ({"type": "expired"}, None),
        (None, None),
    ],
)
def test_a_result_of_messages_holds_one_where_it_succeeded(result: Any, answer: Any) -> None:
    assert ANTHROPIC.answer({"custom_id": "a", "result": result}) == answer
