"""The ledger against the provider's own bill: two parties, one sum."""

from tests.support.mixed import compare, send_mixed
from tests.support.process import ScriptedProvider, Spendgate, wait_for

CALLS = 400


async def test_reported_charges_equal_the_bill_to_the_nano_dollar(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    """Over unary, streamed, refused, broken and abandoned calls; what is not reported is marked as such."""
    sent = await send_mixed(spendgate.url, key, prefix=tag, count=CALLS, seed=20)

    wait_for("all work to end", lambda: all(entry.final for entry in provider.bill(tag)) or None)
    billed = {entry.tag for entry in provider.bill(tag)}
    wait_for("all calls to end", lambda: billed <= {row.tag for row in spendgate.calls(tag)} or None)
    books = compare(sent, spendgate.calls(tag), provider.bill(tag))
    assert books.problems == []
    assert books.reported_nanos == books.reported_bill_nanos > 0
    assert set(books.bases) == {"reported", "observed", "estimated"}
