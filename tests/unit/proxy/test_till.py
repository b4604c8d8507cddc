"""Where money moves: held once, settled once, written down whatever goes wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from pricing import catalog
from pricing.charge import Basis, Outcome
from pricing.estimate import Ask, Estimate, estimate
from pricing.money import nanos
from pricing.tokens import Counter, Prompt, TokenCount
from proxy import dialects
from proxy.auth import Key, Kind
from proxy.dialects import Metered, Reading, Surface
from proxy.holds.local import LocalHolds
from proxy.journal import Journal, JournalUnwritable
from proxy.learned import Learned
from proxy.ledger.ship import Shipper
from proxy.opencall import Ending, OpenCall
from proxy.records import Ended
from proxy.routing import Route
from proxy.till import Till
from rules.counter import Hold, claims_of
from rules.policy import Policy
from tests.support.records import NOON, row
from tests.unit.rules.build import call, policy

BOOK = catalog.load()
SOFT = 'budgets: [{id: everyone, scope: global, period: total, limit_usd: "1"}]'
HARD = SOFT.replace("total,", "total, hold: strict,")
COUNTED = TokenCount(100, 100, exact=True, basis="test")


class Submitted(Shipper):
    """Keeps what would be shipped."""

    def __init__(self) -> None:
        self.records: list[Ended] = []

    def submit(self, record: Ended, segment: Path | None) -> None:
        self.records.append(record)


class Broken(Counter):
    """A counter with a fault of ours."""

    def count(self, prompt: Prompt, model: str) -> TokenCount:
        raise RuntimeError("a fault")


class Desk:
    """A till and everything around it, in memory but for the journal."""

    def __init__(self, folder: Path, *, allowance: str = "0", counter: Counter | None = None) -> None:
        self.holds = LocalHolds(queue_max=1)
        self.journal = Journal(folder / "journal", full=False)
        self.shipped = Submitted()
        self.till = Till(
            holds=self.holds,
            journal=self.journal,
            shipper=self.shipped,
            counter=counter or Counter({}),
            find_price=BOOK.find,
            learned=Learned(),
            soft_allowance=nanos(allowance),
        )

    async def open(self, rules: Policy) -> OpenCall:
        opened = open_call(rules)
        self.till.open(opened, await self.place(opened))
        return opened

    async def place(self, opened: OpenCall) -> Hold:
        for limit in opened.limits:
            self.holds.seed(limit.counter, nanos("0"))
        return await self.holds.place(
            opened.row.call_id, claims_of(opened.limits, opened.estimate), opened.row.at
        )

    def balance(self, opened: OpenCall) -> tuple[int, int]:
        found = self.holds.balance(opened.limits[0].counter)
        return found.spent, found.held


def expected() -> Estimate:
    price = BOOK.find("openai", "gpt-4o-mini", NOON)
    assert price is not None
    return estimate(COUNTED, price, Ask(output_tokens_max=200, output_expected=50))


def open_call(rules: Policy) -> OpenCall:
    facts = call(model="gpt-4o-mini")
    return OpenCall(
        row=row("c1"),
        started=0.0,
        route=Route("openai", "/v1/chat/completions", "", chosen=False),
        key=Key("k1", "search", Kind.LIVE, "", "", (), NOON),
        policy=rules,
        dialect=dialects.find("openai"),
        surface=Surface("metered"),
        call=facts,
        reading=Reading(prompt=Prompt(texts=("x",)), model="gpt-4o-mini"),
        price=BOOK.find("openai", "gpt-4o-mini", NOON),
        estimate=expected(),
        limits=rules.limits(facts, ()),
    )


async def test_a_fault_in_reading_an_answer_is_charged_at_the_estimate_and_frees_the_hold(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path, counter=Broken({}))
    opened = await desk.open(policy(SOFT))

    charge = desk.till.finish(opened, Ending(Outcome.ANSWERED, 200, metered=Metered(output_text="words")))

    assert charge is not None
    assert (charge.nanos, charge.basis) == (opened.estimate.expected, Basis.ESTIMATED)
    assert opened.row.flags == ["charge_failed"]
    assert desk.balance(opened) == (charge.nanos, 0)
    assert [record.row.call_id for record in desk.shipped.records] == ["c1"]


async def test_a_call_cannot_end_twice(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    opened = await desk.open(policy(SOFT))
    desk.till.finish(opened, Ending(Outcome.FAILED, 502))
    after = desk.balance(opened)

    with pytest.raises(AssertionError, match="ended twice"):
        desk.till.finish(opened, Ending(Outcome.FAILED, 502))

    assert desk.balance(opened) == after


async def test_without_a_journal_a_hard_budget_refuses_and_gives_the_hold_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, allowance="1")
    opened = open_call(policy(HARD))
    hold = await desk.place(opened)
    monkeypatch.setattr(desk.journal, "append", _unwritable)

    with pytest.raises(JournalUnwritable):
        desk.till.open(opened, hold)

    assert desk.balance(opened) == (0, 0)


async def test_without_a_journal_a_soft_budget_goes_within_its_allowance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, allowance="0.00005")
    monkeypatch.setattr(desk.journal, "append", _unwritable)
    first, second = open_call(policy(SOFT)), open_call(policy(SOFT))
    second.row = replace(second.row, call_id="c2", flags=[])

    desk.till.open(first, await desk.place(first))
    with pytest.raises(JournalUnwritable):
        desk.till.open(second, await desk.place(second))

    assert first.row.flags == ["unjournaled"]
    assert desk.balance(first) == (0, first.row.held_nanos)


def _unwritable(_: object) -> Path:
    raise JournalUnwritable("the disk is full")
