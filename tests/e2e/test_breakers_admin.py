"""Breakers and the emergency shutdown by hand: over the command line and the admin API, at once and over restarts."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text

from proxy import cli, control
from proxy.control import Control, ControlError
from tests.support.calls import chat_body, headers_for, post
from tests.support.client import Reply, ask
from tests.support.gathering import ceiling, dollars
from tests.support.process import ScriptedProvider, Spendgate, config_for, wait_for
from tests.support.script import Script

PATH = "/api/v1/circuit-breakers"
RULES = {
    "version": 1,
    "rules": [
        {"rule_id": "dear_day", "threshold_type": "absolute_daily", "threshold_value": 50},
        {
            "rule_id": "tell_me",
            "threshold_type": "absolute_daily",
            "threshold_value": 5,
            "action": "alert_only",
        },
        {"rule_id": "dear_call", "threshold_type": "operation_cost", "threshold_value": 5},
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """With rules that have breakers and rules that have none. A test leaves it as it found it."""
    config = config_for(provider.url)
    config["providers"]["anthropic"] = {
        "dialect": "anthropic",
        "base_url": provider.url,
        "api_key": "provider-secret-canary",
    }
    with Spendgate(tmp_path_factory.mktemp("breakers"), config, RULES) as started:
        yield started


@pytest.fixture(scope="module")
def key(server: Spendgate) -> str:
    return server.key("search")


def live(server: Spendgate) -> Control:
    found = control.find(server.folder / "data")
    assert found is not None, "not running"
    return found


def api(server: Spendgate, method: str, path: str = "", body: object = None) -> Any:
    return control.ask(live(server), method, PATH + path, body)


def said(server: Spendgate, *words: str) -> Result:
    """One command in the test's own process, however it ends: a second sooner."""
    file = str(server.folder / "config.yaml")
    return CliRunner().invoke(cli.spendgate, ["breakers", *words, "-c", file])


def row_of(server: Spendgate, rule_id: str) -> list[str]:
    """A rule's line in the table."""
    (line,) = [line for line in said(server, "list").stdout.splitlines() if line.startswith(rule_id)]
    return line.split()


def kept(server: Spendgate, statement: str) -> list[tuple[Any, ...]]:
    engine = create_engine(f"sqlite:///file:{server.folder / 'data' / 'ledger.db'}?mode=ro&uri=true")
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(statement))]
    engine.dispose()
    return found


def test_a_breaker_forced_open_is_listed_told_and_audited_until_it_is_reset(server: Spendgate) -> None:
    assert row_of(server, "dear_day") == ["dear_day", "closed"]

    words = ("--scope", "team:search", "--reason", "a runaway agent")
    told = said(server, "open", "dear_day", *words)
    assert (told.exit_code, told.stdout) == (0, "")
    assert told.stderr == "it is forced open; it counts from this moment on\n"

    row = row_of(server, "dear_day")
    assert row[:4] == ["dear_day", "team:search", "open", "yes"]
    assert row[-3:] == ["a", "runaway", "agent"]
    shown = api(server, "GET", "/dear_day")
    assert (shown["rule_id"], shown["action"], shown["state"]) == ("dear_day", "block", "open")
    (breaker,) = shown["breakers"]
    assert (breaker["scope"], breaker["state"], breaker["forced"]) == ("team:search", "open", True)
    assert breaker["retry_after_seconds"] is None

    api(server, "POST", "/dear_day/reset", {"reason": "mended", "scope": "team:search"})
    assert row_of(server, "dear_day") == ["dear_day", "closed"]
    alerts = "SELECT level, message FROM outbox WHERE scope_name = 'search' ORDER BY alert_id"
    assert wait_for("both alerts", lambda: _all(kept(server, alerts), 2)) == [
        ("critical", 'Breaker of rule "dear_day" for team "search" is forced open: a runaway agent'),
        ("info", 'Breaker of rule "dear_day" for team "search" is closed: mended'),
    ]
    mine = "facts LIKE '%runaway%' OR facts LIKE '%mended%'"
    audited = kept(server, f"SELECT event, actor FROM audit WHERE {mine} ORDER BY seq")
    assert audited == [("breaker_forced_open", "operator"), ("breaker_reset", "operator")]


def _all(rows: list[Any], count: int) -> list[Any] | None:
    return rows if len(rows) >= count else None


def test_only_breakers_that_a_rule_has_are_forced(server: Spendgate) -> None:
    shown = api(server, "GET")
    assert [each["rule_id"] for each in shown["circuit_breakers"]] == ["dear_day"]
    assert shown["emergency_shutdown"] is None

    for path, status, words in (
        ("/dear_dya/open", 404, 'no rule has the id "dear_dya"; did you mean "dear_day"?'),
        ("/tell_me/open", 409, 'rule "tell_me" has no breaker'),
        ("/dear_call/close", 409, 'rule "dear_call" has no breaker'),
    ):
        with pytest.raises(ControlError) as refused:
            api(server, "POST", path, {"reason": "x"})
        assert refused.value.status == status
        assert words in str(refused.value)
    for body, words in (
        ({}, "reason: Field required"),
        ({"reason": "  "}, "reason: say why"),
        ({"reason": "x", "scope": "search"}, 'scope: "search" is no scope: write one of global, team:NAME'),
        ({"reason": "x", "scope": "key:k1"}, 'scope: rule "dear_day" is measured per team:NAME'),
    ):
        with pytest.raises(ControlError) as refused:
            api(server, "POST", "/dear_day/open", body)
        assert refused.value.status == 400
        assert words in str(refused.value)


def test_whoever_may_only_read_may_look_at_breakers_and_no_more(server: Spendgate) -> None:
    viewer = server.run("keys", "create", "--role", "viewer").strip().splitlines()[-1]
    headers = [("Authorization", f"Bearer {viewer}"), ("Content-Type", "application/json")]

    async def status(method: str, path: str) -> int:
        body = None if method == "GET" else b'{"reason": "x"}'
        return (await ask(server.admin_url, method, PATH + path, headers, body)).status

    assert asyncio.run(status("GET", "")) == 200
    for path in ("/dear_day/open", "/dear_day/close", "/dear_day/reset", "/reset", "/emergency-shutdown"):
        assert asyncio.run(status("POST", path)) == 403
    assert asyncio.run(status("DELETE", "/emergency-shutdown")) == 403


async def test_an_emergency_shutdown_refuses_calls_and_survives_a_restart_until_it_is_lifted(
    server: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    """A breaker that is forced survives with it; both are set and lifted where no server lives, too."""
    api(server, "POST", "/dear_day/open", {"reason": "too dear"})
    done = await asyncio.to_thread(said, server, "emergency-shutdown", "--reason", "a key was stolen")
    assert done.stderr == "every call is refused; it counts from this moment on\n"

    refused = await post(server.url, key, Script(tag=f"{tag}-a"), chat_body())
    await _is_shut(server, refused)
    claude = await ask(server.url, "POST", "/anthropic/v1/messages", [("x-api-key", key)], b"{}")
    assert (claude.status, claude.json()["type"]) == (503, "error")
    assert claude.json()["error"]["code"] == "emergency_shutdown"
    models = await ask(server.url, "GET", "/v1/models", headers_for(key, Script(tag=f"{tag}-b")))
    assert models.status == 503

    await asyncio.to_thread(server.stop)
    listed = await asyncio.to_thread(said, server, "list")
    assert "EMERGENCY SHUTDOWN since" in listed.stderr
    assert "by operator: a key was stolen" in listed.stderr
    spared = ("close", "dear_day", "--scope", "team:search", "--reason", "not theirs")
    done = await asyncio.to_thread(said, server, *spared)
    assert done.stderr == "it is forced closed; no server lives: it counts from the next start on\n"
    await asyncio.to_thread(server.start)
    await _is_shut(server, await post(server.url, key, Script(tag=f"{tag}-c"), chat_body()))
    shown = [(each["scope"], each["state"]) for each in api(server, "GET", "/dear_day")["breakers"]]
    assert shown == [("*", "open"), ("team:search", "closed")]

    await asyncio.to_thread(server.stop)
    lifted = await asyncio.to_thread(said, server, "emergency-shutdown", "--lift", "--reason", "key revoked")
    assert lifted.stderr == (
        "the emergency shutdown is lifted; no server lives: it counts from the next start on\n"
    )
    again = await asyncio.to_thread(said, server, "emergency-shutdown", "--lift", "--reason", "again")
    assert (again.exit_code, again.stderr) == (1, "Error: there is no emergency shutdown to lift\n")
    await asyncio.to_thread(said, server, "reset", "--reason", "all clear")
    await asyncio.to_thread(server.start)
    assert (await post(server.url, key, Script(tag=f"{tag}-d"), chat_body())).status == 200
    assert api(server, "GET", "/dear_day")["breakers"] == []
    assert [entry.tag for entry in provider.bill(tag)] == [f"{tag}-d"]
    row = await asyncio.to_thread(server.call, f"{tag}-a")
    assert (row["status"], row["outcome"], row.nanos) == (503, "refused", 0)
    assert "a key was stolen" in row["reason"]


async def _is_shut(server: Spendgate, refused: Reply) -> None:
    assert refused.status == 503
    assert refused.header("Retry-After") == "30"
    error = refused.json()["error"]
    assert (error["code"], error["type"]) == ("emergency_shutdown", "api_error")
    assert "by an emergency shutdown: a key was stolen. Ask an admin" in error["message"]
    assert (await ask(server.url, "GET", "/health")).status == 200
    ready = await ask(server.url, "GET", "/ready")
    assert (ready.status, bool(ready.json()["emergency_shutdown"])) == (200, True)
    assert "stolen" not in ready.body.decode()


async def test_a_call_that_waits_for_its_budget_does_not_slip_past_an_emergency_shutdown(
    server: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    """It gives back what it holds, and a call on its way comes to its end."""
    room = dollars(ceiling(1000) * 3 // 2)
    key = await asyncio.to_thread(server.key, tag, "--budget-usd", room, "--hold", "strict")
    body = chat_body(max_tokens=1000)
    first = Script(tag=f"{tag}-1", delay_ms=1500, output_tokens=1)
    async with asyncio.TaskGroup() as group:
        going = group.create_task(post(server.url, key, first, body))
        await asyncio.to_thread(provider.wait_for_arrival, first.tag)
        waiting = group.create_task(post(server.url, key, Script(tag=f"{tag}-2"), body))
        await asyncio.to_thread(wait_for, "the second to be in", lambda: _two_in_flight(server))
        api(server, "POST", "/emergency-shutdown", {"reason": "now"})
    api(server, "DELETE", "/emergency-shutdown", {"reason": "over"})

    assert (going.result().status, waiting.result().status) == (200, 503)
    assert waiting.result().json()["error"]["code"] == "emergency_shutdown"
    assert [entry.tag for entry in provider.bill(tag)] == [first.tag]
    assert server.call(f"{tag}-2").nanos == 0
    again = await post(server.url, key, Script(tag=f"{tag}-3", output_tokens=1), body)
    assert again.status == 200, "nothing of the second is held"
    with pytest.raises(ControlError, match="no emergency shutdown"):
        api(server, "DELETE", "/emergency-shutdown", {"reason": "twice"})


def _two_in_flight(server: Spendgate) -> bool | None:
    page = asyncio.run(ask(server.admin_url, "GET", "/metrics")).body.decode()
    return True if "spendgate_calls_in_flight 2.0" in page else None


def test_a_forced_breaker_goes_with_its_rule_and_does_not_come_back(server: Spendgate) -> None:
    rules = server.folder / "rules.yaml"
    before = rules.read_text()
    api(server, "POST", "/dear_day/open", {"reason": "x"})

    rules.write_text(json.dumps({"version": 1}))
    control.ask(live(server), "POST", "/api/v1/control/reload")
    ended = "SELECT count(*) FROM overrides WHERE target = 'dear_day' AND ended_at IS NULL"
    wait_for("the override to end", lambda: kept(server, ended) == [(0,)] or None)
    rules.write_text(before)
    control.ask(live(server), "POST", "/api/v1/control/reload")

    assert api(server, "GET", "/dear_day")["state"] == "closed"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("open", "dear_day"), "Missing option '--reason'"),
        (("reset", "--scope", "team:a", "--reason", "x"), "--scope is of one rule: name the rule"),
        (("close", "dear_day", "--scope", "search", "--reason", "x"), "is no scope"),
    ],
)
def test_a_breaker_command_that_says_too_little_does_nothing(
    server: Spendgate, words: tuple[str, ...], told: str
) -> None:
    done = said(server, *words)

    assert done.exit_code == 2
    assert told in done.stderr
