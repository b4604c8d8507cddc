"""kill -9: what was dispatched is in the ledger after the restart, once, and never free."""

from pathlib import Path

import pytest

from tests.support.calls import CHAT, chat_body, headers_for, post
from tests.support.client import Connection
from tests.support.gathering import ceiling, dollars
from tests.support.killing import Load, examine, kill_under_load
from tests.support.process import ScriptedProvider, Spendgate, config_for, wait_for
from tests.support.script import Script

pytestmark = pytest.mark.crash


async def test_no_call_on_the_bill_is_lost_or_doubled_by_kill_9(
    tmp_path: Path, provider: ScriptedProvider, tag: str
) -> None:
    with Spendgate(tmp_path / "spendgate", config_for(provider.url)) as spendgate:
        load = Load(spendgate, spendgate.key("load"), tag, seed=7)

        await kill_under_load(spendgate, load, kills=3)

        wait_for("all work to end", lambda: all(entry.final for entry in provider.bill(tag)) or None)
        found = examine(spendgate.calls(tag), provider.bill(tag))
        assert found.problems == []
        assert found.bases["reported"] > 0
        assert found.bases["estimated"] > 0


async def test_a_call_in_flight_at_the_kill_is_charged_as_estimated_and_still_fills_its_budget(
    tmp_path: Path, provider: ScriptedProvider, tag: str
) -> None:
    """The strict budget had room for one call: after the restart it knows that it was spent."""
    with Spendgate(tmp_path / "spendgate", config_for(provider.url)) as spendgate:
        limit = dollars(ceiling(10))
        key = spendgate.key("budgeted", "--budget-usd", limit, "--period", "total", "--hold", "strict")
        async with Connection(spendgate.url) as connection:
            hanging = Script(tag=tag, fault="hang")
            await connection.send("POST", CHAT, headers_for(key, hanging), chat_body(10, max_tokens=10))
            provider.wait_for_arrival(tag)
            spendgate.kill()

        spendgate.start()

        row = spendgate.call(tag)
        assert (row.basis, row["outcome"]) == ("estimated", "lost")
        assert row.nanos > 0
        again = await post(spendgate.url, key, Script(tag=f"{tag}-again"), chat_body(10, max_tokens=10))
        assert again.status == 402


async def test_an_orderly_stop_loses_nothing_and_exits_0(
    tmp_path: Path, provider: ScriptedProvider, tag: str
) -> None:
    with Spendgate(tmp_path / "spendgate", config_for(provider.url)) as spendgate:
        key = spendgate.key("team")
        await post(spendgate.url, key, Script(tag=tag), chat_body(10, max_tokens=5))

        assert spendgate.stop() == 0

        assert spendgate.call(tag).nanos == provider.billed(tag).nanos
        spendgate.start()
        assert [row.tag for row in spendgate.calls()] == [tag]
