"""What a Gemini path is to us; what must not reach Google in query and headers; how it is signed; how it tells errors."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.dialects import BadBody, find, names
from proxy.dialects.gemini import DIALECT
from rules.call import Operation

GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
METERED = [
    ("generateContent", "generate_content", Operation.LLM),
    ("streamGenerateContent", "generate_content", Operation.LLM),
    ("embedContent", "embed_content", Operation.EMBEDDING),
    ("batchEmbedContents", "embed_content", Operation.EMBEDDING),
]
FREE = [
    ("POST", "/v1beta/models/gemini-2.5-flash:countTokens"),
    ("POST", "/v1beta/batches/b-1:cancel"),
    ("POST", "/v1beta/files"),
    ("POST", "/upload/v1beta/files"),
    ("GET", "/v1beta/models"),
    ("GET", "/v1beta/models/gemini-2.5-flash"),
    ("HEAD", "/v1beta/models"),
    ("GET", "/v1beta/files/f-1"),
    ("GET", "/v1beta/files/f-1:download"),
    ("DELETE", "/v1beta/files/f-1"),
    ("GET", "/v1beta/cachedContents"),
    ("DELETE", "/v1beta/cachedContents/c-1"),
    ("GET", "/v1beta/batches/b-1"),
    ("GET", "/v1beta/operations/o-1"),
    ("GET", "/v1beta/models/veo/operations/o-1"),
]
DEAR = [
    ("POST", "/v1beta/models/imagen-4:predict", Operation.IMAGE),
    ("POST", "/v1beta/models/veo-3:predictLongRunning", Operation.OTHER),
    ("POST", "/v1beta/models/gemini-2.5-flash:batchGenerateContent", Operation.OTHER),
    ("POST", "/v1beta/models/gemini-embedding-001:asyncBatchEmbedContent", Operation.OTHER),
    ("POST", "/v1beta/models/aqa:generateAnswer", Operation.OTHER),
    ("POST", "/v1beta/models/x:somethingNew", Operation.OTHER),
    ("POST", "/upload/v1beta/fileSearchStores/s-1:uploadToFileSearchStore", Operation.OTHER),
    ("POST", "/v1beta/cachedContents", Operation.OTHER),
    ("PATCH", "/v1beta/cachedContents/c-1", Operation.OTHER),
    ("POST", "/v1beta/tunedModels", Operation.OTHER),
    ("POST", "/v1beta/interactions", Operation.OTHER),
    ("POST", "/v1beta/openai/chat/completions", Operation.OTHER),
    ("POST", "/v1alpha/auth_tokens", Operation.OTHER),
]
UNKNOWN = [
    ("GET", GENERATE),
    ("PUT", GENERATE),
    ("DELETE", GENERATE),
    ("POST", "/v1beta/models"),
    ("POST", "/v1beta/models/gemini-2.5-flash"),
    ("POST", GENERATE + "/more"),
    ("POST", "/"),
    ("GET", "/v1beta/elsewhere"),
    ("PATCH", "/v1beta/files/f-1"),
]


@pytest.mark.parametrize(("verb", "api", "operation"), METERED)
@pytest.mark.parametrize("shape", ["/v1beta/{}", "/v1/{}", "/v1alpha/{}", "/{}", "/v1beta/{}/"])
def test_the_metered_verbs_are_bound_to_the_model_of_the_path(
    verb: str, api: str, operation: Operation, shape: str
) -> None:
    surface = DIALECT.surface("POST", shape.format(f"models/gemini-2.5-flash:{verb}"))

    assert (surface.kind, surface.operation) == ("metered", operation)
    assert surface.api is not None
    assert surface.api.name == api
    assert surface.api.read(b'{"contents":[]}').model == "gemini-2.5-flash"


@pytest.mark.parametrize(("verb", "streams"), [("generateContent", False), ("streamGenerateContent", True)])
def test_the_path_says_whether_an_answer_streams(verb: str, streams: bool) -> None:
    api = DIALECT.surface("POST", f"/v1beta/models/m:{verb}").api
    assert api is not None

    reading = api.read(b'{"contents":[]}')

    assert (reading.stream, reading.json_stream) == (streams, streams)


@pytest.mark.parametrize(
    ("resource", "model"),
    [
        ("tunedModels/mine", "tunedModels/mine"),
        ("projects/p/locations/l/publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("models/a/b", "a/b"),
        ("models/x:generateContent", "x:generateContent"),
        ("dynamic/d-1", "dynamic/d-1"),
    ],
)
def test_no_way_of_naming_a_model_hides_a_metered_verb(resource: str, model: str) -> None:
    surface = DIALECT.surface("POST", f"/v1beta/{resource}:generateContent")

    assert surface.api is not None
    assert surface.api.read(b'{"contents":[]}').model == model


@pytest.mark.parametrize("verb", ["GENERATECONTENT", "generatecontent", "StreamGenerateContent"])
def test_another_case_does_not_hide_a_metered_verb(verb: str) -> None:
    assert DIALECT.surface("POST", f"/V1Beta/models/m:{verb}").kind == "metered"


def test_a_path_without_a_model_is_refused_when_it_is_read() -> None:
    api = DIALECT.surface("POST", "/v1beta/models/:generateContent").api
    assert api is not None

    with pytest.raises(BadBody, match="the path names no model"):
        api.read(b'{"contents":[]}')


@pytest.mark.parametrize(("method", "path"), FREE)
def test_counting_reading_and_storing_are_free(method: str, path: str) -> None:
    assert (DIALECT.surface(method, path).kind, DIALECT.surface(method, path).api) == ("free", None)


@pytest.mark.parametrize(("method", "path", "operation"), DEAR)
def test_what_costs_money_that_we_cannot_count_is_said_to(
    method: str, path: str, operation: Operation
) -> None:
    surface = DIALECT.surface(method, path)

    assert (surface.kind, surface.operation, surface.api) == ("billable_unknown", operation, None)


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_every_other_path_and_method_is_unknown_and_never_taken_for_free(method: str, path: str) -> None:
    assert DIALECT.surface(method, path).kind == "unknown"


# -- query and headers ----------------------------------------------------------------------------------------------


def checked(query: str = "", headers: dict[str, str] | None = None, path: str = GENERATE) -> BadBody | None:
    try:
        DIALECT.check(path, query, CIMultiDict(headers or {}))
    except BadBody as bad:
        return bad
    return None


@pytest.mark.parametrize(
    "query",
    [
        "?key=secret-1",
        "?alt=sse&key=secret-1",
        "?KEY=secret-1",
        "?%6Bey=secret-1",
        "?key",
        "?key=",
        "?access_token=secret-1",
        "?oauth_token=secret-1",
        "?$key=secret-1",
        "?%24key=secret-1",
    ],
)
@pytest.mark.parametrize("path", [GENERATE, "/v1beta/models", "/v1beta/files"])
def test_a_key_in_the_query_is_refused_everywhere_and_never_repeated(query: str, path: str) -> None:
    bad = checked(query, path=path)

    assert bad is not None
    assert bad.code == "key_in_query"
    assert "x-goog-api-key" in bad.message
    assert "secret-1" not in bad.message + str(bad.param)


@pytest.mark.parametrize(
    "query",
    [
        "?fields=candidates",
        "?$fields=candidates",
        "?alt=proto",
        "?$alt=proto",
        "?alt=media",
        "?callback=f",
    ],
)
def test_what_would_hide_the_usage_of_an_answer_is_refused_where_it_is_metered(query: str) -> None:
    bad = checked(query)

    assert bad is not None
    assert bad.code == "cannot_be_metered"
    assert checked(query, path="/v1beta/models") is None


@pytest.mark.parametrize("query", ["?$httpMethod=POST", "?$httpHeaders=x", "?$req=x", "?%24httpMethod=POST"])
def test_what_would_change_the_request_behind_us_is_refused(query: str) -> None:
    bad = checked(query, path="/v1beta/models")

    assert bad is not None
    assert bad.message.endswith("it changes what is asked")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?alt=sse",
        "?alt=json",
        "?ALT=SSE",
        "?$alt=json%3Benum-encoding=int",
        "?prettyPrint=false",
        "?pageSize=5&pageToken=key",
        "?$.xgafv=2",
    ],
)
def test_ordinary_parameters_pass(query: str) -> None:
    assert checked(query) is None


def test_a_query_of_very_many_parameters_is_refused() -> None:
    bad = checked("?" + "&".join(f"a{n}=1" for n in range(200)))

    assert bad is not None
    assert bad.code == "bad_query"


def test_a_field_mask_in_a_header_is_refused_where_the_answer_is_metered() -> None:
    mask = {"x-goog-fieldmask": "candidates.content"}

    bad = checked(headers=mask)

    assert bad is not None
    assert bad.code == "cannot_be_metered"
    assert checked(headers=mask, path="/v1beta/models") is None


# -- the family -----------------------------------------------------------------------------------------------------


def told(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "status": 402,
        "message": "over budget",
        "kind": "insufficient_quota",
        "code": "budget_exceeded",
        "param": None,
        "extra": {"request_id": "req-1", "resets_at": "2026-02-01T00:00:00Z", "rule_id": None},
    }
    error: dict[str, Any] = json.loads(DIALECT.refusal(**{**given, **changes}))["error"]
    return error


def test_the_credential_is_googles_header() -> None:
    assert DIALECT.credential("invented") == (("x-goog-api-key", "invented"),)


def test_a_refusal_has_googles_envelope_and_our_figures_in_its_details() -> None:
    assert told() == {
        "code": 402,
        "message": "over budget",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "BUDGET_EXCEEDED",
                "domain": "spendgate",
                "metadata": {
                    "type": "insufficient_quota",
                    "code": "budget_exceeded",
                    "request_id": "req-1",
                    "resets_at": "2026-02-01T00:00:00Z",
                },
            }
        ],
    }


def test_a_refusal_of_a_parameter_names_it_as_google_does() -> None:
    error = told(status=400, kind="invalid_request_error", code="invalid_value", param="contents")

    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][1] == {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": "contents", "description": "over budget"}],
    }


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (401, "UNAUTHENTICATED"),
        (402, "RESOURCE_EXHAUSTED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (413, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (502, "UNAVAILABLE"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
        (505, "INTERNAL"),
    ],
)
def test_the_envelope_repeats_the_http_status_in_googles_words(number: int, status: str) -> None:
    """Whatever the refusal is called: an exhausted budget may be answered 402 or 429."""
    error = told(status=number)

    assert (error["code"], error["status"]) == (number, status)


def test_the_dialect_is_found_by_name_and_its_helpers_are_none() -> None:
    assert find("gemini") is DIALECT
    assert not {"gemini_content", "gemini_stream", "gemini_usage", "gemini_embeddings"} & set(names())
