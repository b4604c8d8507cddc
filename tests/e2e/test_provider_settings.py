"""What a provider's settings change on the way to it: headers, the key, connections, trust, and a proxy in between."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.calls import chat_body, headers_for, post
from tests.support.client import Connection, Reply, ask, call_headers
from tests.support.outbound import RecordingProxy, TlsFront, private_authority, serving
from tests.support.process import ScriptedProvider, Spendgate, config_for
from tests.support.script import Script

FILE_KEY = "provider-secret-of-a-file"
HEADER_SECRET = "header-secret-canary"
PROXY_PASSWORD = "proxy-secret-canary"
CHAT = "v1/chat/completions"
COST = 10 * 150 + 10 * 600  # gpt-4o-mini: 10 tokens in and 10 out, in nano-dollars


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("provider-settings")


@pytest.fixture(scope="module")
def proxy() -> Iterator[RecordingProxy]:
    recording = RecordingProxy("outbound", PROXY_PASSWORD)
    with serving(recording) as recording.port:
        yield recording


@pytest.fixture(scope="module")
def spendgate(folder: Path, provider: ScriptedProvider, proxy: RecordingProxy) -> Iterator[Spendgate]:
    authority, context = private_authority(folder)
    key_file = folder / "provider.key"
    key_file.touch(mode=0o600)
    key_file.write_text(f"{FILE_KEY}\n")
    with serving(TlsFront(provider.port), context) as tls_port:
        config = config_for(provider.url)
        plain: dict[str, Any] = config["providers"]["openai"]
        secure = {**plain, "base_url": f"https://127.0.0.1:{tls_port}/v1"}
        trusting = {**secure, "ca_file": str(authority)}
        config["providers"] = {
            "openai": plain,
            "dressed": {
                **{name: value for name, value in plain.items() if name != "api_key"},
                "api_key_file": "../provider.key",
                "headers": {"OpenAI-Project": "proj-default", "X-Secret": HEADER_SECRET, "X-Unset": ""},
            },
            "narrow": {**plain, "connections_max": 1, "timeouts": {"connect_seconds": 0.5}},
            "trusting": trusting,
            "blind": {**secure, "tls_verify": False},
            "wary": secure,
            "forward": {**plain, "proxy": proxy.url()},
            "tunnel": {**trusting, "proxy": proxy.url()},
            "wary-tunnel": {**secure, "proxy": proxy.url()},
            "refused-forward": {**plain, "proxy": proxy.url("wrong")},
            "refused-tunnel": {**trusting, "proxy": proxy.url("wrong")},
            "no-proxy": {**plain, "proxy": "http://127.0.0.1:1"},  # port 1: nobody listens
        }
        with Spendgate(folder / "spendgate", config) as started:
            yield started


@pytest.fixture(scope="module")
def key(spendgate: Spendgate) -> str:
    return spendgate.key("free")


async def call(
    spendgate: Spendgate, key: str, provider: str, script: Script, *, stream: bool = False
) -> Reply:
    body = chat_body(stream=True) if stream else chat_body()
    return await post(spendgate.url, key, script, body, f"/{provider}/{CHAT}")


async def arrived(spendgate: Spendgate, key: str, provider: str, **headers: str) -> dict[str, list[str]]:
    """The headers that came to the provider, by their names in lower case."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = await ask(spendgate.url, "GET", f"/{provider}/v1/files/f", call_headers(key, named))
    assert reply.status == 200, reply.body
    found: dict[str, list[str]] = {}
    for name, value in reply.json()["headers"]:
        found.setdefault(name.lower(), []).append(value)
    return found


# -- headers and the key --------------------------------------------------------------------------------------------


async def test_a_providers_headers_are_added_to_a_call_that_has_none_of_that_name(
    spendgate: Spendgate, key: str
) -> None:
    found = await arrived(spendgate, key, "dressed")

    assert found["openai-project"] == ["proj-default"]
    assert found["x-secret"] == [HEADER_SECRET]
    assert "x-unset" not in found


async def test_a_header_that_the_caller_sent_stays_as_it_came(spendgate: Spendgate, key: str) -> None:
    found = await arrived(spendgate, key, "dressed", openai_PROJECT="proj-own")

    assert found["openai-project"] == ["proj-own"]
    assert found["x-secret"] == [HEADER_SECRET]


async def test_the_key_of_a_file_is_sent_without_its_line_end(spendgate: Spendgate, key: str) -> None:
    assert (await arrived(spendgate, key, "dressed"))["authorization"] == [f"Bearer {FILE_KEY}"]


# -- trust, and the way through a proxy -----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["dressed", "trusting", "blind", "forward", "tunnel"])
async def test_whatever_the_way_a_call_is_charged_what_the_provider_bills(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, name: str, stream: bool
) -> None:
    reply = await call(spendgate, key, name, Script(tag=tag), stream=stream)

    assert reply.status == 200
    row = spendgate.call(tag)
    assert (row.basis, row.nanos) == ("reported", COST)
    assert provider.billed(tag).final


@pytest.mark.parametrize("name", ["wary", "wary-tunnel"])
async def test_a_certificate_of_an_unknown_authority_is_not_trusted(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, name: str
) -> None:
    reply = await call(spendgate, key, name, Script(tag=tag))

    assert (reply.status, reply.json()["error"]["code"]) == (502, "upstream_tls")
    assert spendgate.call(tag).nanos == 0
    assert provider.bill(tag) == []


async def test_an_https_provider_is_reached_by_one_tunnel_that_serves_many_calls(
    spendgate: Spendgate, proxy: RecordingProxy, key: str, tag: str
) -> None:
    """And the proxy sees where it leads, nothing of what goes through."""
    await call(spendgate, key, "tunnel", Script(tag=f"{tag}-0"))
    before = len(proxy.asked)

    for n in (1, 2, 3):
        assert (await call(spendgate, key, "tunnel", Script(tag=f"{tag}-{n}"))).status == 200

    assert len(proxy.asked) == before
    tunnels = [asked for asked in proxy.asked if asked.line.startswith("CONNECT ")]
    assert tunnels
    assert {asked.headers["proxy-authorization"] for asked in tunnels} >= {proxy.credential}
    assert not any("authorization" in asked.headers for asked in tunnels)


async def test_an_http_provider_is_asked_for_by_its_whole_url(
    spendgate: Spendgate, provider: ScriptedProvider, proxy: RecordingProxy, key: str, tag: str
) -> None:
    await call(spendgate, key, "forward", Script(tag=tag))

    asked = proxy.asked[-1]
    assert asked.line == f"POST {provider.url}/v1/chat/completions HTTP/1.1"
    assert asked.headers["host"] == f"127.0.0.1:{provider.port}"
    assert asked.headers["proxy-authorization"] == proxy.credential


@pytest.mark.parametrize("name", ["forward", "tunnel"])
async def test_the_proxys_credential_does_not_reach_the_provider(
    spendgate: Spendgate, key: str, name: str
) -> None:
    assert "proxy-authorization" not in await arrived(spendgate, key, name)


@pytest.mark.parametrize("name", ["refused-forward", "refused-tunnel", "no-proxy"])
async def test_a_proxy_that_refuses_is_told_of_and_nothing_is_charged(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, name: str
) -> None:
    reply = await call(spendgate, key, name, Script(tag=tag))

    assert (reply.status, reply.json()["error"]["code"]) == (502, "upstream_proxy")
    assert reply.header("proxy-authenticate") is None
    row = spendgate.call(tag)
    assert (row.nanos, row["status"]) == (0, 502)
    assert provider.bill(tag) == []


# -- connections ----------------------------------------------------------------------------------------------------


async def test_who_waits_too_long_for_a_connection_is_told_and_nothing_was_sent(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    async with Connection(spendgate.url) as connection:
        script = Script(tag=f"{tag}-long", chunk_delay_ms=20)
        body = chat_body(max_tokens=10_000, stream=True)
        await connection.start("POST", f"/narrow/{CHAT}", headers_for(key, script), body)

        late = await call(spendgate, key, "narrow", Script(tag=f"{tag}-late"))

    assert (late.status, late.json()["error"]["code"]) == (504, "upstream_timeout")
    assert "one of its 1 connections" in late.json()["error"]["message"]
    assert spendgate.call(f"{tag}-late").nanos == 0
    assert provider.bill(f"{tag}-late") == []


async def test_calls_beyond_the_connections_wait_for_their_turn(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    scripts = [Script(tag=f"{tag}-{n}", delay_ms=20) for n in range(4)]

    replies = await asyncio.gather(*(call(spendgate, key, "narrow", script) for script in scripts))

    assert [reply.status for reply in replies] == [200] * 4


# -- what is shown --------------------------------------------------------------------------------------------------


async def test_no_secret_of_a_provider_is_shown_and_what_is_not_verified_is(
    spendgate: Spendgate, proxy: RecordingProxy, key: str, tag: str
) -> None:
    await call(spendgate, key, "refused-tunnel", Script(tag=tag))
    command = [sys.executable, "-m", "proxy.cli", "check", "-c", str(spendgate.folder / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    log = spendgate.log.read_text()

    assert done.returncode == 0, done.stderr
    secrets = [FILE_KEY, HEADER_SECRET, PROXY_PASSWORD, proxy.credential.removeprefix("Basic ")]
    assert [secret for secret in secrets if secret in done.stdout + done.stderr + log] == []
    assert f"proxy: http://[redacted]@127.0.0.1:{proxy.port}" in done.stdout
    assert "X-Secret: '[redacted]'" in done.stdout
    for shown in (done.stderr, log):
        assert shown.count("tls_verify: DANGER") == 1
        assert "providers.blind.tls_verify: DANGER" in shown
