"""`spendgate prices`: what models cost, and newer prices for them."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pricing import catalog
from proxy import cli, clock
from proxy.config import load_config, load_prices
from proxy.snapshots import FOLDER
from tests.support.client import ask
from tests.support.process import Spendgate

PRICES = """\
version: 1
prices:
  - {provider: openai, model: gpt-4o-mini, per_1m: {input: 7, output: 9}}
"""
NEW = clock.now().date().isoformat()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a provider of its own name that has OpenAI's prices."""
    providers = {
        "ours": {
            "dialect": "openai",
            "base_url": "https://example.com/v1",
            "api_key": "k",
            "price_provider": "openai",
        }
    }
    config: dict[str, Any] = {"version": 1, "providers": providers, "default_provider": "ours"}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    (tmp_path / "config.yaml").chmod(0o600)
    return tmp_path


def run(folder: Path, *words: str, typed: str = "") -> Result:
    command = ["prices", *words, "-c", str(folder / "config.yaml")]
    return CliRunner().invoke(cli.spendgate, command, input=typed)


def other(folder: Path, model: str, **rates: int) -> Path:
    """A catalogue file of OpenAI's with other rates for a model."""
    file = catalog.read()["openai"]
    file["checked"] = NEW
    entry = next(each for each in file["models"] if each["id"] == model)
    entry["prices"][-1]["standard"]["rates"].update(rates)
    path = folder / "openai.json"
    path.write_text(json.dumps(file))
    return path


def found(folder: Path, *words: str) -> Any:
    done = run(folder, "find", *words, "--format", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


# -- looking ----------------------------------------------------------------------------------------------------------


def test_a_provider_of_the_configuration_has_the_prices_of_the_one_it_names(folder: Path) -> None:
    (row,) = found(folder, "gpt-4o-mini-2024-07-18", "--provider", "ours")
    shown = run(folder, "find", "gpt-4o-mini-2024-07-18", "--provider", "ours").stdout

    assert (row["provider"], row["model"]) == ("openai", "gpt-4o-mini")
    assert row["rates"][:2] == [
        {"class": "input", "usd": "0.15", "per": "1M"},
        {"class": "output", "usd": "0.6", "per": "1M"},
    ]
    for words in (row["version"], "gpt-4o-mini-2024-07-18", "context 128000", "cache_read", "batch"):
        assert words in shown


def test_without_a_provider_every_one_that_knows_the_name_is_shown(folder: Path) -> None:
    rows = found(folder, "gpt-4o-mini")

    assert {"openai", "azure", "github-copilot"} <= {row["provider"] for row in rows}


def test_a_price_of_the_prices_file_goes_first(folder: Path) -> None:
    config = json.loads((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(json.dumps({**config, "prices_file": "prices.yaml"}))
    (folder / "prices.yaml").write_text(PRICES)

    (row,) = found(folder, "gpt-4o-mini", "--provider", "openai")

    assert (row["source"], row["rates"][0]["usd"]) == ("prices_file", "7")
    assert row["version"].startswith("prices.yaml@")


def test_a_name_that_nobody_knows_ends_with_the_nearest(folder: Path) -> None:
    done = run(folder, "find", "gpt-4o-minny", "--provider", "openai")

    assert done.exit_code == 1
    assert "no price is known for gpt-4o-minny of openai" in done.stderr
    assert "did you mean gpt-4o-mini?" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("find", "gpt-4o", "--provider", "nobody"), 1, "no provider nobody has prices"),
        (("find", "gpt-4o", "--at", "someday"), 2, "is no instant"),
        (("show", "--provider", "nobody"), 1, "no provider nobody has prices"),
    ],
)
def test_wrong_words_are_told(folder: Path, words: tuple[str, ...], code: int, told: str) -> None:
    done = run(folder, *words)

    assert (done.exit_code, done.stdout) == (code, "")
    assert told in done.stderr


def test_the_models_of_a_provider_are_listed_with_their_prices(folder: Path) -> None:
    rows = json.loads(run(folder, "show", "--provider", "anthropic", "--format", "json").stdout)
    lines = run(folder, "show", "--provider", "anthropic", "--format", "csv").stdout
    by_model = {row["model"]: row for row in csv.DictReader(io.StringIO(lines))}

    assert len(rows) == len(by_model) == len(catalog.read()["anthropic"]["models"])
    assert by_model["claude-2"]["input_usd"] == "8"
    assert by_model["claude-2"]["checked"] == catalog.read()["anthropic"]["checked"]


def test_without_a_configuration_the_catalogue_alone_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPENDGATE_CONFIG", raising=False)

    done = CliRunner().invoke(cli.spendgate, ["prices", "show", "--format", "json"])

    assert done.exit_code == 0
    assert len(json.loads(done.stdout)) == len(catalog.read())
    assert "the built-in catalogue" in done.stderr


# -- newer prices -----------------------------------------------------------------------------------------------------


def test_a_difference_is_told_with_its_percentage(folder: Path) -> None:
    done = run(folder, "diff", str(other(folder, "gpt-4o-mini", input=180_000_000)), "--format", "json")

    assert done.exit_code == 0
    (row,) = json.loads(done.stdout)
    assert (row["model"], row["rate"], row["percent"]) == ("gpt-4o-mini", "input", "+20.0")


def test_a_doubtful_rate_fails_the_difference(folder: Path) -> None:
    done = run(folder, "diff", str(other(folder, "gpt-4o-mini", input=0)))

    assert done.exit_code == 1
    assert "zero where it was not" in done.stdout


def test_taken_prices_are_those_of_the_next_start(folder: Path) -> None:
    path = other(folder, "gpt-4o-mini", input=180_000_000)

    done = run(folder, "sync", "--from", str(path), "--yes")
    again = run(folder, "sync", "--from", str(path), "--yes")

    assert done.exit_code == 0, done.output
    assert "+20.0" in done.stdout
    (now,) = found(folder, "gpt-4o-mini", "--provider", "openai")
    (then,) = found(folder, "gpt-4o-mini", "--provider", "openai", "--at", "2d")
    assert (now["rates"][0]["usd"], then["rates"][0]["usd"]) == ("0.18", "0.15")
    assert then["until"] == now["from"]
    assert load_prices(load_config(folder / "config.yaml", {})).find("anthropic", "claude-2", clock.now())
    assert (again.exit_code, "Nothing is new" in again.stderr) == (0, True)
    assert len(list((folder / "data" / FOLDER).iterdir())) == 1


@pytest.mark.parametrize(
    ("rates", "words", "typed", "told"),
    [
        ({"input": 180_000_000}, (), "n\n", "Aborted"),
        ({"input": 0}, ("--yes",), "", "some rates are doubtful"),
        ({"input": -1}, (), "y\n", "no price is negative"),
    ],
    ids=["refused", "doubtful", "negative"],
)
def test_nothing_is_taken_that_nobody_wants(
    folder: Path, rates: dict[str, int], words: tuple[str, ...], typed: str, told: str
) -> None:
    path = other(folder, "gpt-4o-mini", **rates)

    done = run(folder, "sync", "--from", str(path), *words, typed=typed)

    assert done.exit_code == 1
    assert told in done.stderr
    assert not (folder / "data" / FOLDER).exists()


def test_a_doubtful_rate_is_taken_by_who_sees_it_and_says_yes(folder: Path) -> None:
    done = run(folder, "sync", "--from", str(other(folder, "gpt-4o-mini", input=0)), typed="y\n")

    assert done.exit_code == 0
    assert found(folder, "gpt-4o-mini", "--provider", "openai")[0]["rates"][0]["usd"] == "0"


@pytest.mark.parametrize(
    ("checked", "told"), [("2020-01-01", "older than those here"), ("2199-01-01", "checked in the future")]
)
def test_prices_of_the_wrong_time_are_refused(folder: Path, checked: str, told: str) -> None:
    path = other(folder, "gpt-4o-mini", input=180_000_000)
    path.write_text(path.read_text().replace(NEW, checked))

    done = run(folder, "sync", "--from", str(path), "--yes")

    assert done.exit_code == 1
    assert told in done.stderr
    assert not (folder / "data" / FOLDER).exists()


@pytest.mark.parametrize("name", ["nowhere.json", "."])
def test_a_source_that_is_not_there_is_told(folder: Path, name: str) -> None:
    (folder / "empty").mkdir()

    done = run(folder, "sync", "--from", str(folder / "empty" / name))

    assert (done.exit_code, done.stdout) == (2, "")
    assert "cannot be read" in done.stderr or "has no *.json file in it" in done.stderr


def test_the_installed_genai_prices_are_a_source(folder: Path) -> None:
    done = run(folder, "sync", "--from", "genai-prices", typed="n\n")

    assert "0 models added, 0 gone, 0 rates changed" in done.stderr


def test_a_snapshot_that_cannot_be_read_stops_every_use_of_it(folder: Path) -> None:
    (folder / "data" / FOLDER).mkdir(parents=True)
    (folder / "data" / FOLDER / "20990101T000000.json").write_text("{")

    done = run(folder, "find", "gpt-4o")

    assert done.exit_code == 2
    assert "20990101T000000.json: 1 problem" in done.stderr


async def test_the_admin_api_tells_the_same_to_every_control_key(spendgate: Spendgate, folder: Path) -> None:
    viewer = spendgate.run("keys", "create", "--role", "viewer").split()[-1]

    async def asked(query: str, *headers: tuple[str, str]) -> tuple[int, Any]:
        answer = await ask(spendgate.admin_url, "GET", f"/api/v1/pricing{query}", list(headers))
        return answer.status, json.loads(answer.body)

    ours = ("Authorization", f"Bearer {viewer}")
    status, one = await asked("?model=gpt-4o-mini&provider=openai&at=2026-07-01", ours)
    assert (status, one["prices"]) == (
        200,
        found(folder, "gpt-4o-mini", "--provider", "openai", "--at", "2026-07-01"),
    )
    status, every = await asked("?provider=anthropic", ours)
    assert "claude-2" in {row["model"] for row in every["models"]}
    status, makers = await asked("", ours)
    assert {row["provider"] for row in makers["providers"]} == set(catalog.read())
    for query, wanted, code in (
        ("?model=gpt-4o-minny&provider=openai", 404, "unknown_model"),
        ("?provider=nobody", 404, "unknown_provider"),
        ("?model=gpt-4o&at=someday", 400, "invalid_request"),
        ("?modle=gpt-4o", 400, "invalid_request"),
    ):
        status, refused = await asked(query, ours)
        assert (status, refused["error"]["code"]) == (wanted, code)
    assert (await asked(""))[0] == 401
