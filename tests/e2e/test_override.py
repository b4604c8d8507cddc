"""Emergency budget overrides on the real server: calls go again at once, for a time, and everybody hears of it."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text

from proxy import cli, control
from proxy.control import Control, ControlError
from tests.support.calls import chat_body, post
from tests.support.client import Reply, ask
from tests.support.gathering import ceiling, dollars
from tests.support.process import ScriptedProvider, Spendgate, config_for, wait_for
from tests.support.script import Script

ONE_CALL = dollars(ceiling(10))
STRICT = {"period": "total", "limit_usd": ONE_CALL, "hold": "strict"}


def rules(**more: Any) -> dict[str, Any]:
    teams = {team: {"budgets": [STRICT]} for team in ("lifted", "expired", "restarted")}
    teams["waited"] = {"budgets": [{**STRICT, "limit_usd": dollars(ceiling(10) * 3 // 2)}]}
    default = {"budgets": [{"period": "daily", "limit_usd": ONE_CALL, "hold": "strict"}]}
    return {"version": 1, "teams": teams, "default_team": default, **more}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    with Spendgate(tmp_path_factory.mktemp("override"), config_for(provider.url), rules()) as started:
        yield started


def live(server: Spendgate) -> Control:
    found = control.find(server.folder / "data")
    assert found is not None, "not running"
    return found


def api(server: Spendgate, method: str, path: str, body: object = None) -> Any:
    return control.ask(live(server), method, f"/api/v1{path}", body)


def new_key(server: Spendgate, team: str) -> str:
    return str(api(server, "POST", "/keys", {"team": team})["key"])


def said(server: Spendgate, *words: str) -> Result:
    """One command in the test's own process, however it ends: a second sooner."""
    return CliRunner().invoke(cli.spendgate, ["override", *words, "-c", str(server.folder / "config.yaml")])


def standing(server: Spendgate) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api(server, "GET", "/overrides")["overrides"]
    return found


def kept(server: Spendgate, statement: str) -> list[tuple[Any, ...]]:
    engine = create_engine(f"sqlite:///file:{server.folder / 'data' / 'ledger.db'}?mode=ro&uri=true")
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(statement))]
    engine.dispose()
    return found


def call(server: Spendgate, key: str, tag: str) -> Reply:
    """It costs as much as it can: the whole of the budget."""
    return asyncio.run(post(server.url, key, Script(tag=tag, output_tokens=10), chat_body(max_tokens=10)))


def used_up(server: Spendgate, key: str, tag: str) -> None:
    assert call(server, key, f"{tag}-first").status == 200
    assert call(server, key, f"{tag}-over").status == 402


def metric(server: Spendgate) -> str:
    page = asyncio.run(ask(server.admin_url, "GET", "/metrics")).body.decode()
    (line,) = [line for line in page.splitlines() if line.startswith("spendgate_overrides_active ")]
    return line.split()[1]


def test_an_override_lets_calls_go_is_told_everywhere_and_ends_when_it_is_lifted(
    server: Spendgate, tag: str
) -> None:
    key = new_key(server, "lifted")
    used_up(server, key, tag)

    words = ("--factor", "2", "--for", "2h", "--authorized-by", "the CTO", "--reason", "a launch")
    made = said(server, "--budget", "team:lifted:total", *words)
    assert (made.exit_code, made.stdout) == (0, "")
    assert made.stderr.startswith("override ")
    assert made.stderr.endswith("; it counts from this moment on\n")
    (override,) = standing(server)
    assert (override["budget"], override["scope"]) == ("team:lifted:total", "team:lifted")
    assert (override["authorized_by"], override["author"]) == ("the CTO", "operator")
    assert metric(server) == "1.0"
    listed = said(server, "list")
    assert "team:lifted:total" in listed.stdout
    assert json.loads(said(server, "list", "--format", "json").stdout) == [override]

    assert call(server, key, f"{tag}-second").status == 200
    row = server.call(f"{tag}-second")
    (limit,) = [limit for limit in row["limits"] if limit["owner"] == "team:lifted:total"]
    assert limit["limit"] == 2 * ceiling(10)
    assert row["policy_version"].endswith(f"+override{override['id']}")
    refused = call(server, key, f"{tag}-third")
    assert refused.status == 402
    assert refused.json()["error"]["limit_usd"] == override["limit_usd"]

    lifted = said(server, "lift", str(override["id"]), "--reason", "the launch is over")
    assert lifted.exit_code == 0
    assert standing(server) == []
    assert metric(server) == "0.0"
    again = call(server, key, f"{tag}-fourth")
    assert again.status == 402
    assert again.json()["error"]["limit_usd"] == override["previous_limit_usd"]
    assert said(server, "lift", str(override["id"]), "--reason", "twice").exit_code == 1

    audited = kept(
        server, "SELECT event, actor, facts FROM audit WHERE facts LIKE '%team:lifted:total%' ORDER BY seq"
    )
    assert [entry[:2] for entry in audited] == [
        ("emergency_budget_override", "operator"),
        ("emergency_budget_override_lifted", "operator"),
    ]
    facts = json.loads(audited[0][2])
    assert facts["reason"] == "a launch"
    assert facts["authorized_by"] == "the CTO"
    assert facts["expires_at"] == override["expires_at"]
    assert (facts["previous_limit"], facts["new_limit"]) == (
        override["previous_limit_usd"],
        override["limit_usd"],
    )
    alerts = kept(
        server,
        "SELECT level, message FROM outbox WHERE kind = 'budget_override' AND scope_name = 'lifted' "
        "ORDER BY alert_id",
    )
    assert [level for level, _ in alerts] == ["critical", "info"]
    assert alerts[0][1].startswith("Emergency budget override activated")


def test_an_override_ends_by_itself(server: Spendgate, tag: str) -> None:
    key = new_key(server, "expired")
    used_up(server, key, tag)
    api(
        server,
        "POST",
        "/budgets/team:expired:total/override",
        {"factor": 100, "expires_in": "4s", "reason": "a minute's peace"},
    )
    assert call(server, key, f"{tag}-while").status == 200

    ended = "SELECT actor FROM audit WHERE event = 'emergency_budget_override_expired' AND facts LIKE '%expired:total%'"
    assert wait_for("its end", lambda: kept(server, ended) or None) == [("clock",)]

    assert standing(server) == []
    assert call(server, key, f"{tag}-after").status == 402
    over = "SELECT facts FROM outbox WHERE kind = 'budget_threshold' AND scope_name = 'expired' AND level = 'exceeded'"
    assert len(wait_for("the alert", lambda: kept(server, over) or None)) == 1, "of the budget's own limit"


def test_an_override_of_a_team_raises_its_share_of_a_budget_over_each_and_nobody_elses(
    server: Spendgate, tag: str
) -> None:
    mine, other = new_key(server, f"{tag}-mine"), new_key(server, f"{tag}-other")
    used_up(server, mine, f"{tag}-a")
    used_up(server, other, f"{tag}-b")

    made = api(
        server, "POST", f"/budgets/team:{tag}-mine/override", {"daily_factor": 2, "reason": "a launch"}
    )

    (override,) = made["overrides"]
    assert (override["budget"], override["period"]) == ("default_team:daily", "daily")
    assert call(server, mine, f"{tag}-more").status == 200
    assert call(server, other, f"{tag}-none").status == 402
    api(server, "DELETE", f"/overrides/{override['id']}", {"reason": "done"})
    assert call(server, mine, f"{tag}-after").status == 402


def test_a_budget_that_a_key_was_issued_with_is_overridden_over_a_restart(
    server: Spendgate, tag: str
) -> None:
    made = api(server, "POST", "/keys", {"team": "restarted", "budgets": [STRICT]})
    key, key_id = made["key"], made["id"]
    used_up(server, key, tag)
    server.stop()
    for budget in (f"key:{key_id}:issued:total", "team:restarted:total"):
        done = said(server, "--budget", budget, "--limit-usd", "1", "--reason", "a launch")
        assert done.stderr.endswith("; no server lives: it counts from the next start on\n")
    assert len(json.loads(said(server, "list", "--format", "json").stdout)) == 2
    server.start()

    assert call(server, key, f"{tag}-second").status == 200
    server.kill()
    server.start()
    assert call(server, key, f"{tag}-third").status == 200
    for override in standing(server):
        api(server, "DELETE", f"/overrides/{override['id']}", {"reason": "done"})
    assert call(server, key, f"{tag}-fourth").status == 402


async def test_a_call_that_waits_in_line_goes_by_the_raised_limit(
    server: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    """The first call is still at the provider when the second one is let go."""
    key = await asyncio.to_thread(new_key, server, "waited")
    body = chat_body(max_tokens=10)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(post(server.url, key, Script(tag=f"{tag}-1", delay_ms=3000), body))
        await asyncio.to_thread(provider.wait_for_arrival, f"{tag}-1")
        second = group.create_task(post(server.url, key, Script(tag=f"{tag}-2"), body))
        await asyncio.to_thread(wait_for, "the second to be in", lambda: _two_in_flight(server))
        wanted = {"limit_usd": "1", "reason": "now"}
        await asyncio.to_thread(api, server, "POST", "/budgets/team:waited:total/override", wanted)
        await second
        assert not first.done()

    assert (first.result().status, second.result().status) == (200, 200)
    for override in standing(server):
        api(server, "DELETE", f"/overrides/{override['id']}", {"reason": "done"})


def _two_in_flight(server: Spendgate) -> bool | None:
    page = asyncio.run(ask(server.admin_url, "GET", "/metrics")).body.decode()
    return True if "spendgate_calls_in_flight 2.0" in page else None


@pytest.mark.parametrize(
    ("asked", "body", "status", "words"),
    [
        ("team:lifted:totl", {"factor": 2}, 404, 'did you mean "team:lifted:total"?'),
        ("team:lifted:total", {"limit_usd": "0.000001"}, 409, "an override only raises"),
        ("team:lifted:total", {"factor": 1}, 400, "factor: Input should be greater than 1"),
        ("team:lifted:total", {}, 400, "is total: say factor or limit_usd"),
        ("team:lifted:total", {"factor": 2, "limit_usd": 5}, 400, "say factor or limit_usd, not both"),
        ("team:lifted:total", {"factor": 2, "minutes": 10081}, 400, "minutes: Input should be less"),
        ("team:lifted:total", {"factor": 2, "expires_in": "8d"}, 400, "a week at most"),
        ("team:lifted:total", {"factor": 2, "scope": "team:other"}, 400, "is over team:lifted"),
        ("default_team:daily", {"factor": 2, "scope": "team:lifted"}, 400, "not over team:lifted"),
        ("team:lifted", {"factor": 2}, 400, "is a scope: say daily_factor"),
        ("team:lifted", {}, 409, "no daily or monthly budget"),
        ("team:lifted:total", {"factor": 2, "reason": " "}, 400, "reason: say why"),
    ],
)
def test_what_is_no_raise_is_refused_and_changes_nothing(
    server: Spendgate, asked: str, body: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(ControlError) as refused:
        api(server, "POST", f"/budgets/{asked}/override", {"reason": "x", **body})

    assert refused.value.status == status
    assert words in str(refused.value)
    assert standing(server) == []


def test_whoever_may_only_read_sees_overrides_and_makes_none(server: Spendgate) -> None:
    viewer = api(server, "POST", "/keys", {"kind": "admin", "role": "viewer"})["key"]
    headers = [("Authorization", f"Bearer {viewer}"), ("Content-Type", "application/json")]

    async def status(method: str, path: str) -> int:
        body = None if method == "GET" else b'{"reason": "x", "factor": 2}'
        return (await ask(server.admin_url, method, f"/api/v1{path}", headers, body)).status

    assert asyncio.run(status("GET", "/overrides")) == 200
    assert asyncio.run(status("POST", "/budgets/team:lifted:total/override")) == 403
    assert asyncio.run(status("DELETE", "/overrides/1")) == 403


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--factor", "2", "--reason", "x"), "say --budget or --scope"),
        (("--budget", "a", "--factor", "2"), "reason: Field required"),
        (("--budget", "a", "--for", "soon", "--reason", "x"), "is no duration"),
        (("--budget", "a", "list"), "list takes its own options"),
        (("lift", "1"), "Missing option '--reason'"),
    ],
)
def test_an_override_command_that_says_too_little_does_nothing(
    server: Spendgate, words: tuple[str, ...], told: str
) -> None:
    done = said(server, *words)

    assert done.exit_code == 2
    assert told in done.stderr
