"""What the price book tells of a model, and what a new catalogue changes in it."""

import copy
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing import catalog
from pricing.document import DocumentError, parse
from pricing.overrides import OverriddenBook
from pricing.overrides_load import load_overrides
from proxy import snapshots
from proxy.admin import prices
from proxy.admin.price_changes import FAR, NEGATIVE, NOW_ZERO, difference, merged

TODAY = date(2026, 11, 21)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SNAPSHOT = datetime(2026, 11, 21, 13, tzinfo=UTC)
FILE: dict[str, Any] = {
    "provider": "acme",
    "source": "a page",
    "checked": "2026-11-01",
    "aliases": ["acme-ai"],
    "models": [
        {
            "id": "small",
            "names": ["tiny"],
            "context": 1000,
            "prices": [
                {"from": None, "standard": {"rates": {"input": 100, "output": 200}}},
                {
                    "from": "2026-10-01",
                    "standard": {
                        "rates": {"input": 1_000_000_000, "output": 2_500_000_000, "web_search": 10_000_000},
                        "tiers": [{"above": 500, "rates": {"input": 3_000_000_000}}],
                    },
                    "variants": {"batch": {"rates": {"input": 500_000_000}}},
                },
            ],
        },
        {
            "id": "nightly",
            "prices": [
                {
                    "from": None,
                    "standard": {"rates": {"input": 4_000_000_000, "output": 8_000_000_000}},
                    "windows": [
                        {
                            "from": "22:00",
                            "until": "06:00",
                            "standard": {"rates": {"input": 1_000_000_000, "output": 2_000_000_000}},
                        }
                    ],
                }
            ],
        },
    ],
}
PRICES = """\
version: 1
prices:
  - {provider: acme, model: small, from: 2026-11-10, until: 2026-12-01, per_1m: {input: 7, output: 9}}
  - {provider: acme, model: "*", per_1m: {input: 50, output: 60}}
discounts:
  - {provider: acme, models: [nightly], percent: 50}
"""


def book(text: str = "") -> OverriddenBook:
    own = catalog.book([FILE])
    if not text:
        return OverriddenBook(own)
    document = parse(text, file="prices.yaml", environ={})
    return OverriddenBook(own, load_overrides(document, own, providers={"acme"}))


def changed(**rates: int) -> dict[str, Any]:
    """The file with other rates for the present price of `small`."""
    file = copy.deepcopy(FILE)
    file["checked"] = "2026-11-21"
    file["models"][0]["prices"][1]["standard"]["rates"].update(rates)
    return file


def usd(rates: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {rate["class"]: (rate["usd"], rate["per"]) for rate in rates}


# -- find -----------------------------------------------------------------------------------------------------------


def test_a_price_tells_its_rates_tiers_variants_and_limits() -> None:
    (found,) = prices.find(book(), "TINY", NOON)

    assert (found["provider"], found["model"], found["source"]) == ("acme", "small", "catalogue")
    assert (found["origin"], found["checked"]) == ("a page", "2026-11-01")
    assert usd(found["rates"]) == {
        "input": ("1", "1M"),
        "output": ("2.5", "1M"),
        "web_search": ("0.01", "each"),
    }
    assert [tier["above_input_tokens"] for tier in found["tiers"]] == [500]
    assert usd(found["tiers"][0]["rates"])["input"] == ("3", "1M")
    assert usd(found["variants"]["batch"]["rates"])["input"] == ("0.5", "1M")
    assert (found["context_tokens"], found["output_tokens_max"]) == (1000, None)


@pytest.mark.parametrize(
    ("at", "start", "end"),
    [
        (datetime(2026, 9, 30, 23, 59, tzinfo=UTC), None, "2026-10-01T00:00:00+00:00"),
        (datetime(2026, 10, 1, tzinfo=UTC), "2026-10-01T00:00:00+00:00", None),
    ],
)
def test_a_price_holds_from_its_date_to_the_next(at: datetime, start: str | None, end: str | None) -> None:
    (found,) = prices.find(book(), "small", at, provider="acme-ai")

    assert (found["from"], found["until"]) == (start, end)


@pytest.mark.parametrize(
    ("day", "source", "start", "end"),
    [
        (9, "catalogue", "2026-10-01", "2026-11-10"),
        (10, "prices_file", "2026-11-10", "2026-12-01"),
        (30, "prices_file", "2026-11-10", "2026-12-01"),
    ],
)
def test_a_price_of_ones_own_holds_between_its_own_dates(day: int, source: str, start: str, end: str) -> None:
    (found,) = prices.find(book(PRICES), "small", datetime(2026, 11, day, tzinfo=UTC), provider="acme")

    assert found["source"] == source
    assert (found["from"][:10], found["until"][:10]) == (start, end)


def test_hours_are_told_with_the_discount_in_them_and_whether_they_hold() -> None:
    by_day = prices.find(book(PRICES), "nightly", NOON)[0]
    by_night = prices.find(book(PRICES), "nightly", NOON + timedelta(hours=11))[0]

    assert usd(by_day["rates"])["input"] == ("2", "1M")
    (night,) = by_day["hours"]
    assert (night["from"], night["until"], night["holds"]) == ("22:00", "06:00", False)
    assert usd(night["rates"])["input"] == ("0.5", "1M")
    assert by_day["discount_percent"] == "50"
    assert usd(by_night["rates"])["input"] == ("0.5", "1M")
    assert [(hour["from"], hour["holds"]) for hour in by_night["hours"]] == [("22:00", True), (None, False)]
    assert usd(by_night["hours"][1]["rates"])["input"] == ("2", "1M")


def test_a_price_for_every_name_is_told_only_of_a_provider_that_is_named() -> None:
    assert prices.find(book(PRICES), "nobodys", NOON) == []
    (found,) = prices.find(book(PRICES), "nobodys", NOON, provider="acme")
    assert usd(found["rates"])["input"] == ("50", "1M")
    assert prices.suggest(book(), "smal") == ["small"]


@given(st.sampled_from(["small", "tiny", "nightly"]), st.integers(0, 24 * 90))
def test_what_is_told_is_what_a_call_is_charged_at(model: str, hours: int) -> None:
    at, own = datetime(2026, 9, 15, tzinfo=UTC) + timedelta(hours=hours), book(PRICES)
    charged = own.find("acme", model, at)
    assert charged is not None

    (found,) = prices.find(own, model, at, provider="acme")

    assert found["version"] == charged.version
    assert found["rates"] == prices.rates(charged.standard.rates)
    assert (found["from"] or "") <= at.isoformat()
    assert found["until"] is None or at.isoformat() < found["until"]


def test_prices_are_stale_after_ninety_days() -> None:
    checked = datetime(2026, 11, 1, 12, tzinfo=UTC)

    fresh, stale = (prices.listed(book(), "acme", checked + timedelta(days=days)) for days in (90, 91))

    assert [(row["model"], row["input_usd"], row["stale"]) for row in fresh] == [
        ("nightly", "4", False),
        ("small", "1", False),
    ]
    assert {row["stale"] for row in stale} == {True}
    assert prices.providers(book(), checked + timedelta(days=91))[0]["age_days"] == 91


# -- a new catalogue ------------------------------------------------------------------------------------------------


def test_models_added_and_gone_and_changed_rates_are_told() -> None:
    new = changed(input=1_250_000_000)
    new["models"][1]["id"] = "daily"

    found = difference({"acme": FILE}, {"acme": new}, TODAY)

    assert (found.added, found.gone) == ((("acme", "daily"),), (("acme", "nightly"),))
    (change,) = found.changes
    row = change.row()
    assert (row["when"], row["rate"], row["old_usd"], row["new_usd"]) == ("standard", "input", "1", "1.25")
    assert (change.percent, change.doubts) == ("+25.0", [])


@pytest.mark.parametrize(
    ("rate", "doubts"),
    [
        (-1, [NEGATIVE]),
        (0, [NOW_ZERO]),
        (10_000_000_000, []),
        (10_000_000_001, [FAR]),
        (100_000_000, []),
        (99_999_999, [FAR]),
    ],
)
def test_what_nobody_should_believe_is_flagged(rate: int, doubts: list[str]) -> None:
    (change,) = difference({"acme": FILE}, {"acme": changed(input=rate)}, TODAY).changes

    assert change.doubts == doubts
    found = difference({"acme": FILE}, {"acme": changed(input=rate)}, TODAY)
    assert len(found.rows()) == 1
    assert len(found.wrong) + len(found.doubtful) == len(doubts)


def test_a_negative_rate_of_a_coming_price_or_a_new_model_is_found_too() -> None:
    new = changed()
    new["models"][0]["prices"].append({"from": "2027-01-01", "standard": {"rates": {"output": -5}}})
    new["models"].append({"id": "new", "prices": [{"from": None, "standard": {"rates": {"input": -5}}}]})

    found = difference({"acme": FILE}, {"acme": new}, TODAY)

    assert [(each.model, each.when) for each in found.wrong] == [
        ("new", "standard"),
        ("small", "standard from 2027-01-01"),
    ]


def test_a_taken_price_holds_from_today_and_earlier_ones_keep_their_dates() -> None:
    new = changed(input=5_000_000_000)
    del new["aliases"], new["models"][0]["names"], new["models"][0]["context"], new["models"][1]

    after = catalog.book(merged({"acme": FILE}, {"acme": new}, TODAY).values())

    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    then, now = (after.find("acme-ai", "tiny", at) for at in (midnight - timedelta(seconds=1), midnight))
    before = book().find("acme", "small", midnight)
    assert then is not None
    assert now is not None
    assert before is not None
    assert then.version == before.version
    assert (now.standard.rates.input, now.context_tokens) == (5_000_000_000, 1000)
    assert after.find("acme", "nightly", NOON) is not None


def test_taking_the_same_again_changes_no_price() -> None:
    once = merged({"acme": FILE}, {"acme": changed(input=5)}, TODAY)

    assert merged(once, {"acme": changed(input=5)}, TODAY) == once
    assert merged({"acme": FILE}, {"acme": FILE}, TODAY)["acme"] == FILE


def test_the_catalogue_that_comes_with_spendgate_has_the_form_that_is_asked_for() -> None:
    own = catalog.read()

    assert snapshots.read_files(catalog.FOLDER) == own
    assert difference(own, own, TODAY).rows() == []


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (b"{", "is not JSON"),
        (b"[1]", "dictionary"),
        (b"[]", "has no provider in it"),
        (orjson.dumps([FILE, FILE]), "one of them twice"),
        (orjson.dumps({**FILE, "models": FILE["models"] * 2}), "stands there twice"),
        (orjson.dumps({**FILE, "colour": "red"}), "colour"),
        (orjson.dumps({**FILE, "checked": "soon"}), "checked"),
        (orjson.dumps(changed(inptu=1)), "inptu"),
        (orjson.dumps({**FILE, "models": [{"id": "x", "prices": []}]}), "models"),
        (orjson.dumps({**FILE, "models": [{**FILE["models"][0], "match": {"regex": "("}}]}), "matched"),
    ],
)
def test_a_file_of_another_form_is_refused_with_what_is_wrong(broken: bytes, words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        snapshots.parse(broken, "new.json")


def test_the_newest_snapshot_is_read_and_only_where_it_is_no_older_than_our_own(tmp_path: Path) -> None:
    own = catalog.read()["openai"]
    newer, older = {**own, "source": "newer"}, {**own, "source": "older", "checked": "2020-01-01"}

    snapshots.write(tmp_path, [older], SNAPSHOT)
    assert snapshots.in_force(tmp_path)["openai"] == own
    snapshots.write(tmp_path, [newer, FILE], SNAPSHOT + timedelta(seconds=1))

    assert snapshots.in_force(tmp_path)["openai"] == newer
    assert snapshots.in_force(tmp_path)["acme"] == FILE
    assert sorted(path.suffix for path in (tmp_path / snapshots.FOLDER).iterdir()) == [".json", ".json"]
