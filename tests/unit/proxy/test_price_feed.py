"""Prices that a server fetches by itself, here from a plug-in: taken whole or not at all, and kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pricing import catalog
from pricing.overrides import OverriddenBook
from proxy import cli, clock, metrics, snapshots
from proxy.live_prices import LivePrices
from proxy.plugins import PRICE_SOURCES
from proxy.price_feed import PriceFeed
from proxy.settings import PriceSettings
from tests.support.plugin import install, install_page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "howto" / "price-source.md"
TODAY = clock.now().date().isoformat()
OFFER = """
from pathlib import Path

def main():
    text = Path({offer!r}).read_text()
    if not text:
        raise RuntimeError("the price list is on holiday")
    return text
"""
Give = Callable[..., None]


def file(**rates: int) -> dict[str, Any]:
    model = {"id": "small", "prices": [{"from": None, "standard": {"rates": rates}}]}
    return {"provider": "acme", "source": "a list", "checked": TODAY, "models": [model]}


@pytest.fixture
def give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Give:
    """Sets what the plug-in `acme` gives."""
    (tmp_path / "plugin").mkdir()
    offer = tmp_path / "offer"
    install(monkeypatch, tmp_path / "plugin", PRICE_SOURCES, OFFER.format(offer=str(offer)))

    def given(text: str = "", **rates: int) -> None:
        offer.write_text(text or (json.dumps(file(**rates)) if rates else ""))

    given(input=2_000, output=2_000)
    return given


def started(folder: Path) -> tuple[PriceFeed, LivePrices]:
    live = LivePrices(OverriddenBook(catalog.book(snapshots.in_force(folder).values())))
    return PriceFeed(PriceSettings(source="acme"), folder, live), live


def rate(live: LivePrices) -> int | None:
    price = live.find("acme", "small", clock.now())
    return None if price is None else price.standard.rates.input


def kept(folder: Path) -> list[Path]:
    return sorted((folder / snapshots.FOLDER).glob("*.json"))


async def test_what_is_new_is_in_force_at_once_and_at_the_next_start(tmp_path: Path, give: Give) -> None:
    feed, live = started(tmp_path)
    assert (rate(live), feed.details()["prices"]["fetched"]) == (None, False)

    assert await feed.look()

    assert (rate(live), feed.details()["prices"]["fetched"]) == (2_000, True)
    assert rate(started(tmp_path)[1]) == 2_000


async def test_what_is_not_new_changes_nothing(tmp_path: Path, give: Give) -> None:
    feed, live = started(tmp_path)
    await feed.look()
    book = live.present

    assert await feed.look()

    assert live.present is book
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize(
    "offer",
    [{}, {"text": "{"}, {"text": "[]"}, {"input": -1, "output": 1}, {"input": 0, "output": 2_000}],
    ids=["raises", "no JSON", "nothing", "negative", "doubtful"],
)
async def test_on_a_fault_the_last_good_prices_stay(
    tmp_path: Path, give: Give, offer: dict[str, Any]
) -> None:
    feed, live = started(tmp_path)
    await feed.look()
    before = metrics.PRICE_FAILURES.labels("acme")._value.get()

    give(**offer)
    assert not await feed.look()
    assert not await feed.look()

    assert (rate(live), len(kept(tmp_path))) == (2_000, 1)
    assert feed.details()["prices"]["failures_in_a_row"] == 2
    assert metrics.PRICE_FAILURES.labels("acme")._value.get() == before + 2
    give(input=3_000, output=3_000)
    assert await feed.look()
    assert (rate(live), feed.details()["prices"]["failures_in_a_row"]) == (3_000, 0)


async def test_a_doubtful_rate_is_taken_once_somebody_has_taken_it(tmp_path: Path, give: Give) -> None:
    feed, live = started(tmp_path)
    await feed.look()
    give(input=0, output=2_000)
    assert not await feed.look()

    snapshots.write(tmp_path, [file(input=0, output=2_000)], clock.now())

    assert await feed.look()
    assert rate(live) == 0


async def test_prices_that_cannot_be_kept_count_all_the_same(tmp_path: Path, give: Give) -> None:
    (tmp_path / snapshots.FOLDER).write_text("in the way")
    feed, live = started(tmp_path)

    assert await feed.look()
    give(input=3_000, output=2_000)
    assert await feed.look()

    assert rate(live) == 3_000


async def test_a_server_keeps_a_few_of_its_own_snapshots_and_all_of_others(
    tmp_path: Path, give: Give
) -> None:
    snapshots.write(tmp_path, [file(input=1_000, output=1_000)], clock.now())
    feed, _ = started(tmp_path)
    for n in range(snapshots.KEPT_BY_ITSELF + 3):
        give(input=1_001 + n, output=2_000)
        assert await feed.look()

    names = [path.name for path in kept(tmp_path)]
    assert len(names) == snapshots.KEPT_BY_ITSELF + 1
    assert not names[0].endswith(snapshots.BY_ITSELF)


def test_the_source_that_the_page_shows_gives_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_page(monkeypatch, tmp_path, PAGE)
    (tmp_path / "config.yaml").write_text("version: 1\nprices: {source: acme}\n")

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli.spendgate, ["prices", *words, "-c", str(tmp_path / "config.yaml")])
        assert done.exit_code == 0, done.output
        return done.stdout

    run("sync", "--from", "acme", "--yes")

    (found,) = json.loads(run("find", "acme-small", "--provider", "acme", "--format", "json"))
    assert [each["usd"] for each in found["rates"]] == ["0.15", "0.6"]
