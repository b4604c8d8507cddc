"""Past calls at corrected prices: what each would cost, and what is written for it."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from pricing import catalog
from pricing.charge import PROVIDER_COST, Basis, Charge, Outcome, charge_for
from pricing.document import parse
from pricing.estimate import FREE
from pricing.money import Nanos
from pricing.overrides import OverriddenBook
from pricing.overrides_load import load_overrides
from pricing.usage import Usage
from proxy import cli
from proxy.admin import rerate
from proxy.admin.answers import Problem
from proxy.admin.rerate import Rerating, Sums, Wanted
from proxy.admin.rerated import (
    BATCH,
    CEILING,
    NOT_CHARGED,
    NOTHING_BILLED,
    REFUSED,
    TOLD,
    UNKNOWN,
    WITHOUT_PRICE,
    WORKS_ON,
    Rater,
    edition,
)
from proxy.admin.state import Signer
from proxy.cli import rerate as command
from proxy.holds.local import LocalHolds
from proxy.ledger import FILE, Ledger, calls, deferred, outbox, sqlite_url
from proxy.ledger.calls import CallFilter
from proxy.ledger.rerate import Charged, Correction
from proxy.ledger.schema import audit, charges, rollups
from proxy.records import Deferred, Settled
from proxy.settings import Config
from tests.support.records import ALL_TODAY, NOON, SEARCH_TODAY, minutes, refused, row, settled
from tests.unit.rules.build import policy

CATALOGUE = catalog.load()
LISTED = OverriddenBook(CATALOGUE)
MODEL = "gpt-4o-mini"
OLD = "openai/gpt-4o-mini@2024-07-18"  # as the rows of these tests have it: no book does
USAGE = Usage(input_tokens=10, cache_read_tokens=4, output_tokens=10, reasoning_tokens=3)
FIRST = 7_500  # what they were charged
NEW = 10 * 1_000 + 10 * 2_000  # at a dollar and two dollars a million
CONFIG = Config.model_validate(
    {"providers": {"openai": {"dialect": "openai", "base_url": "https://api.openai.com/v1", "api_key": "k"}}}
)
SINCE = NOON - timedelta(hours=1)
LATER = NOON + timedelta(days=1)


def written(*entries: str) -> OverriddenBook:
    """A prices file over the catalogue: `gpt-4o-mini, per_1m: {...}`."""
    lines = "\n".join(f"  - {{provider: openai, model: {each}}}" for each in entries)
    document = parse(f"version: 1\nprices:\n{lines}\n", file="prices.yaml", environ={})
    return OverriddenBook(CATALOGUE, load_overrides(document, CATALOGUE, providers=["openai"]))


CORRECTED = written(f"{MODEL}, per_1m: {{input: 1, cache_read: 1, output: 2}}")
VERSION = f"{CORRECTED.overrides.version}/openai/{MODEL}@start"


def charged(charge: Charge | None, **facts: Any) -> Charged:
    works_on = facts.pop("works_on", False)
    made = row(outcome=facts.pop("outcome", "answered"))
    for name, value in facts.items():
        assert hasattr(made, name), name
        setattr(made, name, value)
    return Charged(made, {}, charge, works_on=works_on)


def first(nanos: int = FIRST, *, basis: Basis = Basis.REPORTED, **changes: Any) -> Charge:
    return replace(Charge(Nanos(nanos), basis, USAGE, OLD), **changes)


def rated(charged: Charged, book: OverriddenBook = CORRECTED) -> Charge:
    made = Rater(CONFIG, book).rated(charged)
    assert isinstance(made, Charge), made
    return made


# -- what a call would cost -------------------------------------------------------------------------------------------


def test_a_reported_usage_is_charged_at_the_price_that_is_valid_now() -> None:
    made = rated(charged(first()))

    assert made == Charge(Nanos(NEW), Basis.REPORTED, USAGE, VERSION, (), f"rerated from {OLD} to {VERSION}")


@pytest.mark.parametrize("basis", [Basis.OBSERVED, Basis.ESTIMATED])
def test_what_no_provider_reported_keeps_its_basis_and_its_reason(basis: Basis) -> None:
    made = rated(charged(first(basis=basis, reason="it broke off", flags=("usage_suspect",))))

    assert (made.nanos, made.basis, made.flags) == (NEW, basis, ("usage_suspect",))
    assert made.reason == f"rerated from {OLD} to {VERSION}; it broke off"


@given(
    st.builds(
        Usage,
        input_tokens=st.integers(0, 10**7),
        output_tokens=st.integers(0, 10**6),
        web_searches=st.integers(0, 9),
    ),
    st.sampled_from(Basis),
    st.sampled_from(["", "default", "priority", "batch", "unheard-of"]),
    st.sampled_from(["", "gpt-4o", "gpt-4o-mini-2024-07-18", "nobody-knows"]),
    st.booleans(),
)
def test_a_second_run_finds_nothing_whatever_the_call_was(
    usage: Usage, basis: Basis, tier: str, served: str, stood_in: bool
) -> None:
    """Every charge is what its classes cost at the price in force, and stays so."""
    flags = ("unknown_price",) if stood_in else ()
    call = charged(
        first(usage=usage, basis=basis, flags=flags), service_tier=tier, served_model=served, model="gpt-4o"
    )
    for book in (LISTED, CORRECTED, written('"gpt-4o*", per_1m: {input: 3, output: 7}')):
        made = rated(call, book)
        again = replace(call, charge=made)
        price = book.find_named("openai", served or "gpt-4o", NOON) or book.find("openai", "gpt-4o", NOON)
        assert price is not None
        assert made.nanos == price.cost(usage, service_tier=tier).nanos
        assert Rater(CONFIG, book).rated(again) is made
        call = again


def test_the_same_version_is_not_looked_at_again() -> None:
    """Whatever made the charge more than its classes come to, made it so at this price."""
    before = first(NEW + 5, price_version=VERSION)
    assert rated(charged(before)) is before


def test_a_price_that_comes_to_the_same_changes_nothing() -> None:
    before = first(NEW)
    assert rated(charged(before)) is before


def test_the_price_is_that_of_the_instant_of_the_call() -> None:
    book = written(
        f"{MODEL}, from: 2026-01-05, per_1m: {{input: 1, cache_read: 1, output: 2}}",
        f"{MODEL}, from: 2026-01-06, per_1m: {{input: 3, cache_read: 3, output: 6}}",
    )
    call = charged(first())

    assert rated(call, book).nanos == NEW
    assert rated(charged(first(), at=NOON + timedelta(days=1)), book).nanos == 3 * NEW


def test_the_served_model_decides_where_its_price_is_known() -> None:
    book = written(f"{MODEL}, per_1m: {{input: 9, output: 9}}", "other, per_1m: {input: 1, output: 2}")

    assert rated(charged(first(), served_model="other"), book).nanos == NEW
    assert rated(charged(first(), served_model="nobody-knows"), book).nanos == 20 * 9_000


@pytest.mark.parametrize(
    ("charge", "facts", "why"),
    [
        (None, {"outcome": "refused"}, REFUSED),
        (None, {"outcome": "not_sent"}, NOT_CHARGED),
        (first(), {"works_on": True}, WORKS_ON),
        (first(0, usage=Usage()), {"outcome": "provider_refused"}, NOTHING_BILLED),
        (first(0, usage=Usage(), flags=("unproven",)), {"outcome": "unproven"}, NOTHING_BILLED),
        (first(0, price_version="", flags=("test",)), {}, WITHOUT_PRICE),
        (first(0, price_version="", flags=("unknown_price",)), {}, WITHOUT_PRICE),
        (first(flags=(PROVIDER_COST,)), {}, TOLD),
        (first(), {"flags": ["batch"]}, BATCH),
        (first(6_000, basis=Basis.ESTIMATED), {"flags": ["background"]}, CEILING),  # of every row here
        (first(), {"model": "nobody-knows"}, UNKNOWN),
    ],
)
def test_what_no_price_decided_is_left_alone(charge: Charge | None, facts: dict[str, Any], why: str) -> None:
    assert Rater(CONFIG, CORRECTED).rated(charged(charge, **facts)) == why


def test_a_charge_that_its_own_price_does_not_come_to_was_told_by_the_provider() -> None:
    listed = LISTED.find("openai", MODEL, NOON)
    assert listed is not None
    right = listed.cost(USAGE).nanos

    assert rated(charged(first(right, price_version=listed.version))).nanos == NEW
    told = charged(first(right + 1, price_version=listed.version))
    assert Rater(CONFIG, CORRECTED).rated(told) == TOLD


def test_a_stand_in_gives_way_to_the_models_own_price() -> None:
    call = charged(first(flags=("unknown_price",)), model="ours")
    dearest = LISTED.dearest("openai", NOON)

    made = rated(call, written("ours, per_1m: {input: 1, cache_read: 1, output: 2}"))
    still = rated(call, LISTED)

    assert (made.nanos, made.flags) == (NEW, ())
    assert (still.nanos, still.flags) == (dearest.cost(USAGE).nanos, ("unknown_price",))


def test_a_model_that_is_billed_by_another_unit_has_no_price_for_tokens() -> None:
    call = charged(first(flags=("unknown_price",)), model="whisper-1")
    assert rated(call, LISTED).price_version == LISTED.dearest("openai", NOON).version


def test_a_service_tier_that_was_told_is_kept() -> None:
    book = written(
        "m, per_1m: {input: 1, output: 2}, service_tiers: {flex: {per_1m: {input: 0.5, output: 1}}}"
    )
    price = book.find("openai", "m", NOON)
    assert price is not None

    made = rated(charged(first(), model="m", service_tier="flex"), book)

    assert made.nanos == price.cost(USAGE, service_tier="flex").nanos < price.cost(USAGE).nanos
    assert "taken as standard" not in made.reason


def test_a_service_tier_that_nobody_told_is_found_by_the_old_price_where_that_is_known() -> None:
    when = datetime(2026, 11, 20, tzinfo=UTC)  # the catalogue has tiers of that model by then
    listed = CATALOGUE.find("openai", "gpt-4.1", when)
    assert listed is not None
    assert "priority" in listed.variants
    book = written(
        "gpt-4.1, per_1m: {input: 1, output: 2}, service_tiers: {priority: {per_1m: {input: 5, output: 9}}}"
    )
    dear = first(listed.cost(USAGE, service_tier="priority").nanos, price_version=listed.version)
    plain = first(listed.cost(USAGE).nanos, price_version=listed.version)
    gone = first(plain.nanos)
    now = book.find("openai", "gpt-4.1", when)
    assert now is not None

    made = [rated(charged(each, model="gpt-4.1", at=when), book) for each in (dear, plain, gone)]

    assert [each.nanos for each in made] == [
        max(now.cost(USAGE, service_tier=tier).nanos for tier in ("fast", "priority")),  # were priced alike
        now.cost(USAGE).nanos,
        now.cost(USAGE).nanos,
    ]
    assert ["taken as standard" in each.reason for each in made] == [False, False, True]


def test_an_estimate_stays_above_what_such_a_prompt_is_usually_billed() -> None:
    """As `input x 1.5` raised it when it was charged first."""
    usage = Usage(input_tokens=1_000, output_tokens=10)
    call = charged(
        first(basis=Basis.ESTIMATED, usage=usage),
        estimate_basis="tiktoken o200k_base, learned output, input x 1.5",
        estimate_output_tokens=10,
    )
    assert rated(call).nanos == 1_500 * 1_000 + 10 * 2_000


def test_classes_without_a_price_are_flagged_as_they_are_now() -> None:
    usage = replace(USAGE, web_searches=1)
    before = first(usage=usage, flags=("unpriced_class",), reason="no price is known for web searches")
    priced = written(f"{MODEL}, per_1m: {{input: 1, cache_read: 1, output: 2}}, each: {{web_search: 0.01}}")

    made = rated(charged(before), priced)

    assert (made.nanos, made.flags) == (NEW + 10_000_000, ())
    assert made.reason.endswith(f"/openai/{MODEL}@start")
    found = priced.find("openai", MODEL, NOON)
    assert found is not None
    assert made.nanos == getattr(
        charge_for(Outcome.ANSWERED, price=found, estimate=FREE, usage=usage), "nanos", None
    )


def test_rerating_twice_tells_the_last_time_alone() -> None:
    once = rated(charged(first(basis=Basis.OBSERVED, reason="it broke off")))
    twice = rated(charged(once), LISTED)

    assert twice.reason.startswith(f"rerated from {VERSION} to openai/")
    assert twice.reason.endswith("; it broke off")
    assert twice.reason.count("rerated from") == 1


def test_an_edition_tells_prices_and_sellers_apart() -> None:
    other = Config.model_validate(
        {"providers": {"openai": {**CONFIG.providers["openai"].model_dump(), "price_provider": "azure"}}}
    )
    assert edition(CONFIG, LISTED) == edition(CONFIG, OverriddenBook(catalog.load()))
    assert len({edition(CONFIG, LISTED), edition(CONFIG, CORRECTED), edition(other, LISTED)}) == 3


def test_sums_of_batches_add_up_and_have_a_bounded_number_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerate, "LINES_MAX", 2)
    one, both = Sums(), Sums()
    for n in range(4):
        one.count(Correction(charged(first(), model=f"m{n}"), first(NEW)))
    one.leave(REFUSED, 3)

    for _ in range(2):
        both.take(one.shown())

    told = both.shown()
    assert [line["model"] for line in told["lines"]] == ["m0", "m1", "others"]
    assert (told["total"]["calls"], told["total"]["difference_usd"]) == (8, "0.00018")
    assert told["left_alone"] == [{"reason": REFUSED, "calls": 6}]


# -- what is written --------------------------------------------------------------------------------------------------


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    made = await Ledger.open(sqlite_url(tmp_path / FILE))
    yield made
    await made.close()


def rerating(ledger: Ledger, book: OverriddenBook = CORRECTED, **live: Any) -> Rerating:
    return Rerating(ledger, Rater(CONFIG, book), Signer("node-1", b"0" * 32, "ann"), **live)


async def run(wanted_of: Rerating, **asked: Any) -> Sums:
    wanted, sums = Wanted(since=SINCE, **{"dry_run": False, **asked}), Sums()
    while True:
        told = await wanted_of.batch(wanted, LATER)
        sums.take(told)
        if told["next"] is None:
            return sums
        wanted = Wanted.model_validate({**wanted.model_dump(), "after": told["next"]})


async def books(ledger: Ledger) -> tuple[int, ...]:
    """Charges: how many, nano-dollars, tokens out; the roll-up of all: the same sums, unreported, and its calls."""
    async with ledger.connect() as connection:
        made = select(func.count(), func.sum(charges.c.nanos), func.sum(charges.c.output_tokens))
        sums = [func.sum(rollups.c[name]) for name in ("nanos", "output_tokens", "unreported_nanos", "calls")]
        charged = (await connection.execute(made)).one()
        rolled = (await connection.execute(select(*sums).where(rollups.c.scope_kind == "global"))).one()
    return (*charged, *rolled)


async def events(ledger: Ledger) -> list[dict[str, Any]]:
    async with ledger.connect() as connection:
        rows = (await connection.execute(select(audit.c.event, audit.c.actor, audit.c.facts))).all()
    return [{"event": event, "actor": actor, **json.loads(facts)} for event, actor, facts in rows]


async def test_charges_roll_ups_and_audit_are_corrected_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of two: the pages meet no call twice and miss none, also among those of one instant."""
    monkeypatch.setattr(rerate, "BATCH_CALLS", 2)
    same = [settled(f"c{n}", FIRST) for n in range(4)]
    await ledger.ship(
        [*same, settled("c4", FIRST, at=NOON + minutes(20), basis=Basis.OBSERVED), refused("c5")]
    )

    done = await run(rerating(ledger))
    after = await books(ledger)
    again = await run(rerating(ledger))

    assert (done.total["calls"], done.left_alone) == (5, {REFUSED: 1})
    assert after == (15, 5 * NEW, 50, 5 * NEW, 50, NEW, 5)
    assert (again.total["calls"], again.unchanged, await books(ledger)) == (0, 5, after)
    told = await events(ledger)
    assert {(each["event"], each["actor"]) for each in told} == {("prices_rerated", "ann")}
    assert len({each["run"] for each in told}) == 1
    assert [(each["calls"], each["difference_usd"]) for each in told] == [
        ("2", "0.000045"),
        ("2", "0.000045"),
        ("1", "0.0000225"),
    ]


async def test_a_call_is_shown_once_with_its_correction(ledger: Ledger) -> None:
    await ledger.ship([settled("c1", FIRST)])
    await run(rerating(ledger))

    async with ledger.connect() as connection:
        [shown] = await calls.listed(connection, CallFilter())
        one = await calls.by_id(connection, "c1")
        [line] = await calls.report(connection, "model", since=None, until=None, timezone="UTC")

    assert one is not None
    assert (shown["cost_usd"], shown["price_version"], shown["output_tokens"]) == ("0.00003", VERSION, 10)
    assert [(each["seq"], each["cost_usd"]) for each in one["charges"]] == [
        (0, "0.0000075"),
        (1, "-0.0000075"),
        (2, "0.00003"),
    ]
    assert one["reason"] == f"rerated from {OLD} to {VERSION}"
    assert (line.nanos, line.calls, line.output_tokens) == (NEW, 1, 10)


async def test_a_dry_run_tells_the_same_and_writes_nothing(ledger: Ledger) -> None:
    await ledger.ship([settled("c1", FIRST), settled("c2", None)])
    before = await books(ledger)

    tried = await run(rerating(ledger), dry_run=True)
    assert (await books(ledger), await events(ledger)) == (before, [])
    done = await run(rerating(ledger))

    assert tried.shown() == done.shown()
    assert done.left_alone == {NOT_CHARGED: 1}


async def test_only_the_calls_that_were_meant_are_corrected(ledger: Ledger) -> None:
    await ledger.ship([settled(f"c{n}", FIRST, at=NOON + minutes(n)) for n in range(3)])
    some = rerating(ledger)

    assert (await run(some, model="gpt-5*")).shown()["lines"] == []
    assert (await run(some, provider="azure")).shown()["lines"] == []
    assert (await run(some, until=NOON + minutes(1), model="gpt-4o*", provider="openai")).total["calls"] == 1
    assert (await books(ledger))[:2] == (5, NEW + 2 * FIRST)


async def test_the_counters_of_a_live_server_move_and_tell_the_threshold_they_pass(ledger: Ledger) -> None:
    await ledger.ship([settled("c1", FIRST), settled("c2", FIRST, team="ads")])
    rules = policy(
        'budgets: [{id: all, scope: global, period: daily, limit_usd: "0.00006", thresholds: [90]}]'
    )
    holds = LocalHolds(queue_max=1)
    holds.seed(ALL_TODAY, Nanos(2 * FIRST))
    holds.seed(SEARCH_TODAY, Nanos(FIRST))

    await run(rerating(ledger, holds=holds, policy=lambda: rules))

    assert [holds.balance(each).spent for each in (ALL_TODAY, SEARCH_TODAY)] == [2 * NEW, NEW]
    async with ledger.connect() as connection:
        told = await outbox.due(connection, LATER + timedelta(days=999), limit=9)
    assert [each.alert.kind for each in told] == ["budget_threshold"]


async def test_a_batch_that_cannot_be_signed_is_not_written_and_moves_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledger.ship([settled("c1", FIRST)])
    before, holds = await books(ledger), LocalHolds(queue_max=1)
    holds.seed(ALL_TODAY, Nanos(FIRST))

    async def fail(*_: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Signer, "sign", fail)
    with pytest.raises(OSError, match="no room"):
        await run(rerating(ledger, holds=holds))

    assert (await books(ledger), holds.balance(ALL_TODAY).spent) == (before, FIRST)


async def test_two_runs_at_once_correct_each_call_once(ledger: Ledger) -> None:
    await ledger.ship([settled(f"c{n}", FIRST) for n in range(9)])
    holds = LocalHolds(queue_max=1)
    holds.seed(ALL_TODAY, Nanos(9 * FIRST))

    done = await asyncio.gather(*(run(rerating(ledger, holds=holds)) for _ in range(3)))

    assert sum(each.total["calls"] for each in done) == 9
    assert await books(ledger) == (27, 9 * NEW, 90, 9 * NEW, 90, 0, 9)
    assert holds.balance(ALL_TODAY).spent == 9 * NEW


async def test_work_in_the_background_is_corrected_after_its_end_alone(ledger: Ledger) -> None:
    record = settled("c1", FIRST, basis=Basis.ESTIMATED)
    record.row.provider_id = "resp_1"
    await ledger.ship([replace(record, deferred=Deferred("resp_1", "/v1/responses")), settled("c2", FIRST)])

    early = await run(rerating(ledger))
    async with ledger.connect() as connection:
        [waiting] = await deferred.due(connection, LATER, limit=9)
        await deferred.correct(connection, waiting, first(), state="settled")
    late = await run(rerating(ledger))

    assert early.left_alone == {WORKS_ON: 1}
    assert (late.total["calls"], late.left_alone) == (1, {})
    assert await books(ledger) == (8, 2 * NEW, 20, 2 * NEW, 20, 0, 2)


async def test_prices_that_the_caller_does_not_know_are_refused(ledger: Ledger) -> None:
    with pytest.raises(Problem, match="other prices"):
        await run(rerating(ledger), edition=edition(CONFIG, LISTED))
    assert (await run(rerating(ledger), edition=edition(CONFIG, CORRECTED))).shown()["lines"] == []


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ledger with one call that its prices.yaml corrects."""
    (tmp_path / "rules.yaml").write_text("version: 1\n")
    (tmp_path / "prices.yaml").write_text(
        "version: 1\nprices: [{provider: openai, model: gpt-4o-mini, per_1m: {input: 1, cache_read: 1, output: 2}}]\n"
    )
    provider = {"dialect": "openai", "base_url": "https://example.com/v1", "api_key": "k"}
    config = {
        "version": 1,
        "providers": {"openai": provider},
        "prices_file": "prices.yaml",
        "data_dir": "./data",
        "rules_file": "rules.yaml",
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    (tmp_path / "config.yaml").chmod(0o600)
    (tmp_path / "data").mkdir()
    asyncio.run(_fill(tmp_path / "data" / FILE, [settled("c1", FIRST), settled("c2", None)]))
    return tmp_path


async def _fill(file: Path, records: list[Settled]) -> None:
    ledger = await Ledger.open(sqlite_url(file))
    await ledger.ship(records)
    await ledger.close()


def typed(folder: Path, *words: str, answer: str = "") -> Any:
    line = ["prices", "rerate", "--since", "2026-01-05", *words, "-c", str(folder / "config.yaml")]
    return CliRunner().invoke(cli.spendgate, line, input=answer)


def told(folder: Path, *words: str) -> Any:
    done = typed(folder, *words, "--format", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)[0]


def test_off_a_terminal_it_is_a_dry_run_that_says_so(folder: Path) -> None:
    done = typed(folder)

    assert done.exit_code == 0
    assert "nothing is changed: --yes corrects it" in done.stderr
    assert "left alone: 1 (not charged" in done.stderr
    assert told(folder, "--dry-run")["total"]["calls"] == 1


def test_on_a_terminal_it_asks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_is_terminal", lambda: True)

    no = typed(folder, answer="n\n")
    left = told(folder, "--dry-run")["total"]["calls"]
    yes = typed(folder, answer="y\n")

    assert (no.exit_code, left) == (1, 1)
    assert "Correct 1 call by $0.0000225?" in no.stderr
    assert (yes.exit_code, "Corrected 1 call by $0.0000225." in yes.stderr) == (0, True)
    assert told(folder, "--dry-run")["total"]["calls"] == 0


def test_yes_corrects_without_a_server_and_a_second_time_there_is_nothing_to_do(folder: Path) -> None:
    done, again = told(folder, "--yes"), told(folder, "--yes")

    assert done["corrected"] is True
    [line] = done["lines"]
    assert (line["old_version"], line["old_usd"], line["new_usd"]) == (OLD, "0.0000075", "0.00003")
    assert (again["lines"], again["unchanged"]) == ([], 1)
    assert "No call costs anything else" in typed(folder).stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dry-run", "--yes"], "choose one"),
        (["--until", "2026-01-04"], "is not after --since"),
        (["--since", "soon"], "is no instant"),
    ],
)
def test_options_that_make_no_sense_are_told(folder: Path, words: list[str], told: str) -> None:
    done = typed(folder, *words)
    assert (done.exit_code, told in done.stderr) == (2, True)
