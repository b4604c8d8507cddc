"""Edits of rules.yaml and prices_file while the real server runs: the next call is under the new rules, no call is lost."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from proxy import control
from proxy.control import ControlError
from tests.support.calls import chat_body, post
from tests.support.client import ask
from tests.support.gathering import dollars
from tests.support.process import NANOS_PER_USD, ScriptedProvider, Spendgate, config_for, wait_for
from tests.support.script import Script

RELOADS = 30  # the thousand is in tests/unit/proxy/test_reload_counters.py, without a process
PRICES = "version: 1\nprices: [{provider: openai, model: gpt-4o-mini, per_1m: {input: RATE, output: RATE}}]\n"


def budget(usd: str, **more: Any) -> dict[str, Any]:
    return {"id": "all", "scope": "global", "period": "total", "limit_usd": usd, **more}


OPEN: dict[str, Any] = {"version": 1, "budgets": [budget("1000", hold="strict")]}
CLOSED: dict[str, Any] = {"version": 1, "budgets": [budget("0", hold="strict")]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    folder = tmp_path_factory.mktemp("reload")
    (folder / "prices.yaml").write_text(PRICES.replace("RATE", "1"))
    config = config_for(provider.url, prices_file="prices.yaml")
    with Spendgate(folder, config, OPEN) as started:
        yield started


@pytest.fixture(scope="module")
def key(server: Spendgate) -> str:
    return server.key("free")


@pytest.fixture(autouse=True)
def _begin_open(server: Spendgate) -> None:
    write(server, OPEN)
    (server.folder / "prices.yaml").write_text(PRICES.replace("RATE", "1"))
    reload(server)


def write(server: Spendgate, rules: dict[str, Any]) -> None:
    """As a careful editor does: the new file takes the place of the old one."""
    draft = server.folder / "rules.draft"
    draft.write_text(json.dumps(rules))
    draft.replace(server.folder / "rules.yaml")


def reload(server: Spendgate) -> Any:
    live = control.find(server.folder / "data")
    assert live is not None, "not running"
    return control.ask(live, "POST", "/api/v1/control/reload")


def ready(server: Spendgate) -> dict[str, Any]:
    found: dict[str, Any] = asyncio.run(_page(server.url, "/ready"))
    return found


async def _page(url: str, path: str) -> Any:
    reply = await ask(url, "GET", path)
    assert reply.status == 200
    return reply.json()


def until(server: Spendgate, what: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Until the rules that /ready tells of are so."""
    return wait_for(what, lambda: found if holds(found := ready(server)["rules"]) else None)


def status(server: Spendgate, key: str, tag: str) -> int:
    return asyncio.run(post(server.url, key, Script(tag=tag), chat_body())).status


def metrics(server: Spendgate) -> str:
    return asyncio.run(ask(server.admin_url, "GET", "/metrics")).body.decode()


def test_an_edit_is_reloaded_and_the_next_call_is_under_it(server: Spendgate, key: str, tag: str) -> None:
    before = ready(server)["rules"]["version"]

    write(server, CLOSED)
    version = until(server, "the new rules", lambda rules: rules["version"] != before)["version"]

    assert status(server, key, f"{tag}-closed") == 402
    assert f'spendgate_policy_info{{version="{version}"}} 1.0' in metrics(server)
    assert server.call(f"{tag}-closed")["policy_version"] == version


def test_a_call_in_flight_keeps_its_policy_over_a_reload(server: Spendgate, key: str, tag: str) -> None:
    before = ready(server)["rules"]["version"]

    async def stay() -> int:
        slow = Script(tag=tag, delay_ms=400)
        call = asyncio.gather(post(server.url, key, slow, chat_body()))
        await asyncio.to_thread(write, server, CLOSED)
        await asyncio.to_thread(wait_for, "the call", lambda: server_has(tag))
        await asyncio.to_thread(reload, server)
        return (await call)[0].status

    def server_has(tag: str) -> bool | None:
        return "spendgate_calls_in_flight 1.0" in metrics(server) or None

    assert asyncio.run(stay()) == 200
    assert server.call(tag)["policy_version"] == before


def test_a_bad_edit_is_told_by_ready_and_changes_nothing(server: Spendgate, key: str, tag: str) -> None:
    version = ready(server)["rules"]["version"]

    (server.folder / "rules.yaml").write_text("version: 1\nbudgets:\n  - {period: dayly, limit_usd: 1}\n")
    told = until(server, "the bad edit", lambda rules: rules["problem"] is not None)

    assert (told["version"], told["problem"]["line"]) == (version, 3)
    assert "daily" in told["problem"]["message"]
    assert status(server, key, tag) == 200
    assert "spendgate_policy_bad_edit 1.0" in metrics(server)
    assert '"message":"rules_refused"' in server.log.read_text()
    assert asyncio.run(_page(server.admin_url, "/ready"))["rules"] == told
    with pytest.raises(ControlError, match=r"rules.yaml: 1 problem\n  line 3  budgets\[0\].period"):
        reload(server)


def test_a_deleted_file_keeps_the_policy_until_a_reload_finds_it_again(server: Spendgate) -> None:
    version = ready(server)["rules"]["version"]

    (server.folder / "rules.yaml").unlink()
    told = until(server, "the missing file", lambda rules: rules["problem"] is not None)
    assert told["version"] == version

    write(server, OPEN)
    until(server, "the file again", lambda rules: rules["problem"] is None)


def test_a_hangup_reloads_at_once(server: Spendgate, key: str, tag: str) -> None:
    before = ready(server)["rules"]["version"]
    write(server, CLOSED)

    os.kill(server.pid, signal.SIGHUP)
    until(server, "the new rules", lambda rules: rules["version"] != before)

    assert status(server, key, tag) == 402


def test_the_api_reloads_for_admins_alone(server: Spendgate, key: str, tag: str) -> None:
    write(server, CLOSED)
    told = reload(server)["rules"]

    assert (told["result"], told["problem"]) == ("applied", None)
    assert status(server, key, tag) == 402
    viewer = server.run("keys", "create", "--role", "viewer").strip().splitlines()[-1]
    headers = [("Authorization", f"Bearer {viewer}")]
    assert asyncio.run(ask(server.admin_url, "POST", "/api/v1/control/reload", headers)).status == 403


def test_a_renewed_config_map_is_reloaded(server: Spendgate, key: str, tag: str) -> None:
    """The file is a link below a link to a folder, and the folder's link is swapped."""
    for name, rules in (("one", OPEN), ("two", CLOSED)):
        folder = server.folder / f"{tag}-{name}"
        folder.mkdir()
        (folder / "rules.yaml").write_text(json.dumps(rules))
    data = server.folder / "..data"
    data.symlink_to(f"{tag}-one")
    (server.folder / "link").symlink_to("..data/rules.yaml")
    (server.folder / "link").replace(server.folder / "rules.yaml")
    reload(server)
    before = ready(server)["rules"]["version"]

    (server.folder / "next").symlink_to(f"{tag}-two")
    (server.folder / "next").replace(data)
    until(server, "the new map", lambda rules: rules["version"] != before)

    assert status(server, key, tag) == 402
    (server.folder / "rules.yaml").unlink()


def test_what_was_spent_counts_for_a_budget_that_a_reload_brings(server: Spendgate, tag: str) -> None:
    key = server.key(tag)
    assert status(server, key, f"{tag}-first") == 200
    spent = server.call(f"{tag}-first").nanos

    budgets = [{"period": "total", "limit_usd": dollars(spent), "hold": "strict"}]
    write(server, {"version": 1, "teams": {tag: {"budgets": budgets}}})
    reload(server)

    refused = asyncio.run(post(server.url, key, Script(tag=f"{tag}-second"), chat_body()))
    assert refused.status == 402
    assert Decimal(refused.json()["error"]["spent_usd"]) * NANOS_PER_USD == spent > 0


def test_a_reload_that_drops_a_hard_budget_is_alerted(server: Spendgate) -> None:
    write(server, {"version": 1})
    reload(server)

    def alerted() -> bool | None:
        return "An edit of the rules drops or loosens hard budgets" in server.log.read_text() or None

    wait_for("the alert", alerted)


def test_prices_are_reloaded_and_a_bad_edit_of_them_is_not(server: Spendgate, key: str, tag: str) -> None:
    def charged(name: str) -> int:
        assert status(server, key, f"{tag}-{name}") == 200
        return server.call(f"{tag}-{name}").nanos

    prices = server.folder / "prices.yaml"
    before = charged("before")
    prices.write_text(PRICES.replace("RATE", "3"))
    assert reload(server)["prices"]["result"] == "applied"
    assert charged("after") == 3 * before

    prices.write_text(PRICES.replace("RATE", "-1"))
    with pytest.raises(
        ControlError, match=r"prices.yaml: 2 problems\n  line 2  prices\[0\].per_1m.input: -1"
    ):
        reload(server)
    assert charged("bad") == 3 * before
    assert ready(server)["prices_file"]["problem"]["line"] == 2


def test_many_reloads_under_load_lose_no_call(server: Spendgate, key: str, tag: str) -> None:
    """Every call is answered and stands once in the ledger, under one of the versions."""
    versions: set[str] = set()
    callers, done = 8, asyncio.Event()

    async def reloader() -> None:
        for n in range(RELOADS):
            write(server, {"version": 1, "budgets": [budget(str(1000 + n % 5), hold="strict")]})
            versions.add((await asyncio.to_thread(reload, server))["rules"]["version"])
        done.set()

    async def caller(n: int) -> list[int]:
        statuses: list[int] = []
        while not done.is_set():
            script = Script(tag=f"{tag}-{n}-{len(statuses)}")
            statuses.append((await post(server.url, key, script, chat_body())).status)
        return statuses

    async def all_of_it() -> list[list[int]]:
        calling = asyncio.gather(*(caller(n) for n in range(callers)))
        await reloader()
        return await calling

    before = ready(server)["rules"]["version"]
    statuses = asyncio.run(all_of_it())

    answered = [status for each in statuses for status in each]
    assert set(answered) == {200}
    calls = server.calls(tag)
    assert sorted(call.tag for call in calls) == sorted(
        f"{tag}-{n}-{turn}" for n, each in enumerate(statuses) for turn in range(len(each))
    )
    assert {call["policy_version"] for call in calls} <= {before, *versions}
    assert len(versions) == 5
