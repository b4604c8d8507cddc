"""prices.yaml before a real server: what calls are charged, and that a wrong file stops the start."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.calls import chat_body, post
from tests.support.process import LedgerCall, ScriptedProvider, Spendgate, config_for
from tests.support.script import Script

INPUT, OUTPUT = 10, 5
PRICES = """\
version: 1
currency: EUR
usd_per_unit: 2
prices:
  - {provider: openai, model: gpt-4o-mini, per_1m: {input: 50, output: 200}}
  - {provider: openai, model: gpt-4o-mini, from: 2020-01-01, until: 2021-01-01, per_1m: {input: 1, output: 1}}
  - {provider: openai, model: gpt-4o-mini, from: 2199-01-01, per_1m: {input: 1, output: 1}}
  - {provider: openai, model: "*", per_1m: {input: 30, output: 40}}
discounts:
  - {provider: openai, models: [gpt-4o], percent: 15}
aliases:
  our-deployment: gpt-4.1-mini
"""
VERSION = "prices.yaml@"


@pytest.fixture(scope="module")
def overridden(
    tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider
) -> Iterator[tuple[Spendgate, str]]:
    folder = tmp_path_factory.mktemp("overridden")
    (folder / "prices.yaml").write_text(PRICES)
    with Spendgate(folder, config_for(provider.url, prices_file="prices.yaml")) as started:
        yield started, started.key("priced")


async def charged(overridden: tuple[Spendgate, str], tag: str, model: str, served: str = "") -> LedgerCall:
    """One call to the scripted provider, which says `served`, as it stands in the ledger."""
    spendgate, key = overridden
    script = Script(tag=tag, model=served or model)
    reply = await post(spendgate.url, key, script, chat_body(INPUT, model=model, max_tokens=OUTPUT))
    assert reply.status == 200, reply.body
    return spendgate.call(tag)


async def test_a_call_is_charged_at_the_override_in_force_and_its_row_tells_so(
    overridden: tuple[Spendgate, str], tag: str
) -> None:
    row = await charged(overridden, tag, "gpt-4o-mini")

    assert row.nanos == INPUT * 100_000 + OUTPUT * 400_000  # 50 and 200 EUR a million, at two dollars
    assert row.basis == "reported"
    assert row["price_version"].startswith(VERSION)
    assert row["price_version"].endswith("/openai/gpt-4o-mini@start")


async def test_the_override_holds_for_the_snapshot_that_was_served(
    overridden: tuple[Spendgate, str], tag: str
) -> None:
    row = await charged(overridden, tag, "gpt-4o-mini", served="gpt-4o-mini-2024-07-18")

    assert row.nanos == INPUT * 100_000 + OUTPUT * 400_000
    assert row.flags == []


async def test_a_discount_is_taken_from_the_catalogues_price(
    overridden: tuple[Spendgate, str], tag: str
) -> None:
    row = await charged(overridden, tag, "gpt-4o")

    assert row.nanos == INPUT * 2_125 + OUTPUT * 8_500
    assert "/-15%/openai/gpt-4o@" in row["price_version"]


async def test_an_alias_is_priced_as_its_model(overridden: tuple[Spendgate, str], tag: str) -> None:
    row = await charged(overridden, tag, "our-deployment", served="gpt-4.1-mini")

    assert row.nanos == INPUT * 400 + OUTPUT * 1_600
    assert row.flags == []


async def test_a_model_that_nobody_knows_costs_what_the_star_says(
    overridden: tuple[Spendgate, str], tag: str
) -> None:
    """Without it: the dearest of its provider, and the flag unknown_price."""
    row = await charged(overridden, tag, "nobody-knows", served="gpt-4o-mini-made-up")

    assert row["price_version"].endswith("/openai/*@start")
    assert row.nanos == INPUT * 60_000 + OUTPUT * 80_000
    assert "unknown_price" not in row.flags


async def test_a_name_near_an_alias_is_helped_out(
    provider: ScriptedProvider, tmp_path: Path, tag: str
) -> None:
    (tmp_path / "prices.yaml").write_text("version: 1\naliases: {our-deployment: gpt-4o-mini}\n")
    config = config_for(provider.url, prices_file="prices.yaml", unknown_model="deny")
    with Spendgate(tmp_path, config) as strict:
        reply = await post(
            strict.url, strict.key("a"), Script(tag=tag), chat_body(INPUT, model="our-deploymnet")
        )

    assert (reply.status, reply.json()["error"]["code"]) == (403, "unknown_model")
    assert 'Did you mean "our-deployment"?' in reply.json()["error"]["message"]


# -- wrong files ------------------------------------------------------------------------------------------------------

WRONG = """\
version: 1
prices:
  - {provider: opnai, model: gpt-4o, per_1m: {input: 1, output: 1}}
discounts:
  - {provider: openai, percent: 10}
  - {provider: openai, percent: 20}
"""


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "proxy.cli", *words, "-c", str(folder / "config.yaml")]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, timeout=30)


@pytest.mark.parametrize(("command", "code"), [("serve", 2), ("check", 1)])
def test_a_wrong_file_stops_the_start_with_every_problem_and_check_tells_the_same(
    tmp_path: Path, command: str, code: int
) -> None:
    Spendgate(tmp_path, config_for("http://127.0.0.1:1", prices_file="prices.yaml")).prepare()
    (tmp_path / "prices.yaml").write_text(WRONG)

    done = run(tmp_path, command)

    assert done.returncode == code
    assert "prices.yaml: 2 problems" in done.stderr
    assert 'line 3  prices[0].provider: "opnai" is nobody whose prices are asked for' in done.stderr
    assert 'line 6  discounts[1]: "*" and "*" of discounts[0] cover the same models' in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists() or not any((tmp_path / "data").iterdir())


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    Spendgate(tmp_path, config_for("http://127.0.0.1:1", prices_file="none.yaml")).prepare()

    done = run(tmp_path, "serve")

    assert done.returncode == 2
    assert "none.yaml: 1 problem\n  cannot be read" in done.stderr
    assert "take prices_file out" in done.stderr


def test_check_sums_up_a_good_file(tmp_path: Path) -> None:
    Spendgate(tmp_path, config_for("http://127.0.0.1:1", prices_file="prices.yaml")).prepare()
    (tmp_path / "prices.yaml").write_text(PRICES)

    done = run(tmp_path, "check")

    assert done.returncode == 0
    assert "prices.yaml: 4 prices, 1 discounted pattern, 1 alias; version prices.yaml@" in done.stderr
    assert f"prices_file: {tmp_path / 'prices.yaml'}" in done.stdout
