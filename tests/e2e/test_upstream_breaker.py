"""Breakers of providers: an outage is answered here after a few calls, and ends by itself. Connecting again, too."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text

from proxy import cli, control
from proxy.control import ControlError
from tests.support.calls import CHAT, chat_body, post
from tests.support.client import Reply, ask
from tests.support.gathering import ceiling, dollars
from tests.support.process import ScriptedProvider, Spendgate, config_for, wait_for
from tests.support.provider import serving
from tests.support.script import Script

PATH = "/api/v1/upstreams"
FAR = 3_600  # a cooldown that no test sees the end of
BREAKER = {"failure_share": 0.5, "min_calls": 4, "cooldown_seconds": FAR, "trial_calls": 2}


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


LATE_PORT = unused_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """Every test has a provider of its own, and its breaker."""
    config = config_for(provider.url)
    scripted = {**config["providers"]["openai"], "breaker": BREAKER}
    hasty = {**scripted, "timeouts": {"connect_seconds": 2, "idle_seconds": 0.3}}
    config["providers"] |= {
        "failing": scripted,
        "hung": hasty,
        "deaf": {**scripted, "base_url": "http://127.0.0.1:1/v1"},
        "back": {**scripted, "breaker": {**BREAKER, "cooldown_seconds": 0.2}},
        "throttling": scripted,
        "late": scripted,
        "slow": {**scripted, "breaker": {**BREAKER, "first_token_seconds": 0.05}},
        "claude": {**scripted, "dialect": "anthropic", "base_url": provider.url},
        "drilled": scripted,
        "left": scripted,
        "again": {**scripted, "base_url": "http://127.0.0.1:1/v1", "connect_retries": 1},
        "coming": {**scripted, "base_url": f"http://127.0.0.1:{LATE_PORT}/v1", "connect_retries": 3},
    }
    with Spendgate(tmp_path_factory.mktemp("upstreams"), config) as started:
        yield started


@pytest.fixture(scope="module")
def key(server: Spendgate) -> str:
    return server.key("search")


def api(server: Spendgate, method: str, path: str, body: object = None) -> Any:
    live = control.find(server.folder / "data")
    assert live is not None, "not running"
    return control.ask(live, method, PATH + path, body)


def said(server: Spendgate, *words: str) -> Result:
    """One command in the test's own process, however it ends: a second sooner."""
    file = str(server.folder / "config.yaml")
    return CliRunner().invoke(cli.spendgate, ["breakers", *words, "-c", file])


def at(name: str) -> str:
    return f"/{name}{CHAT}"


def metric(server: Spendgate, line: str) -> float:
    page = asyncio.run(ask(server.admin_url, "GET", "/metrics")).body.decode()
    return next((float(each.rpartition(" ")[2]) for each in page.splitlines() if each.startswith(line)), -1.0)


async def fail(server: Spendgate, key: str, name: str, count: int = 4, status: int = 500) -> list[Reply]:
    return [
        await post(server.url, key, Script(tag=name, status=status), chat_body(), at(name))
        for _ in range(count)
    ]


async def test_a_provider_that_only_fails_opens_its_breaker_and_no_money_is_held(
    server: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    budget = ("--budget-usd", dollars(5 * ceiling(10)), "--period", "total", "--hold", "strict")
    key = await asyncio.to_thread(server.key, tag, *budget)
    assert [reply.status for reply in await fail(server, key, "failing")] == [500] * 4

    refused = await post(server.url, key, Script(tag=tag), chat_body(), at("failing"))

    assert (refused.status, refused.header("Retry-After")) == (503, str(FAR))
    assert refused.header("x-should-retry") is None
    error = refused.json()["error"]
    assert (error["code"], error["scope"]) == ("upstream_breaker_open", "provider:failing")
    assert "4 of 4 calls in 60 s failed, the last by 500" in error["message"]
    row = await asyncio.to_thread(server.call, tag)
    assert (row["status"], row["outcome"], row["error_type"]) == (503, "refused", "upstream_breaker_open")
    assert (row.nanos, provider.bill(tag)) == (0, [])
    alerts = await asyncio.to_thread(wait_for, "its alert", lambda: _alerts(server, "failing") or None)
    assert [level for level, _ in alerts] == ["critical"]
    assert alerts[0][1].startswith('Breaker of provider "failing" is open: 4 of 4 calls')
    elsewhere = await post(server.url, key, Script(tag=f"{tag}-2"), chat_body(), at("openai"))
    assert elsewhere.status == 200, "of another provider, and what the refused call wanted is free"
    models = await ask(server.url, "GET", "/failing/v1/models", [("Authorization", f"Bearer {key}")])
    assert models.status == 200, "what is not metered goes on"
    assert (
        await asyncio.to_thread(metric, server, 'spendgate_upstream_breaker_state{provider="failing"} ') == 2
    )
    failures = 'spendgate_upstream_failures_total{code="500",provider="failing"} '
    assert await asyncio.to_thread(metric, server, failures) == 4


def _alerts(server: Spendgate, provider: str) -> list[tuple[str, str]]:
    engine = create_engine(f"sqlite:///file:{server.folder / 'data' / 'ledger.db'}?mode=ro&uri=true")
    wanted = text("SELECT level, message FROM outbox WHERE kind = 'upstream_breaker' AND scope_name = :name")
    with engine.connect() as connection:
        found = [
            (str(level), str(message)) for level, message in connection.execute(wanted, {"name": provider})
        ]
    engine.dispose()
    return found


@pytest.mark.parametrize(
    ("name", "status", "code"), [("hung", 504, "upstream_timeout"), ("deaf", 502, "upstream_connect")]
)
async def test_silence_and_dead_ports_open_the_breaker(
    server: Spendgate, key: str, tag: str, name: str, status: int, code: str
) -> None:
    script = Script(tag=tag, fault="hang")
    failed = await asyncio.gather(*(post(server.url, key, script, chat_body(), at(name)) for _ in range(4)))
    refused = await post(server.url, key, script, chat_body(), at(name))

    assert [reply.status for reply in failed] == [status] * 4
    assert refused.json()["error"]["code"] == "upstream_breaker_open"
    assert f"the last by {code}" in refused.json()["error"]["message"]


async def test_the_breaker_speaks_in_the_callers_own_envelope(server: Spendgate, key: str) -> None:
    api(server, "POST", "/claude/open", {"reason": "a drill"})

    body = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 5, "messages": []}).encode()
    headers = [("x-api-key", key), ("Content-Type", "application/json")]
    refused = await ask(server.url, "POST", "/claude/v1/messages", headers, body)

    assert (refused.status, refused.json()["type"]) == (503, "error")
    assert refused.json()["error"]["code"] == "upstream_breaker_open"
    assert "by hand: a drill" in refused.json()["error"]["message"]


async def test_a_provider_that_is_back_closes_its_breaker_by_trials(
    server: Spendgate, key: str, tag: str
) -> None:
    await fail(server, key, "back")
    assert api(server, "GET", "/back")["state"] != "closed"
    await asyncio.to_thread(wait_for, "the cooldown", lambda: _is(server, "back", "half_open"))

    first = await post(server.url, key, Script(tag=tag), chat_body(), at("back"))
    assert (first.status, api(server, "GET", "/back")["trials_ok"]) == (200, 1)
    await fail(server, key, "back", 1)
    assert api(server, "GET", "/back")["state"] != "closed", "one trial that fails opens it again"
    await asyncio.to_thread(wait_for, "another cooldown", lambda: _is(server, "back", "half_open"))
    for _ in range(2):
        reply = await post(server.url, key, Script(tag=tag), chat_body(stream=True), at("back"))
        assert reply.status == 200

    shown = api(server, "GET", "/back")
    assert (shown["state"], shown["failed"]) == ("closed", 0)


def _is(server: Spendgate, name: str, state: str) -> bool | None:
    return True if api(server, "GET", f"/{name}")["state"] == state else None


async def test_throttling_never_opens_the_breaker_and_is_told(server: Spendgate, key: str) -> None:
    for status in (429, 529, 404, 400):
        script = Script(tag="throttled", status=status, retry_after="900")
        for _ in range(4):
            reply = await post(server.url, key, script, chat_body(), at("throttling"))
            assert (reply.status, reply.header("Retry-After")) == (status, "900")

    shown = api(server, "GET", "/throttling")
    assert (shown["state"], shown["calls"], shown["failed"]) == ("closed", 16, 0)
    assert 0 < shown["throttled_seconds"] <= 900
    waits = 'spendgate_upstream_retry_after_seconds{provider="throttling"} '
    assert 0 < await asyncio.to_thread(metric, server, waits) <= 900


async def test_a_late_answer_of_an_older_generation_does_not_count_for_the_breaker(
    server: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    script = Script(tag=tag, status=500, delay_ms=1000)
    async with asyncio.TaskGroup() as group:
        late = group.create_task(post(server.url, key, script, chat_body(), at("late")))
        await asyncio.to_thread(provider.wait_for_arrival, tag)
        await fail(server, key, "late")
        assert api(server, "GET", "/late")["state"] == "open"
        api(server, "POST", "/late/reset", {"reason": "mended"})

    assert late.result().status == 500
    await asyncio.to_thread(server.call, tag)
    shown = api(server, "GET", "/late")
    assert (shown["state"], shown["calls"], shown["failed"]) == ("closed", 0, 0)


async def test_late_first_tokens_open_the_breaker_though_every_answer_comes(
    server: Spendgate, key: str, tag: str
) -> None:
    script, body = Script(tag=tag, delay_ms=400), chat_body(stream=True)
    calls = (post(server.url, key, script, body, at("slow")) for _ in range(4))
    assert [reply.status for reply in await asyncio.gather(*calls)] == [200] * 4

    refused = await post(server.url, key, script, body, at("slow"))

    assert refused.status == 503
    assert "the last by first_token_slow" in refused.json()["error"]["message"]


async def test_clients_that_leave_do_not_count_for_the_breaker(
    server: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    for n in range(4):
        script = Script(tag=f"{tag}-{n}", fault="hang", after_chunks=0)
        leaving = asyncio.create_task(  # noqa: TID251 - the test's own
            post(server.url, key, script, chat_body(stream=True), at("left"))
        )
        await asyncio.to_thread(provider.wait_for_arrival, script.tag)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await asyncio.to_thread(server.call, script.tag)

    assert api(server, "GET", "/left")["failed"] == 0


async def test_a_providers_breaker_is_set_by_hand_over_the_command_line_and_restarts(
    server: Spendgate, key: str, tag: str
) -> None:
    told = await asyncio.to_thread(said, server, "open", "provider:drilled", "--reason", "a drill")
    assert (told.exit_code, told.stderr) == (0, "it is forced open; it counts from this moment on\n")
    await asyncio.to_thread(server.stop)
    listed = await asyncio.to_thread(said, server, "list")
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("provider:drilled")]
    assert line.split()[1:3] == ["open", "yes"]
    for words, reason in (
        (("open", "provider:nobody"), '"nobody" is no provider'),
        (("open", "provider:drilled", "--scope", "team:a"), "--scope is of a rule"),
    ):
        refused = await asyncio.to_thread(said, server, *words, "--reason", "x")
        assert reason in refused.stderr
    await asyncio.to_thread(server.start)
    with pytest.raises(ControlError, match='"nobody" is no provider'):
        api(server, "GET", "/nobody")
    refused_call = await post(server.url, key, Script(tag=tag), chat_body(), at("drilled"))
    assert (refused_call.status, refused_call.header("Retry-After")) == (503, "30")

    await asyncio.to_thread(said, server, "reset", "provider:drilled", "--reason", "over")

    assert (await post(server.url, key, Script(tag=tag), chat_body(), at("drilled"))).status == 200


# -- connecting again -------------------------------------------------------------------------------------------------


async def test_connecting_again_in_vain_is_one_call_for_row_and_breaker_and_costs_nothing(
    server: Spendgate, key: str, tag: str
) -> None:
    failed = await post(server.url, key, Script(tag=tag), chat_body(), at("again"))

    assert (failed.status, failed.json()["error"]["code"]) == (502, "upstream_connect")
    row = await asyncio.to_thread(server.call, tag)
    assert (row["outcome"], row.nanos, row.flags) == ("not_sent", 0, ["connect_retried"])
    assert api(server, "GET", "/again")["calls"] == 1


async def test_a_provider_that_comes_up_meanwhile_is_charged_once_whatever_its_breaker_saw(
    server: Spendgate, key: str, tag: str, tmp_path: Path
) -> None:
    script = Script(tag=tag, output_tokens=10)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(post(server.url, key, script, chat_body(), at("coming")))
        await asyncio.sleep(0)  # it sets out first
        async with serving(tmp_path / "bill", LATE_PORT):
            reply = await asking

    assert reply.status == 200
    row = await asyncio.to_thread(server.call, tag)
    assert (row.nanos, row["outcome"]) == (ceiling(10), "answered")
    assert api(server, "GET", "/coming")["failed"] == 0
