"""Alerts on their way from the outbox to the channels: each at least once, over restarts."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib import import_module

from sqlalchemy.exc import SQLAlchemyError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from proxy import clock, log
from proxy.channels import AnyChannel, Retry
from proxy.config import Alerts
from proxy.ledger import Ledger, outbox
from proxy.ledger.outbox import Pending
from rules.alert import Level

LOOK_SECONDS = 1.0
BATCH_MAX = 100
TRIES = 3  # on the spot; what fails then waits in the outbox
AGAIN_SECONDS, AGAIN_SECONDS_MAX = 15.0, 3600.0  # doubled with every failure


ChannelsFor = Callable[[Level], Sequence[AnyChannel]]


def routed(alerts: Alerts) -> ChannelsFor:
    """The channels of the configuration, each made once, and which of them an alert's level goes to."""
    made: dict[str, AnyChannel] = {
        name: import_module(f"proxy.channels.{channel.type}").Channel(name)
        for name, channel in alerts.channels.items()
    }
    return lambda level: [made[name] for name in alerts.channels_for(level)]


async def deliver(ledger: Ledger, channels_for: ChannelsFor) -> None:
    """Never ends: looks into the outbox every second, and while the ledger fails, tries again."""
    while True:
        try:
            found = await sweep(ledger, channels_for)
        except (SQLAlchemyError, OSError) as error:
            log.get().error("outbox_unavailable", error_code="DATABASE_ERROR", detail=str(error)[:300])
            found = 0
        if found < BATCH_MAX:
            await asyncio.sleep(LOOK_SECONDS)


async def sweep(ledger: Ledger, channels_for: ChannelsFor) -> int:
    """Send what is due, and write down how that went. Gives the number of alerts that were due.

    An alert is done when every channel has taken it. A death between sending and writing that down sends it twice,
    never not at all.
    """
    async with ledger.connect() as connection:
        due = await outbox.due(connection, clock.now(), limit=BATCH_MAX)
    sent: list[int] = []
    failed: list[tuple[Pending, str]] = []
    for pending in due:
        channels = channels_for(pending.alert.level)
        errors = [error for channel in channels if (error := await _send(channel, pending))]
        if errors:
            failed.append((pending, "; ".join(errors)))
        else:
            sent.append(pending.alert_id)
    if due:
        async with ledger.connect() as connection:
            await outbox.sent(connection, sent)
            for pending, error in failed:
                next_at = clock.now() + pause(pending.attempts)
                await outbox.failed(connection, pending.alert_id, next_at=next_at, error=error)
    return len(due)


async def _send(channel: AnyChannel, pending: Pending) -> str:
    """Empty when the channel has taken the alert, else why it did not."""
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(Retry), stop=stop_after_attempt(TRIES), wait=_wait, reraise=True
    )
    try:
        async for attempt in retrying:
            with attempt:
                await channel.send(pending.alert)
    except Exception as error:  # noqa: BLE001 - one channel's bug must not keep the others' alerts
        told = f"{channel.name}: {type(error).__name__}: {error}"
        log.get().error("alert_not_sent", channel=channel.name, kind=pending.alert.kind, detail=told[:300])
        return told
    return ""


_backing_off = wait_exponential_jitter(multiplier=0.5, max=10)


def _wait(state: RetryCallState) -> float:
    """As long as the other side asked for, within reason."""
    error = None if state.outcome is None else state.outcome.exception()
    asked = error.after_seconds if isinstance(error, Retry) else None
    return _backing_off(state) if asked is None else min(asked, 10.0)


def pause(attempts: int) -> timedelta:
    return timedelta(seconds=min(AGAIN_SECONDS * 2 ** min(attempts, 20), AGAIN_SECONDS_MAX))
