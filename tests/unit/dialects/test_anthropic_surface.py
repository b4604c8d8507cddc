"""What Anthropic's paths are to us, how calls are signed there, and how refusals look to its SDKs."""

import json

import pytest

from proxy.dialects import find, names
from proxy.dialects.anthropic import DIALECT
from rules.call import Operation

FREE = [
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/claude-sonnet-4-6"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files"),
    ("GET", "/v1/files/file_1/content"),
    ("DELETE", "/v1/files/file_1"),
    ("GET", "/v1/messages/batches"),
    ("GET", "/v1/messages/batches/msgbatch_1/results"),
    ("DELETE", "/v1/messages/batches/msgbatch_1"),
    ("POST", "/v1/messages/batches/msgbatch_1/cancel"),
    ("HEAD", "/"),
    ("OPTIONS", "/v1/messages"),
]
DEAR = [
    "/v1/complete",
    "/v1/chat/completions",
    "/v1/sessions",
    "/v1/sessions/sess_1/events",
]
UNKNOWN = [
    ("POST", "/v1/messages/msg_1"),
    ("POST", "/v1/messages/count_tokens/more"),
    ("POST", "/v1/messages/batches/a/b/cancel"),
    ("POST", "/v1/v1/messages"),
    ("POST", "/v1/models"),
    ("POST", "/v1/responses"),
    ("POST", "/"),
    ("PUT", "/v1/messages"),
    ("PATCH", "/v1/messages"),
    ("post", "/v1/messages"),
    ("TRACE", "/v1/models"),
    ("GET", "/v1/organizations/usage_report/messages"),
    ("GET", "/v1/complete"),
]


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/messages", "/v1/messages/", "/V1/Messages", "/MESSAGES", "/v1//messages"]
)
def test_messages_are_metered_however_the_path_is_written(path: str) -> None:
    surface = DIALECT.surface("POST", path)

    assert (surface.kind, surface.operation) == ("metered", Operation.LLM)
    assert surface.api is not None
    assert surface.api.name == "messages"


def test_batches_of_messages_are_metered() -> None:
    surface = DIALECT.surface("POST", "/v1/messages/batches")

    assert surface.kind == "metered"
    assert surface.api is not None
    assert surface.api.name == "message_batches"


@pytest.mark.parametrize(("method", "path"), FREE)
def test_counting_storing_and_reading_back_are_free(method: str, path: str) -> None:
    surface = DIALECT.surface(method, path)

    assert (surface.kind, surface.api) == ("free", None)


@pytest.mark.parametrize("path", DEAR)
def test_what_costs_money_that_we_cannot_count_is_said_to(path: str) -> None:
    surface = DIALECT.surface("POST", path)

    assert (surface.kind, surface.api) == ("billable_unknown", None)


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_every_other_path_and_method_is_unknown_and_never_taken_for_free(method: str, path: str) -> None:
    assert DIALECT.surface(method, path).kind == "unknown"


def test_the_credential_is_an_api_key_header() -> None:
    assert DIALECT.credential("sk-ant-invented") == (("x-api-key", "sk-ant-invented"),)


def test_the_dialect_is_found_by_its_name_and_its_parts_are_none() -> None:
    assert find("anthropic") is DIALECT
    assert not {"anthropic_messages", "anthropic_stream", "anthropic_usage"} & set(names())


def test_a_refusal_has_the_envelope_that_the_sdks_read() -> None:
    told = DIALECT.refusal(
        status=402,
        message="over budget",
        kind="insufficient_quota",
        code="budget_exceeded",
        param=None,
        extra={"request_id": "call-1", "rule_id": "r", "resets_at": None},
    )

    assert json.loads(told) == {
        "type": "error",
        "error": {
            "type": "billing_error",
            "message": "over budget",
            "code": "budget_exceeded",
            "param": None,
            "rule_id": "r",
            "resets_at": None,
            "details": {"error_code": "budget_exceeded"},
        },
        "request_id": "call-1",
    }


@pytest.mark.parametrize(
    ("kind", "code", "type_"),
    [
        ("insufficient_quota", "circuit_breaker_open", "billing_error"),
        ("invalid_request_error", "invalid_api_key", "authentication_error"),
        ("permission_error", "model_not_allowed", "permission_error"),
        ("rate_limit_error", "budget_busy", "rate_limit_error"),
        ("invalid_request_error", "unknown_path", "not_found_error"),
        ("invalid_request_error", "body_too_large", "request_too_large"),
        ("invalid_request_error", "duplicate_key", "invalid_request_error"),
        ("api_error", "upstream_timeout", "timeout_error"),
        ("api_error", "upstream_connect", "api_error"),
    ],
)
def test_the_type_is_one_of_anthropics_own(kind: str, code: str, type_: str) -> None:
    told = json.loads(DIALECT.refusal(status=400, message="m", kind=kind, code=code, param=None, extra={}))

    assert told["error"]["type"] == type_
    assert told["request_id"] is None
