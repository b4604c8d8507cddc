"""What goes in comes out: method, path, query, headers and bytes, in both directions, save a named list."""

import gzip
import json
from hashlib import sha256
from typing import Any

import pytest

from tests.support.calls import CHAT, chat_body, headers_for, post
from tests.support.client import Connection, Headers, Reply, ask, call_headers
from tests.support.gathering import ceiling
from tests.support.process import PROVIDER_KEY, ScriptedProvider, Spendgate
from tests.support.script import Script, exactly

ADDED_TO_ANSWERS = {
    "x-spendgate-call-id",
    "x-spendgate-estimate-usd",
    "x-spendgate-budget-remaining-usd",
    "x-spendgate-cost-usd",
    "x-api-cost",
    "x-token-usage",
    "x-trace-id",
}
ABOUT_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "date", "host"}
CREDENTIALS = {"authorization"}


def bearer(key: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {key}")


async def echo(
    spendgate: Spendgate, key: str, method: str, target: str, headers: Headers = (), **kw: Any
) -> Any:
    """What the provider says it got."""
    reply = await ask(spendgate.url, method, target, [bearer(key), *headers], **kw)
    assert reply.status == 200, reply.body
    return reply.json()


def told(headers: list[tuple[str, str]], without: set[str]) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in headers if name.lower() not in without)


# -- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/v1/echo",
        "/v1/echo/",
        "/v1/echo/a%20b",
        "/v1/echo/%41%c3%A9",
        "/v1/echo/x:y@z,w=1!$&'()*+~-._",
        "/v1/echo?a=%2F&b=+&c=&=d&e&a=2",
        "/v1/echo?q=a/b?c",
        "/v1/models/org%2Fmodel",
        "/openai/v1/echo/named",
    ],
)
async def test_path_and_query_reach_the_provider_as_they_came(
    spendgate: Spendgate, key: str, target: str
) -> None:
    got = await echo(spendgate, key, "GET", target)

    assert got["target"] == target.removeprefix("/openai")


@pytest.mark.parametrize(
    "target",
    [
        "//evil/v1/echo",
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "/v1/echo\\x",
        "/v1/echo%5cx",
        "/v1/echo%00",
        "/v1/echo#fragment",
        "http://169.254.169.254/v1/echo",
        "/v1/chat%2fcompletions",
    ],
)
async def test_a_path_that_means_two_things_is_refused(spendgate: Spendgate, key: str, target: str) -> None:
    reply = await ask(spendgate.url, "GET", target, [bearer(key)])

    assert reply.status in (400, 404)
    assert reply.header("x-request-id") != "req-echo"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_methods_pass(spendgate: Spendgate, key: str, method: str) -> None:
    got = await echo(spendgate, key, method, "/v1/echo")

    assert got["method"] == method


async def test_only_the_credential_and_what_belongs_to_a_connection_differ(
    spendgate: Spendgate, key: str
) -> None:
    headers = [
        ("User-Agent", "OpenAI/Python 3.52.0"),
        ("Accept", "application/json"),
        ("Accept-Encoding", "gzip, deflate"),
        ("OpenAI-Organization", "org-1"),
        ("X-Stainless-Retry-Count", "0"),
        ("X-Repeated", "one"),
        ("X-Repeated", "two"),
        ("X-Mixed-Case", "a  b\tc"),
        ("Cookie", "a=b"),
    ]

    got = await echo(spendgate, key, "POST", "/v1/echo", headers, body=b"{}")

    arrived = [(name, value) for name, value in got["headers"]]
    assert told(arrived, {*CREDENTIALS, *ABOUT_ONE_CONNECTION, "content-length"}) == told(headers, set())
    assert ("X-Mixed-Case", "a  b\tc") in arrived
    assert [value for name, value in arrived if name.lower() == "authorization"] == [f"Bearer {PROVIDER_KEY}"]


async def test_nothing_is_added_to_a_bare_request(spendgate: Spendgate, key: str) -> None:
    got = await echo(spendgate, key, "GET", "/v1/echo")

    names = {name.lower() for name, _ in got["headers"]}
    assert names <= {"host", "authorization", "connection"}


async def test_our_key_never_reaches_the_provider(spendgate: Spendgate, key: str) -> None:
    headers = [("x-api-key", key), ("api-key", key), ("x-goog-api-key", key)]

    got = await echo(spendgate, key, "GET", "/v1/echo", headers)

    assert key not in json.dumps(got)


async def test_what_belongs_to_one_hop_stays_there(spendgate: Spendgate, key: str) -> None:
    headers = [
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "Basic x"),
        ("TE", "trailers"),
    ]

    got = await echo(spendgate, key, "GET", "/v1/echo", headers)

    names = {name.lower() for name, _ in got["headers"]}
    assert names.isdisjoint({"x-hop", "keep-alive", "proxy-authorization", "te"})


BODIES = {
    "json": b'{"a":  1,\n"b": "\\u00e9"}',
    "binary": bytes(range(256)) * 64,
    "multipart": b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n\x00\xff\r\n--b--\r\n',
    "gzip": gzip.compress(b'{"a": 1}'),
    "five megabytes": b"0123456789abcdef" * (5 << 16),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("chunked", [False, True])
async def test_request_bodies_arrive_whole(spendgate: Spendgate, key: str, name: str, chunked: bool) -> None:
    data = BODIES[name]
    headers = [("Content-Type", "application/octet-stream")]
    if name == "gzip":
        headers.append(("Content-Encoding", "gzip"))
    sent = data
    if chunked:
        headers.append(("Transfer-Encoding", "chunked"))
        half = len(data) // 2
        sent = b"".join(f"{len(p):x}\r\n".encode() + p + b"\r\n" for p in (data[:half], data[half:], b""))

    got = await echo(spendgate, key, "POST", "/v1/echo", headers, body=sent)

    assert (got["body_bytes"], got["body_sha256"]) == (len(data), sha256(data).hexdigest())


async def test_a_gzip_call_is_metered_and_forwarded_as_it_came(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    headers = [*headers_for(key, Script(tag=tag)), ("Content-Encoding", "gzip")]

    reply = await ask(spendgate.url, "POST", CHAT, headers, gzip.compress(chat_body(10, max_tokens=5)))

    assert reply.status == 200
    assert spendgate.call(tag).nanos == ceiling(5)


async def test_a_client_that_expects_100_continue_gets_it(spendgate: Spendgate, key: str) -> None:
    headers = [bearer(key), ("Expect", "100-continue"), ("Content-Length", "4")]
    async with Connection(spendgate.url) as connection:
        await connection.send("POST", "/v1/echo", headers)
        await connection.read_head()
        first = connection.status
        await connection.write(b"body")
        await connection.read_head()
        got = json.loads(b"".join([piece async for piece in connection.pieces()]))

    assert (first, connection.status, got["body_bytes"]) == (100, 200, 4)


async def test_long_headers_and_long_targets_pass_both_ways(spendgate: Spendgate, key: str) -> None:
    long = "x" * 20_000

    got = await echo(spendgate, key, "GET", f"/v1/echo?q={long}", [("X-Long", long)])
    reply = await reply_with(spendgate, key, exactly(200, [("X-Long", long)], b"ok"))

    assert ["X-Long", long] in got["headers"]
    assert reply.header("X-Long") == long


async def test_two_requests_sent_at_once_are_answered_in_order(spendgate: Spendgate, key: str) -> None:
    head = f"GET /v1/echo?n={{}} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n"
    async with Connection(spendgate.url) as connection:
        await connection.write((head.format(1) + head.format(2)).encode())
        targets = []
        for _ in range(2):
            await connection.read_head()
            data = b"".join([piece async for piece in connection.pieces()])
            targets.append(json.loads(data)["target"])

    assert targets == ["/v1/echo?n=1", "/v1/echo?n=2"]


# -- answers --------------------------------------------------------------------------------------------------------


async def reply_with(spendgate: Spendgate, key: str, reply: dict[str, Any], method: str = "GET") -> Reply:
    headers = [bearer(key), *Script(reply=reply).header().items()]
    return await ask(spendgate.url, method, "/v1/echo", headers)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, [("Content-Type", "application/json; charset=utf-8")], b'{"a":  1}\n'),
        (200, [("Content-Type", "image/png")], bytes(range(256)) * 100),
        (
            200,
            [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")],
            gzip.compress(b"plain", mtime=0),
        ),
        (200, [("Content-Type", "text/event-stream")], b": comment\r\n\r\ndata: 1\r\n\r\ndata: 2\n\n"),
        (200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2; Path=/"), ("X-Odd", "  in  between")], b""),
        (201, [("Location", "/v1/things/1")], b"{}"),
        (204, [("X-Empty", "1")], b""),
        (301, [("Location", "https://example.org/else")], b"moved"),
        (307, [("Location", "/v1/other")], b""),
        (404, [("Content-Type", "application/json")], b'{"error": {"message": "no"}}'),
        (418, [], b"short and stout"),
    ],
)
async def test_status_headers_and_bytes_of_an_answer_are_the_providers(
    spendgate: Spendgate,
    provider: ScriptedProvider,
    key: str,
    status: int,
    headers: list[tuple[str, str]],
    body: bytes,
) -> None:
    script = Script(reply=exactly(status, headers, body))

    direct = await ask(provider.url, "GET", "/v1/echo", call_headers("k", script.header()))
    through = await ask(spendgate.url, "GET", "/v1/echo", call_headers(key, script.header()))

    assert (through.status, through.reason, through.body) == (direct.status, direct.reason, body)
    without = ADDED_TO_ANSWERS | ABOUT_ONE_CONNECTION
    assert told(through.headers, without) == told(direct.headers, without)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
async def test_answers_without_a_body_leave_the_connection_usable(
    spendgate: Spendgate, key: str, method: str
) -> None:
    headers = [bearer(key), *Script(reply=exactly(200, [("X-A", "1")])).header().items()]
    async with Connection(spendgate.url) as connection:
        first = await connection.ask(method, "/v1/echo", headers)
        second = await connection.ask("GET", "/v1/echo", [bearer(key)])

    assert (first.status, first.header("X-A"), first.body) == (200, "1", b"")
    assert second.json()["method"] == "GET"


async def test_the_providers_request_id_is_never_overwritten(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    reply = await post(spendgate.url, key, Script(tag=tag), chat_body())

    ids = [value for name, value in reply.headers if name.lower() == "x-request-id"]
    assert ids == [f"req-{reply.json()['id']}"]


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_unary_answer_passes_byte_for_byte(
    spendgate: Spendgate, key: str, tag: str, coding: str
) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    plain = json.dumps({"id": "chatcmpl-x", "model": "gpt-4o-mini", "choices": [], "usage": usage}).encode()
    plain = plain.replace(b'": ', b'":   ') + b"\n\n"  # nobody re-serialises this
    headers = [("Content-Type", "application/json")]
    body = plain if coding == "identity" else gzip.compress(plain)
    if coding == "gzip":
        headers.append(("Content-Encoding", "gzip"))

    reply = await post(spendgate.url, key, Script(tag=tag, reply=exactly(200, headers, body)), chat_body())

    assert reply.body == body
    assert spendgate.call(tag).nanos == ceiling(5)


# -- streams --------------------------------------------------------------------------------------------------------

SSE = [("Content-Type", "text/event-stream")]
WORD = b'data: {"id":"c","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
STOP = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\r\n\r\n'
USAGE = (
    b'data: {"id":"c","model":"gpt-4o-mini","choices":[],'
    b'"usage":{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11}}\n\n'
)
DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"


async def test_a_stream_that_asked_for_usage_passes_byte_for_byte(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    stream = COMMENT + WORD + COMMENT + STOP + USAGE + DONE
    script = Script(tag=tag, reply=exactly(200, SSE, stream))

    reply = await post(
        spendgate.url, key, script, chat_body(stream=True, stream_options={"include_usage": True})
    )

    assert reply.body == stream
    assert spendgate.call(tag).nanos == ceiling(1)


@pytest.mark.parametrize("options", ["absent", None, {}, {"include_usage": False}, {"include_usage": None}])
async def test_usage_is_asked_for_and_taken_out_again_where_the_client_did_not_ask(
    spendgate: Spendgate, key: str, tag: str, options: Any
) -> None:
    stream = COMMENT + WORD + COMMENT + STOP + USAGE + DONE
    more = {} if options == "absent" else {"stream_options": options}

    seen = await post(
        spendgate.url,
        key,
        Script(tag=tag, reply=exactly(200, SSE, stream)),
        chat_body(stream=True, **more),
    )
    # The scripted provider itself tells usage only where it was asked.
    await post(spendgate.url, key, Script(tag=f"{tag}-2"), chat_body(max_tokens=5, stream=True, **more))

    assert seen.body == stream.replace(USAGE, b"")
    assert spendgate.call(tag).nanos == ceiling(1)
    assert (spendgate.call(f"{tag}-2").basis, spendgate.call(f"{tag}-2").nanos) == ("reported", ceiling(5))


async def test_other_members_of_stream_options_are_kept(spendgate: Spendgate, key: str, tag: str) -> None:
    more: dict[str, Any] = {"stream_options": {"include_obfuscation": False}}

    await post(spendgate.url, key, Script(tag=tag), chat_body(max_tokens=5, stream=True, **more))

    assert spendgate.call(tag).basis == "reported"


async def test_events_come_as_they_are_made(spendgate: Spendgate, key: str, tag: str) -> None:
    """The first words reach the client while the provider is far from its end."""
    script = Script(tag=tag, chunk_delay_ms=100)
    async with Connection(spendgate.url) as connection:
        await connection.start("POST", CHAT, headers_for(key, script), chat_body(max_tokens=50, stream=True))
        pieces = connection.pieces()
        got = b""
        while got.count(b"word") < 2:
            got += await anext(pieces)

    assert got.count(b"word") < 10
