"""The framing gate by itself: what it refuses with which word, and which headers cross in either direction."""

import re
from unittest.mock import Mock
from urllib.parse import unquote

import pytest
from aiohttp import HttpVersion, HttpVersion10, HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from proxy.gate import GateProblem, check_request, forwardable, returnable

LIMIT = 1000

Pairs = list[tuple[str, str]]


def a_request(
    target: str = "/v1/models",
    headers: Pairs | None = None,
    *,
    method: str = "GET",
    version: HttpVersion = HttpVersion11,
) -> web.BaseRequest:
    """As the server makes it of what the parser read; the gate asks for nothing but the message."""
    pairs = headers or []
    message = RawRequestMessage(
        method,
        target,
        version,
        CIMultiDictProxy(CIMultiDict(pairs)),
        tuple((name.encode(), value.encode()) for name, value in pairs),
        should_close=False,
        compression=None,
        upgrade=False,
        chunked=False,
        url=URL("/"),
    )
    return web.BaseRequest(message, EMPTY_PAYLOAD, Mock(), Mock(), Mock(), Mock())


def check(request: web.BaseRequest) -> GateProblem | None:
    return check_request(request, body_bytes_max=LIMIT)


def refused(request: web.BaseRequest) -> tuple[int, str]:
    problem = check(request)
    assert problem is not None, "the gate let it pass"
    assert problem.close, "what follows a refused request must not be read"
    return problem.status, problem.code


# -- the request line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_methods_of_apis_pass(method: str) -> None:
    assert check(a_request(method=method)) is None


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "get", "Post", "PRI"])
def test_other_methods_are_refused(method: str) -> None:
    assert refused(a_request(method=method)) == (405, "bad_method")


@pytest.mark.parametrize(("major", "minor"), [(2, 0), (0, 9), (1, 2), (3, 0)])
def test_other_versions_are_refused(major: int, minor: int) -> None:
    assert refused(a_request(version=HttpVersion(major, minor))) == (505, "bad_version")


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v1/chat/completions",
        "/v1/files/",
        "/v1/models/ft:gpt-4o-mini:org::abc@2",
        "/v1/models/a...b",
        "/v1/.well-known",
        "/v1/models/..a",
        "/v1/a%20b/%c3%a9",
        "/v1/models?x=%2F..%2F&y=//../&z=a/b?c",
        "/v1/models?",
    ],
)
def test_a_plain_target_passes(target: str) -> None:
    assert check(a_request(target)) is None


@pytest.mark.parametrize(
    "target",
    [
        "*",
        "v1/models",
        "http://169.254.169.254/v1/models",
        "@evil/v1/models",
        "//evil/v1/models",
        "/v1//models",
        "/v1/models//",
        "/..",
        "/v1/.",
        "/v1/./models",
        "/v1/../models",
        "/v1/models/..",
        "/v1/..;/models",
        "/v1/%2e%2e/models",
        "/v1/%2E/models",
        "/v1/.%2e/models",
        "/v1/chat%2fcompletions",
        "/v1/chat%2Fcompletions",
        "/v1\\models",
        "/v1/%5cmodels",
        "/v1/models%00",
        "/v1/models#part",
        "/v1/models?a=1#part",
        "/v1/models?a b",
        "/v1/mod els",
        "/v1/%zz",
        "/v1/%4",
        "/v1/é",
        "/v1/models?é",
        "/v1/models\n",
    ],
)
def test_a_target_that_two_parsers_read_differently_is_refused(target: str) -> None:
    assert refused(a_request(target)) == (400, "bad_path")


@pytest.mark.parametrize(
    "target",
    ["/v1/models/org%2Fmodel", "/v1/models/org%2fmodel", "/models/a%2Fb", "/groq/v1/models/a%2Fb?x=1"],
)
def test_a_models_id_may_hold_one_escaped_slash(target: str) -> None:
    assert check(a_request(target)) is None


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models/..%2Fchat",
        "/v1/models/.%2Fchat",
        "/v1/models/a%2F..",
        "/v1/models/a%2F.",
        "/v1/models/%2Fchat",
        "/v1/models/a%2Fb%2Fc",
        "/v1/models/a%2Fb/c",
        "/v1/models/a%2F%2e%2e",
        "/v1/files/a%2Fb",
        "/v1/a/models/a%2Fb",
        "/V1/models/a%2Fb",
    ],
)
def test_the_escaped_slash_leads_nowhere_else(target: str) -> None:
    assert refused(a_request(target)) == (400, "bad_path")


PIECES = ["/", "//", ".", "..", "%2e", "%2F", "%2f", "%5c", "\\", "%00", ";", "#", "a", "v1", "models", "%41"]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_a_path_that_passes_leads_to_the_same_place_however_it_is_read(pieces: list[str]) -> None:
    """Unescaping moves no segment, save that one model id becomes two; and nobody has a dot segment to resolve."""
    path = "/" + "".join(pieces)
    if check(a_request(path)) is not None:
        return

    split_first = [unquote(segment) for segment in path.split("/")]
    unescaped_first = unquote(path).split("/")

    assert not {".", ".."} & set(unescaped_first)
    assert "" not in unescaped_first[1:-1]
    assert not re.search(r"[\\\0#;]", unquote(path))
    if split_first != unescaped_first:
        assert unescaped_first[:-2] == split_first[:-1]
        assert unescaped_first[-3] == "models"


# -- framing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["chunked", "Chunked", " chunked "])
def test_chunked_is_the_one_transfer_coding(value: str) -> None:
    assert check(a_request(headers=[("Transfer-Encoding", value)])) is None


@pytest.mark.parametrize(
    "values", [["gzip, chunked"], ["identity"], ["chunked", "chunked"], ["xchunked"], [""], ["chunked,"]]
)
def test_other_transfer_codings_are_refused(values: list[str]) -> None:
    headers = [("Transfer-Encoding", value) for value in values]

    assert refused(a_request(headers=headers)) == (501, "bad_framing")


def test_a_transfer_coding_in_http_1_0_is_refused() -> None:
    headers = [("Transfer-Encoding", "chunked")]

    assert refused(a_request(headers=headers, version=HttpVersion10)) == (400, "bad_framing")


@pytest.mark.parametrize(("length", "passes"), [(LIMIT, True), (LIMIT + 1, False), (10**30, False)])
def test_a_body_that_says_it_is_too_large_is_refused_unread(length: int, passes: bool) -> None:
    request = a_request(headers=[("Content-Length", str(length))], method="POST")

    assert (check(request) is None) == passes
    assert passes or refused(request) == (413, "body_too_large")


@pytest.mark.parametrize("value", ["websocket", "WebSocket", "h2c, websocket"])
def test_a_websocket_is_refused_until_it_is_metered(value: str) -> None:
    assert refused(a_request(headers=[("Upgrade", value)])) == (426, "websocket_not_metered")


def test_another_expectation_than_100_continue_is_refused() -> None:
    assert check(a_request(headers=[("Expect", "100-Continue")])) is None
    assert refused(a_request(headers=[("Expect", "magic")])) == (417, "bad_framing")


@pytest.mark.parametrize(
    "value",
    ["Authorization", "close, X-API-Key", "keep-alive,content-length", "Host", "X-Trace-ID", "x-spendgate-x"],
)
def test_connection_cannot_take_away_what_belongs_to_the_request(value: str) -> None:
    assert refused(a_request(headers=[("Connection", value)])) == (400, "bad_framing")
    twice = [("Connection", "close"), ("Connection", value)]
    assert refused(a_request(headers=twice)) == (400, "bad_framing")


# -- headers across ---------------------------------------------------------------------------------------------------


def test_headers_cross_in_order_and_in_their_own_case_and_doubles_stay() -> None:
    headers = [("X-B", "1"), ("x-a", "2"), ("X-B", "3"), ("User-Agent", "é"), ("Cookie", "a=b")]

    assert forwardable(a_request(headers=headers)) == headers


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "AUTHORIZATION",
        "x-api-key",
        "Api-Key",
        "x-goog-api-key",
        "Host",
        "Content-Length",
        "Expect",
        "X-Spendgate-Anything",
        "X_Team",
        "Content_Length",
    ],
)
def test_what_is_of_this_hop_or_ours_or_a_credential_stays_here(name: str) -> None:
    assert forwardable(a_request(headers=[(name, "1"), ("X-Kept", "1")])) == [("X-Kept", "1")]


def test_a_header_that_connection_names_stays_here_in_both_directions() -> None:
    headers = [("Connection", "close, X-Hop"), ("x-hop", "1"), ("X-Kept", "1")]

    assert forwardable(a_request(headers=headers)) == [("X-Kept", "1")]
    assert returnable(headers) == [("X-Kept", "1")]


def test_answers_keep_all_but_the_hops_own_headers() -> None:
    kept = [("Set-Cookie", "a"), ("Set-Cookie", "b"), ("content-LENGTH", "2"), ("Server", "x")]
    hop = [
        ("Transfer-Encoding", "chunked"),
        ("Keep-Alive", "timeout=5"),
        ("Upgrade", "h2c"),
        ("Trailer", "X"),
    ]

    assert returnable([*hop, *kept]) == kept
