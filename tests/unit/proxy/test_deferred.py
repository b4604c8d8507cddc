"""Deferred work: charged for now, corrected once at its end, by whichever node sees it first."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import func, select

from pricing import catalog
from pricing.charge import Basis
from pricing.money import Nanos
from pricing.overrides import OverriddenBook
from pricing.tokens import Counter
from proxy import clock, dialects, jobs
from proxy.deferred import ASKED_AT_ONCE_MAX, GIVE_UP_AFTER, ROUNDS_MAX, Deferrals
from proxy.holds.local import LocalHolds
from proxy.journal import Journal
from proxy.ledger import FILE, Ledger, calls, outbox, sqlite_url
from proxy.ledger import deferred as waiting_work
from proxy.ledger.calls import CallFilter
from proxy.ledger.recover import recover
from proxy.ledger.schema import charges, deferred, rollups
from proxy.ledger.ship import Shipper
from proxy.records import Deferred, Settled, from_dict, to_dict
from proxy.settings import Config
from proxy.upstream import UpstreamFailure
from proxy.work import asked_id, end_of, is_object_id, next_look, told_in
from rules.policy import Policy
from tests.support.records import ALL_TODAY, NOON, SEARCH_TODAY, charge, opened, settled
from tests.unit.rules.build import policy

EXPECTED = 1_500  # of every row in these tests
BILL = 150 * 10 + 600 * 100  # ten tokens in, a hundred out
LATER = NOON + timedelta(minutes=1)
NO_BUDGET = policy("")


def work(object_id: str = "resp_1", call_id: str = "c1") -> Settled:
    record = settled(call_id, EXPECTED, basis=Basis.ESTIMATED)
    return replace(record, deferred=Deferred(object_id, "/v1/responses"))


def ended(object_id: str = "resp_1", status: str = "completed", **more: Any) -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 100, "total_tokens": 110}
    model = "gpt-4o-mini"
    return json.dumps({"id": object_id, "status": status, "model": model, "usage": usage, **more}).encode()


class Answer:
    headers: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self._body = status, body

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._body

    def close(self) -> None:
        pass


class Provider:
    """Tells the same of every work."""

    def __init__(self, say: Callable[[str], bytes] | None, status: int = 200) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._say, self._status = say, status

    async def send(
        self, method: str, path: str, headers: list[tuple[str, str]], *_: Any, **__: Any
    ) -> Answer:
        self.asked.append((f"{method} {path}", dict(headers)))
        if self._say is None:
            raise UpstreamFailure("upstream_connect", "away", sent=False)
        return Answer(self._status, self._say(path.rpartition("/")[2]))


class Node:
    """One process on a ledger that others may share."""

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        provider: Provider | None = None,
        rules: Policy = NO_BUDGET,
        own_cost: str = "off",
    ) -> None:
        self.provider = provider or Provider(None)
        self.holds = LocalHolds(queue_max=1)
        self.holds.seed(ALL_TODAY, Nanos(EXPECTED))
        written = {
            "dialect": "openai",
            "base_url": "http://localhost/v1",
            "api_key": "secret",
            "own_cost": own_cost,
        }
        config = Config.model_validate({"version": 1, "providers": {"openai": written}})
        self.deferrals = Deferrals(
            config=config,
            dialects={"openai": dialects.find("openai")},
            upstreams={"openai": self.provider},
            ledger=ledger,
            shipper=Shipper(ledger, Journal(folder, full=False)),
            holds=self.holds,
            book=OverriddenBook(catalog.load()),
            counter=Counter({}),
            policy=lambda: rules,
        )

    @property
    def spent(self) -> int:
        return self.holds.balance(ALL_TODAY).spent


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened_ledger = await Ledger.open(sqlite_url(tmp_path / FILE))
    yield opened_ledger
    await opened_ledger.close()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    def set_clock(now: datetime) -> None:
        monkeypatch.setattr(clock, "now", lambda: now)

    set_clock(LATER)
    return set_clock


async def row(ledger: Ledger, call_id: str = "c1") -> dict[str, Any]:
    async with ledger.connect() as connection:
        found = await calls.listed(connection, CallFilter())
    return next(each for each in found if each["call_id"] == call_id)


async def sums(ledger: Ledger) -> tuple[int, ...]:
    """Charges: how many, nano-dollars, output tokens; the roll-up of all: the same, unreported, and its calls."""
    async with ledger.connect() as connection:
        charged = (
            await connection.execute(
                select(func.count(), func.sum(charges.c.nanos), func.sum(charges.c.output_tokens))
            )
        ).one()
        rolled = (
            await connection.execute(
                select(
                    rollups.c.nanos, rollups.c.output_tokens, rollups.c.unreported_nanos, rollups.c.calls
                ).where(rollups.c.scope_kind == "global")
            )
        ).one()
    return (*charged, *rolled)


async def state(ledger: Ledger) -> tuple[str, int]:
    async with ledger.connect() as connection:
        found = (await connection.execute(select(deferred.c.state, deferred.c.next_at))).one()
    return str(found[0]), int(found[1])


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed", "cancelled"])
def test_an_end_is_known_by_its_status_and_id(status: str) -> None:
    answer = told_in("resp_1", ended(status=status))
    assert answer is not None
    told = end_of(answer)
    assert told is not None
    assert told.usage is not None
    assert told.usage.output_tokens == 100
    assert told_in("resp_2", ended(status=status)) is None


@pytest.mark.parametrize("body", [ended(status="queued"), ended(status="in_progress"), b"{", b"[1]", b""])
def test_what_tells_no_end_is_none(body: bytes) -> None:
    answer = told_in("resp_1", body)
    assert answer is None or end_of(answer) is None


def test_an_answer_that_came_compressed_is_read() -> None:
    assert told_in("resp_1", gzip.compress(ended()), "gzip") == told_in("resp_1", ended())
    assert told_in("resp_1", ended(), "br") is None


def test_only_asking_for_one_work_and_stopping_it_tell_of_it() -> None:
    assert asked_id("openai", "GET", "/v1/responses/resp_1") == "resp_1"
    assert asked_id("openai", "POST", "/v1/responses/resp_1/cancel") == "resp_1"
    for method, path in [
        ("POST", "/v1/responses"),
        ("GET", "/v1/responses/resp_1/input_items"),
        ("DELETE", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/..%2Fmodels"),
    ]:
        assert asked_id("openai", method, path) == ""
    assert not is_object_id("../models")


def test_the_provider_is_asked_after_10_seconds_then_ever_more_seldom_up_to_5_minutes() -> None:
    waits, now = [], NOON + timedelta(seconds=10)
    for _ in range(8):
        following = next_look(NOON, now)
        waits.append((following - now).total_seconds())
        now = following
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def test_a_record_keeps_what_is_left_to_do() -> None:
    assert from_dict(json.loads(json.dumps(to_dict(work())))) == work()


async def test_work_in_the_journal_of_a_dead_process_is_waited_for_after_the_next_start(
    ledger: Ledger, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "dead", full=False)
    journal.append(opened("c1"))
    journal.append(work())

    await recover(tmp_path / "dead", ledger)

    assert (await state(ledger))[0] == "waiting"
    assert (await row(ledger))["cost_usd"] == "0.0000015"


async def test_the_end_corrects_charge_rollups_and_counter_once(
    ledger: Ledger, tmp_path: Path, at: Callable[[datetime], None]
) -> None:
    await ledger.ship([work()])
    node = Node(ledger, tmp_path / "journal")

    for _ in range(3):
        node.deferrals.note("openai", "resp_1", ended(), "")
        await node.deferrals.settle_seen()

    assert (await state(ledger))[0] == "settled"
    assert await sums(ledger) == (3, BILL, 100, BILL, 100, 0, 1)
    assert node.spent == BILL
    shown = await row(ledger)
    assert (shown["basis"], shown["output_tokens"]) == ("reported", 100)
    assert shown["usage"] == {"input_tokens": 10, "output_tokens": 100}


@pytest.mark.parametrize(
    ("own_cost", "nanos", "flags"), [("on", 7_000, ["provider_cost"]), ("off", BILL, [])]
)
async def test_the_providers_own_figure_stands_at_the_end_where_it_goes_before_the_price(
    ledger: Ledger,
    tmp_path: Path,
    at: Callable[[datetime], None],
    own_cost: str,
    nanos: int,
    flags: list[str],
) -> None:
    await ledger.ship([work()])
    node = Node(ledger, tmp_path / "journal", own_cost=own_cost)
    usage = {"input_tokens": 10, "output_tokens": 100, "cost_in_usd_ticks": 70_000}

    node.deferrals.note("openai", "resp_1", ended(usage=usage), "")
    await node.deferrals.settle_seen()

    shown = await row(ledger)
    assert (node.spent, shown["flags"], shown["output_tokens"]) == (nanos, flags, 100)


async def test_a_correction_that_somebody_made_before_says_so_and_writes_nothing(ledger: Ledger) -> None:
    await ledger.ship([work()])
    changes = []
    async with ledger.connect() as connection:
        [waiting] = await waiting_work.due(connection, LATER, limit=9)
        for _ in range(2):
            changes.append(await waiting_work.correct(connection, waiting, charge(BILL), state="settled"))

    assert changes == [BILL - EXPECTED, None]
    assert (await sums(ledger))[:2] == (3, BILL)


async def test_two_nodes_that_see_the_end_at_once_charge_it_once(
    ledger: Ledger, tmp_path: Path, at: Callable[[datetime], None]
) -> None:
    await ledger.ship([work()])
    nodes = [Node(ledger, tmp_path / str(n), Provider(lambda name: ended(name))) for n in range(2)]

    nodes[0].deferrals.note("openai", "resp_1", ended(), "")
    await asyncio.gather(nodes[0].deferrals.settle_seen(), *(node.deferrals.ask_due() for node in nodes))

    assert await sums(ledger) == (3, BILL, 100, BILL, 100, 0, 1)
    assert sorted(node.spent for node in nodes) == [EXPECTED, BILL]  # each adds to its own counters, once


async def test_one_id_told_of_two_calls_is_waited_for_once(
    ledger: Ledger, tmp_path: Path, at: Callable[[datetime], None]
) -> None:
    await ledger.ship([work(call_id="c1"), work(call_id="c2")])
    node = Node(ledger, tmp_path / "journal")

    node.deferrals.note("openai", "resp_1", ended(), "")
    await node.deferrals.settle_seen()

    assert (await row(ledger, "c1"))["basis"] == "reported"
    assert (await row(ledger, "c2"))["cost_usd"] == "0.0000015"


async def test_the_provider_is_asked_with_our_own_credential(
    ledger: Ledger, tmp_path: Path, at: Callable[[datetime], None]
) -> None:
    await ledger.ship([work()])
    node = Node(ledger, tmp_path / "journal", Provider(lambda name: ended(name)))

    await node.deferrals.ask_due()
    await node.deferrals.ask_due()

    [(request, headers)] = node.provider.asked
    assert request == "GET /v1/responses/resp_1"
    assert headers["Authorization"] == "Bearer secret"
    assert node.spent == BILL


@pytest.mark.parametrize(
    "provider",
    [
        Provider(None),
        Provider(lambda name: ended(name), 404),
        Provider(lambda name: ended(name, "queued")),
        Provider(lambda _: b"\xff"),
    ],
)
async def test_a_provider_that_does_not_tell_is_asked_again_and_nothing_is_charged_until_then(
    ledger: Ledger, tmp_path: Path, at: Callable[[datetime], None], provider: Provider
) -> None:
    await ledger.ship([work()])
    node = Node(ledger, tmp_path / "journal", provider)

    await node.deferrals.ask_due()

    assert await state(ledger) == ("waiting", int((LATER + timedelta(minutes=1)).timestamp() * 1_000_000))
    assert node.spent == EXPECTED


async def test_after_a_day_the_estimate_stands_and_is_marked_lost(
    ledger: Ledger, tmp_path: Path, at: Callable[[datetime], None]
) -> None:
    await ledger.ship([work()])
    node = Node(ledger, tmp_path / "journal")
    at(NOON + GIVE_UP_AFTER)

    await node.deferrals.ask_due()

    shown = await row(ledger)
    assert (shown["basis"], "lost" in shown["flags"]) == ("estimated", True)
    assert shown["reason"] == "the provider did not tell how the work ended"
    assert (await state(ledger))[0] == "lost"
    assert node.spent == int(Decimal(shown["cost_usd"]) * 10**9)


async def test_an_end_without_a_usage_is_charged_as_estimated(
    ledger: Ledger, tmp_path: Path, at: Callable[[datetime], None]
) -> None:
    await ledger.ship([work()])
    node = Node(ledger, tmp_path / "journal")

    node.deferrals.note("openai", "resp_1", ended(status="cancelled", usage=None), "")
    await node.deferrals.settle_seen()

    shown = await row(ledger)
    assert (shown["basis"], (await state(ledger))[0]) == ("estimated", "settled")


async def test_no_more_are_asked_after_at_once_than_the_bound(
    ledger: Ledger, tmp_path: Path, at: Callable[[datetime], None]
) -> None:
    await ledger.ship([work(f"resp_{n}", f"c{n}") for n in range(ASKED_AT_ONCE_MAX + 1)])
    node = Node(ledger, tmp_path / "journal", Provider(lambda name: ended(name)))

    await node.deferrals.ask_due()
    assert len(node.provider.asked) == ASKED_AT_ONCE_MAX
    await node.deferrals.ask_due()
    assert len(node.provider.asked) == ASKED_AT_ONCE_MAX + 1


async def test_a_budget_that_the_bill_takes_over_its_threshold_is_told(
    ledger: Ledger, tmp_path: Path, at: Callable[[datetime], None]
) -> None:
    await ledger.ship([work()])
    rules = policy(
        'budgets: [{id: all, scope: global, period: daily, limit_usd: "0.00006", thresholds: [90]}]'
    )
    node = Node(ledger, tmp_path / "journal", rules=rules)

    node.deferrals.note("openai", "resp_1", ended(), "")
    await node.deferrals.settle_seen()

    async with ledger.connect() as connection:
        told = await outbox.due(connection, LATER + timedelta(days=999), limit=9)
    assert {each.alert.kind for each in told} == {"budget_threshold", "hold_exceeded"}


def test_a_correction_moves_the_counters_of_its_own_window_alone() -> None:
    holds = LocalHolds(queue_max=1)
    for counter in (ALL_TODAY, SEARCH_TODAY):
        holds.seed(counter, Nanos(100))

    holds.correct([ALL_TODAY.scope], NOON, Nanos(-40))
    holds.correct([ALL_TODAY.scope], NOON + timedelta(days=1), Nanos(-40))

    assert [holds.balance(counter).spent for counter in (ALL_TODAY, SEARCH_TODAY)] == [60, 100]


async def test_when_it_is_stopped_no_round_is_left_on_a_ledger_that_is_closed(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round that was asking ends its transaction first, however many are asking and whichever is done first."""
    node, asking = Node(ledger, tmp_path), asyncio.Semaphore(0)
    finished = 0

    async def ask_due() -> None:
        nonlocal finished
        asking.release()
        try:
            await asyncio.Event().wait()
        finally:
            finished += 1
            for _ in range(5 * finished):
                await asyncio.sleep(0)
            finished += 100

    monkeypatch.setattr("proxy.deferred.LOOK_SECONDS", 0)
    monkeypatch.setattr(node.deferrals, "ask_due", ask_due)
    job = jobs.run(node.deferrals.run(), name="deferred")
    for _ in range(ROUNDS_MAX):
        await asking.acquire()

    await jobs.stop(job)

    assert finished == 101 * ROUNDS_MAX
