"""Rules at work on real calls: what trips, what is slowed, cut or replaced, and what the caller is told."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.support.calls import CHAT, chat_body, headers_for, post
from tests.support.client import Connection, Reply
from tests.support.gathering import dollars
from tests.support.process import ScriptedProvider, Spendgate, config_for, wait_for
from tests.support.script import Script

INPUT_NANOS, OUTPUT_NANOS = 150, 600  # a token of gpt-4o-mini
CALL = 10 * INPUT_NANOS + 10 * OUTPUT_NANOS  # of chat_body(), answered at full length


def rule(rule_id: str, team: str, kind: str, value: object, **more: object) -> dict[str, object]:
    return {
        "rule_id": rule_id,
        "threshold_type": kind,
        "threshold_value": value,
        "applies_to_teams": [team],
        **more,
    }


RULES = {
    "version": 1,
    "teams": {
        "rated": {"rate": {"requests_per_minute": 60, "burst": 2}},
        "wordy": {"rate": {"tokens_per_minute": 50}},
        "busy": {"rate": {"max_concurrent": 1}},
        "brief": {"max_output_tokens": 20},
    },
    "models": {"gpt-4o": {"max_output_tokens": 16}},
    "downgrades": {"gpt-4o": "gpt-4o-mini"},
    "rules": [
        rule("dear-slow", "slow", "operation_cost", "0.000001", action="throttle", cooldown_minutes=1),
        rule("dear-cut", "cut", "operation_cost", dollars(CALL + 10 * OUTPUT_NANOS), action="cap"),
        rule("dear-cheap", "cheap", "operation_cost", "0.00001", action="downgrade"),
        rule("day", "daily", "absolute_daily", dollars(2 * CALL), cooldown_minutes="0.03", trial_calls=1),
        rule("hour", "hourly", "rate_based", dollars(2 * CALL), cooldown_minutes=60),
        rule("loop", "loops", "repeat_calls", 3, mode="enforce", time_window_minutes=10),
        rule("loop-seen", "seen", "repeat_calls", 2),
        rule("rush", "rush", "requests_per_minute", 2, action="alert_only"),
        rule("rush-slow", "rushed", "requests_per_minute", 1, action="throttle"),
    ],
}


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    config = config_for(provider.url, hold_wait_seconds=0.5, max_delay_seconds=0.5)
    with Spendgate(tmp_path_factory.mktemp("ruled"), config, RULES) as started:
        yield started


def refusal(reply: Reply) -> dict[str, str]:
    told: dict[str, str] = json.loads(reply.body)["error"]
    return told


async def test_a_rate_lets_its_burst_through_and_then_tells_when_to_come_back(
    ruled: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = ruled.key("rated")

    replies = [await post(ruled.url, key, Script(tag=f"{tag}-{n}"), chat_body()) for n in range(3)]

    assert [reply.status for reply in replies] == [200, 200, 429]
    assert replies[0].header("x-spendgate-ratelimit-limit-requests") == "2"
    assert replies[2].header("Retry-After") == "1"
    assert replies[2].header("x-ratelimit-limit-requests") == "2"
    told = refusal(replies[2])
    assert (told["code"], told["rule_id"]) == ("rate_limited", "team:rated:rate")
    assert "may send 60 requests a minute, at most 2 at once" in told["message"]
    assert provider.bill(f"{tag}-2") == []
    assert ruled.call(f"{tag}-2")["verdict"] == "block"


async def test_a_rate_of_tokens_counts_what_was_really_used(ruled: Spendgate, tag: str) -> None:
    """20 are expected a call, 12 used: three calls fit where the third would not by the estimates."""
    key = ruled.key("wordy")

    statuses = [
        (await post(ruled.url, key, Script(tag=f"{tag}-{n}", output_tokens=2), chat_body())).status
        for n in range(4)
    ]

    assert statuses == [200, 200, 200, 429]


async def test_no_more_calls_are_in_flight_than_a_team_may_have(ruled: Spendgate, tag: str) -> None:
    key = ruled.key("busy")
    slow = Script(tag=f"{tag}-slow", delay_ms=1_500)
    async with Connection(ruled.url) as connection:
        await connection.send("POST", CHAT, headers_for(key, slow), chat_body())
        await asyncio.to_thread(_wait_until_in_flight, ruled, 1)

        second = await post(ruled.url, key, Script(tag=f"{tag}-2"), chat_body())

        await connection.read_head()
    assert (second.status, refusal(second)["code"]) == (429, "concurrency_limited")
    third = await post(ruled.url, key, Script(tag=f"{tag}-3"), chat_body())
    assert third.status == 200


def _wait_until_in_flight(server: Spendgate, count: int) -> None:
    import urllib.request

    def look() -> bool | None:
        with urllib.request.urlopen(f"{server.admin_url}/metrics") as page:
            return True if f"spendgate_calls_in_flight {count}.0" in page.read().decode() else None

    wait_for("the call to be in flight", look)


async def test_a_limit_on_the_output_of_a_team_shortens_the_answer(
    ruled: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    reply = await post(ruled.url, ruled.key("brief"), Script(tag=tag), chat_body(max_tokens=500))

    assert reply.status == 200
    assert provider.billed(tag).output_tokens == 20
    row = ruled.call(tag)
    assert (row["verdict"], row["flags"]) == ("cap", ["capped"])


async def test_a_limit_on_the_output_of_a_model_holds_for_every_team(
    ruled: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    body = chat_body(model="gpt-4o", max_tokens=500)

    await post(ruled.url, ruled.key("anyone"), Script(tag=tag), body)

    assert provider.billed(tag).output_tokens == 16


async def test_a_call_shorter_than_the_limit_is_not_touched(ruled: Spendgate, tag: str) -> None:
    await post(ruled.url, ruled.key("brief"), Script(tag=tag), chat_body(max_tokens=5))

    assert ruled.call(tag)["flags"] == []


async def test_a_dear_call_is_cut_below_the_threshold(
    ruled: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    reply = await post(ruled.url, ruled.key("cut"), Script(tag=tag), chat_body(max_tokens=500))

    assert reply.status == 200
    assert provider.billed(tag).output_tokens == 19, "20 would reach the threshold"
    assert ruled.call(tag)["rule_ids"] == ["dear-cut"]


async def test_a_call_that_no_cut_makes_cheap_enough_is_refused(
    ruled: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    reply = await post(ruled.url, ruled.key("cut"), Script(tag=tag), chat_body(500, max_tokens=500))

    assert (reply.status, refusal(reply)["rule_id"]) == (402, "dear-cut")
    assert provider.bill(tag) == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_dear_call_is_asked_of_a_cheaper_model(
    ruled: Spendgate, provider: ScriptedProvider, tag: str, stream: bool
) -> None:
    body = chat_body(model="gpt-4o", stream=stream)

    reply = await post(ruled.url, ruled.key("cheap"), Script(tag=tag), body)

    assert reply.status == 200
    assert reply.header("x-spendgate-verdict") == "downgrade"
    assert reply.header("x-spendgate-model") == "gpt-4o-mini"
    row, billed = ruled.call(tag), provider.billed(tag)
    assert row.nanos == billed.nanos == CALL
    assert (row["model"], row["verdict"], row["flags"]) == ("gpt-4o-mini", "downgrade", ["downgraded"])
    assert row["reason"] == 'downgraded: model "gpt-4o" was asked for'
    assert row["rule_ids"] == ["dear-cheap"]


async def test_a_cheap_call_keeps_its_model(ruled: Spendgate, tag: str) -> None:
    await post(ruled.url, ruled.key("cheap"), Script(tag=tag), chat_body())

    assert (ruled.call(tag)["model"], ruled.call(tag)["verdict"]) == ("gpt-4o-mini", "allow")


async def test_a_throttled_team_waits_for_its_turn_and_is_told_when_that_takes_too_long(
    ruled: Spendgate, tag: str
) -> None:
    key = ruled.key("slow")

    replies = await asyncio.gather(
        *(post(ruled.url, key, Script(tag=f"{tag}-{n}"), chat_body()) for n in range(6))
    )

    answered = [reply for reply in replies if reply.status == 200]
    late = [reply for reply in replies if reply.status == 429]
    assert len(answered) + len(late) == 6
    assert answered
    assert late
    told = refusal(late[0])
    assert (told["code"], told["rule_id"]) == ("throttled", "dear-slow")
    wait = late[0].header("Retry-After")
    assert int(wait or 0) >= 1
    assert late[0].header("x-ratelimit-remaining-requests") == "0"
    assert late[0].header("x-ratelimit-reset-requests") == f"{wait}s"
    rows = [ruled.call(f"{tag}-{n}") for n in range(6)]
    assert {row["verdict"] for row in rows} == {"throttle", "block"}


async def test_a_rate_may_throttle_instead_of_blocking(ruled: Spendgate, tag: str) -> None:
    key = ruled.key("rushed")

    replies = [await post(ruled.url, key, Script(tag=f"{tag}-{n}"), chat_body()) for n in range(3)]

    assert replies[0].status == 200
    assert ruled.call(f"{tag}-0")["verdict"] == "allow"
    assert ruled.call(f"{tag}-1")["rule_ids"] == ["rush-slow"]


async def test_a_rate_may_only_alert(ruled: Spendgate, tag: str) -> None:
    key = ruled.key("rush")

    for n in range(3):
        assert (await post(ruled.url, key, Script(tag=f"{tag}-{n}"), chat_body())).status == 200

    assert ruled.call(f"{tag}-1")["rule_ids"] == []
    assert ruled.call(f"{tag}-2")["rule_ids"] == ["rush"]


async def test_a_breaker_stays_open_for_its_cooldown_and_then_lets_a_trial_through(
    ruled: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    """Two calls fit the day's dollars; a third trips the rule, and for two seconds nothing goes, however cheap."""
    key = ruled.key("daily")
    await post(ruled.url, key, Script(tag=f"{tag}-1", output_tokens=5), chat_body())
    tiny = chat_body(8, max_tokens=1)

    over = await post(ruled.url, key, Script(tag=f"{tag}-2"), chat_body(max_tokens=100))
    cheap = await post(ruled.url, key, Script(tag=f"{tag}-3"), tiny)

    assert (over.status, refusal(over)["code"]) == (402, "budget_exceeded")
    assert (cheap.status, refusal(cheap)["code"]) == (402, "circuit_breaker_open")
    assert refusal(cheap)["rule_id"] == "day"
    assert "Try again in" in refusal(cheap)["message"]
    assert provider.bill(f"{tag}-3") == []
    await asyncio.to_thread(wait_for, "the cooldown to be over", lambda: _passes(ruled, key, tag, tiny))
    assert ("day", "closed") in states(ruled)


def _passes(server: Spendgate, key: str, tag: str, body: bytes) -> bool | None:
    reply = asyncio.run(post(server.url, key, Script(tag=f"{tag}-trial"), body))
    return True if reply.status == 200 else None


def states(server: Spendgate) -> set[tuple[str, str]]:
    """Of every rule with a breaker, with the state it is in."""
    lines = server.run("breakers", "list").splitlines()[1:]
    return {(words[0], word) for line in lines if (words := line.split()) for word in words[1:]}


async def test_dollars_an_hour_open_a_breaker(ruled: Spendgate, tag: str) -> None:
    key = ruled.key("hourly")

    statuses = [(await post(ruled.url, key, Script(tag=f"{tag}-{n}"), chat_body())).status for n in range(4)]

    assert statuses == [200, 200, 402, 402]
    assert ruled.call(f"{tag}-2")["error_type"] == "circuit_breaker_open"
    assert ("hour", "open") in states(ruled)


async def test_a_call_that_repeats_itself_is_stopped_and_another_is_not(ruled: Spendgate, tag: str) -> None:
    key, again = ruled.key("loops"), chat_body(12)

    statuses = [(await post(ruled.url, key, Script(tag=f"{tag}-{n}"), again)).status for n in range(3)]

    assert statuses == [200, 200, 402]
    told = ruled.call(f"{tag}-2")
    assert told["error_type"] == "circuit_breaker_open"
    assert "repetitions of one call" in told["reason"]


async def test_a_rule_in_shadow_only_tells(ruled: Spendgate, tag: str) -> None:
    key = ruled.key("seen")

    statuses = [(await post(ruled.url, key, Script(tag=f"{tag}-{n}"), chat_body())).status for n in range(3)]

    assert statuses == [200, 200, 200]
    rows = [ruled.call(f"{tag}-{n}") for n in range(3)]
    assert [row["shadow_ids"] for row in rows] == [[], ["loop-seen"], ["loop-seen"]]
    assert {row["verdict"] for row in rows} == {"allow"}
