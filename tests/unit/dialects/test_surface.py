"""What a path is to us: metered, free, dear, or unknown; and how OpenAI's family signs calls and tells errors."""

import json

import pytest

from proxy.dialects import find, names
from proxy.dialects.openai import DIALECT
from rules.call import Operation

METERED = [
    ("chat/completions", "chat", Operation.LLM),
    ("completions", "completions", Operation.LLM),
    ("embeddings", "embeddings", Operation.EMBEDDING),
    ("responses", "responses", Operation.LLM),
    ("images/generations", "images", Operation.IMAGE),
    ("images/edits", "image_edits", Operation.IMAGE),
    ("images/variations", "image_variations", Operation.IMAGE),
    ("audio/speech", "speech", Operation.AUDIO),
    ("audio/transcriptions", "transcriptions", Operation.AUDIO),
    ("audio/translations", "translations", Operation.AUDIO),
    ("batches", "batches", Operation.LLM),
]
FREE = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/gpt-4o"),
    ("DELETE", "/v1/models/ft:gpt-4o:acme"),
    ("HEAD", "/v1/models"),
    ("OPTIONS", "/v1/chat/completions"),
    ("GET", "/v1/chat/completions/chatcmpl-1"),
    ("POST", "/v1/chat/completions/chatcmpl-1"),
    ("DELETE", "/v1/chat/completions/chatcmpl-1"),
    ("GET", "/v1/responses/resp_1"),
    ("GET", "/v1/responses/resp_1/input_items"),
    ("DELETE", "/v1/responses/resp_1"),
    ("POST", "/v1/responses/resp_1/cancel"),
    ("POST", "/v1/responses/input_tokens"),
    ("POST", "/v1/conversations"),
    ("POST", "/v1/conversations/conv_1/items"),
    ("GET", "/v1/files"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files/file-1/content"),
    ("DELETE", "/v1/files/file-1"),
    ("POST", "/v1/uploads"),
    ("POST", "/v1/uploads/upload_1/parts"),
    ("GET", "/v1/batches/batch_1"),
    ("POST", "/v1/batches/batch_1/cancel"),
    ("GET", "/v1/fine_tuning/jobs"),
]
DEAR = [
    ("/v1/images/upscales", Operation.IMAGE),
    ("/v1/audio/voices", Operation.AUDIO),
    ("/v1/fine_tuning/jobs", Operation.OTHER),
    ("/v1/videos", Operation.OTHER),
    ("/v1/realtime/sessions", Operation.OTHER),
    ("/v1/threads/thread_1/runs", Operation.OTHER),
    ("/v1/assistants", Operation.OTHER),
    ("/v1/vector_stores", Operation.OTHER),
    ("/v1/containers", Operation.OTHER),
    ("/v1/evals/eval_1/runs", Operation.OTHER),
]
UNKNOWN = [
    ("POST", "/v1/chat"),
    ("POST", "/v1/chat/completions/chatcmpl-1/messages"),
    ("POST", "/v1/v1/chat/completions"),
    ("POST", "/v1/responses/compact"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/models"),
    ("POST", "/v1"),
    ("POST", "/"),
    ("PUT", "/v1/chat/completions"),
    ("PATCH", "/v1/embeddings"),
    ("GET", "/v1/embeddings"),
    ("GET", "/v1/realtime"),
    ("GET", "/v1/organization/costs"),
    ("TRACE", "/v1/models"),
    ("post", "/v1/chat/completions"),
]


@pytest.mark.parametrize(("path", "api", "operation"), METERED)
@pytest.mark.parametrize("shape", ["/v1/{}", "/{}", "/v1/{}/"])
def test_the_wire_apis_are_metered_with_and_without_their_version(
    path: str, api: str, operation: Operation, shape: str
) -> None:
    surface = DIALECT.surface("POST", shape.format(path))

    assert (surface.kind, surface.operation) == ("metered", operation)
    assert surface.api is not None
    assert surface.api.name == api


@pytest.mark.parametrize("path", ["/v1/Chat/Completions", "/V1/CHAT/COMPLETIONS", "/chat/Completions"])
def test_another_case_does_not_hide_a_metered_path(path: str) -> None:
    assert DIALECT.surface("POST", path) == DIALECT.surface("POST", "/v1/chat/completions")


@pytest.mark.parametrize(("method", "path"), FREE)
def test_reading_storing_and_counting_are_free(method: str, path: str) -> None:
    surface = DIALECT.surface(method, path)

    assert (surface.kind, surface.api) == ("free", None)


def test_moderations_are_free_and_can_be_read() -> None:
    surface = DIALECT.surface("POST", "/v1/moderations")

    assert surface.kind == "free"
    assert surface.api is not None
    assert surface.api.name == "moderations"


@pytest.mark.parametrize(("path", "operation"), DEAR)
def test_what_costs_money_that_we_cannot_count_is_said_to(path: str, operation: Operation) -> None:
    surface = DIALECT.surface("POST", path)

    assert (surface.kind, surface.operation, surface.api) == ("billable_unknown", operation, None)


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_every_other_path_and_method_is_unknown_and_never_taken_for_free(method: str, path: str) -> None:
    surface = DIALECT.surface(method, path)

    assert (surface.kind, surface.api) == ("unknown", None)


# -- the family -----------------------------------------------------------------------------------------------------


def test_the_credential_is_a_bearer_token() -> None:
    assert DIALECT.credential("sk-invented") == (("Authorization", "Bearer sk-invented"),)


def test_a_refusal_has_the_envelope_that_the_sdks_read() -> None:
    told = DIALECT.refusal(
        status=402,
        message='over "team" budget',
        kind="insufficient_quota",
        code="budget_exceeded",
        param=None,
        extra={"resets_at": "2026-02-01T00:00:00Z", "rule": None},
    )

    assert json.loads(told) == {
        "error": {
            "message": 'over "team" budget',
            "type": "insufficient_quota",
            "code": "budget_exceeded",
            "param": None,
            "resets_at": "2026-02-01T00:00:00Z",
            "rule": None,
        }
    }


def test_dialects_are_found_by_name() -> None:
    assert "openai" in names()
    assert find("openai") is DIALECT


def test_helper_modules_are_no_dialects() -> None:
    assert not {"body", "usage", "prompt", "__init__", "openai_chat"} & set(names())


@pytest.mark.parametrize("name", ["nobody", "body", "openai_chat", "", "../openai"])
def test_an_unknown_dialect_is_told_with_the_choices(name: str) -> None:
    with pytest.raises(KeyError, match=r"choose one of .*openai"):
        find(name)
