"""Alerts reach their channels: at least once, and not again once they have been taken."""

import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from proxy import clock, deliver, log
from proxy.channels import AnyChannel, Retry
from proxy.channels.log import Channel as LogChannel
from proxy.config import Alerts
from proxy.ledger import Ledger, sqlite_url
from proxy.ledger.schema import outbox
from proxy.ledger.write import raise_alerts
from rules.alert import Alert, Level
from rules.scope import Scope, ScopeKind

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
ALERT = Alert(
    "budget:team:search:1:75",
    "budget_threshold",
    Level.WARNING,
    NOON,
    Scope(ScopeKind.TEAM, "search"),
    "Daily budget warning: 75% of budget used",
    {"alert_level": "warning", "current_cost": "0.75", "budget_limit": "1", "message": "not the log's own"},
)


@dataclass
class Recording:
    """A channel that fails as it is told to, and keeps what it takes."""

    name: str = "recording"
    failures: list[Exception] = field(default_factory=list)
    taken: list[Alert] = field(default_factory=list)

    async def send(self, alert: Alert) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append(alert)


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    opened = await Ledger.open(sqlite_url(None))
    yield opened
    await opened.close()


async def raised(ledger: Ledger, *alerts: Alert) -> None:
    async with ledger.connect() as connection:
        await raise_alerts(connection, alerts)


async def sweep(ledger: Ledger, *channels: AnyChannel) -> int:
    return await deliver.sweep(ledger, lambda _: channels)


async def test_an_alert_is_sent_once_to_every_channel(ledger: Ledger) -> None:
    first, second = Recording(), Recording()
    await raised(ledger, ALERT, ALERT)

    assert await sweep(ledger, first, second) == 1
    assert await sweep(ledger, first, second) == 0

    assert first.taken == second.taken == [ALERT]


async def test_a_moment_of_failure_is_tried_again_on_the_spot(ledger: Ledger) -> None:
    channel = Recording(failures=[Retry("busy", after_seconds=0.01), Retry("busy", after_seconds=0.01)])
    await raised(ledger, ALERT)

    await sweep(ledger, channel)

    assert channel.taken == [ALERT]


async def test_what_fails_waits_in_the_outbox_with_its_reason_and_is_sent_later(ledger: Ledger) -> None:
    """A channel's bug is a failure like any other, and keeps no other alert."""
    channel = Recording(failures=[KeyError("bug")])
    other = replace(ALERT, key="another")
    await raised(ledger, ALERT, other)

    await sweep(ledger, channel)

    assert channel.taken == [other]
    async with ledger.connect() as connection:
        (row,) = (await connection.execute(select(outbox).where(outbox.c.state == "pending"))).all()
        assert (row.attempts, row.last_error) == (1, "recording: KeyError: 'bug'")
        assert row.next_at > clock.now().timestamp() * 1e6
        await connection.execute(update(outbox).values(next_at=0))
    assert await sweep(ledger, channel) == 1
    assert channel.taken == [other, ALERT]


async def test_an_alert_is_done_only_when_every_channel_has_taken_it(ledger: Ledger) -> None:
    good, bad = Recording(), Recording(failures=[OSError("away")])
    await raised(ledger, ALERT)

    await sweep(ledger, good, bad)

    async with ledger.connect() as connection:
        assert (await connection.execute(select(outbox.c.state))).scalar() == "pending"


def test_pauses_between_attempts_grow_to_an_hour() -> None:
    pauses = [deliver.pause(attempts) for attempts in range(30)]

    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (timedelta(seconds=15), timedelta(hours=1))


def test_alerts_go_where_their_level_is_routed() -> None:
    written = {
        "channels": {"quiet": {"type": "log"}, "loud": {"type": "log"}},
        "routes": [
            {"severity": ["warning"], "channels": ["quiet"]},
            {"severity": ["warning", "exceeded"], "channels": ["loud"]},
        ],
    }
    channels_for = deliver.routed(Alerts.model_validate(written))

    assert [channel.name for channel in channels_for(Level.WARNING)] == ["quiet", "loud"]
    assert [channel.name for channel in channels_for(Level.EXCEEDED)] == ["loud"]
    assert channels_for(Level.CRITICAL) == []
    assert deliver.routed(Alerts(enabled=False))(Level.EXCEEDED) == []


# -- the log --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "written"),
    [
        (Level.INFO, "warning"),
        (Level.WARNING, "warning"),
        (Level.CRITICAL, "error"),
        (Level.EXCEEDED, "error"),
    ],
)
async def test_the_log_tells_an_alert_in_one_line_with_its_facts(level: Level, written: str) -> None:
    out = io.TextIOWrapper(io.BytesIO())
    log.configure(level="INFO", format="json", stream=out)
    try:
        await LogChannel("log").send(replace(ALERT, level=level))
    finally:
        log.configure(level="INFO", format="json")

    out.seek(0)
    (line,) = out.read().splitlines()
    told = json.loads(line)
    assert (told["level"], told["message"], told["kind"]) == (written, "alert_raised", "budget_threshold")
    assert (told["alert_level"], told["scope"], told["detail"]) == (level.value, "team:search", ALERT.message)
    assert (told["current_cost"], told["budget_limit"]) == ("0.75", "1")
