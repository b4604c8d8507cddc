"""What a scope spent hour by hour, as spend velocity asks for it: the same on each storage."""

from datetime import timedelta

from proxy.ledger import Ledger, history
from rules.scope import EVERYONE
from rules.window import QUARTER_SECONDS
from tests.support.records import NOON, SEARCH, minutes, settled

QUARTER = int(NOON.timestamp()) // QUARTER_SECONDS
HOUR = QUARTER // 4


async def test_velocity_has_spending_by_hour_and_by_quarter_hour(ledger: Ledger) -> None:
    await ledger.ship(
        [
            settled("c1", 1, at=NOON - minutes(1)),
            settled("c2", 10, at=NOON),
            settled("c3", 100, at=NOON + minutes(59)),
            settled("c4", 1_000, at=NOON + minutes(60)),
            settled("c5", 10_000, at=NOON, team="other"),
            settled("c6", None, at=NOON - timedelta(days=1)),
        ]
    )

    async with ledger.connect() as connection:
        by_hour = await history.spent_by(connection, SEARCH, QUARTER - 100, QUARTER + 100, quarters=4)
        by_quarter = await history.spent_by(connection, SEARCH, QUARTER, QUARTER + 4, quarters=1)
        everyones = await history.spent_by(connection, EVERYONE, QUARTER, QUARTER + 4, quarters=4)

    assert by_hour == {HOUR - 1: 1, HOUR: 110, HOUR + 1: 1_000}
    assert by_quarter == {QUARTER: 10, QUARTER + 3: 100}
    assert everyones == {HOUR: 10_110}
