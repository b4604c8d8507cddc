"""Prices from an address: taken by a command, and by a running server by itself."""

import gzip
import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from click.testing import CliRunner, Result
from yarl import URL

from pricing import catalog
from pricing.money import nanos
from proxy import cli, clock, fetch, snapshots
from proxy.admin import price_sources
from proxy.snapshots import FOLDER
from tests.support.calls import chat_body, post
from tests.support.pages import Page, Pages
from tests.support.plugin import install_page
from tests.support.process import ScriptedProvider, Spendgate, config_for, wait_for
from tests.support.script import Script

INPUT, OUTPUT = 10, 5
HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto"
TODAY = clock.now().date().isoformat()


@pytest.fixture
def pages() -> Iterator[Pages]:
    with Pages() as served:
        yield served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("version: 1\n")
    return tmp_path


def document(*, checked: str = TODAY, model: str = "gpt-4o-mini", **rates: int) -> bytes:
    """OpenAI's file with other rates for a model."""
    file = catalog.read()["openai"]
    file["checked"] = checked
    entry = next(each for each in file["models"] if each["id"] == model)
    entry["prices"][-1]["standard"]["rates"].update(rates)
    return json.dumps(file).encode()


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli.spendgate, ["prices", *words, "-c", str(folder / "config.yaml")])


def taken(folder: Path) -> bool:
    return (folder / "data" / FOLDER).exists()


# -- by a command -----------------------------------------------------------------------------------------------------


def test_prices_of_an_address_are_shown_and_taken(folder: Path, pages: Pages) -> None:
    pages.page = Page(document(input=180_000_000))

    shown = run(folder, "diff", "--from", f"{pages.url}?signature=abc", "--format", "json")
    done = run(folder, "sync", "--from", pages.url, "--yes")

    assert (shown.exit_code, done.exit_code) == (0, 0), shown.output + done.output
    assert [row["percent"] for row in json.loads(shown.stdout)] == ["+20.0"]
    found = run(folder, "find", "gpt-4o-mini", "--provider", "openai", "--format", "json").stdout
    assert json.loads(found)[0]["rates"][0]["usd"] == "0.18"
    assert pages.asked == ["/prices.json?signature=abc", "/prices.json"]


def test_a_redirect_is_followed(folder: Path, pages: Pages) -> None:
    with Pages() as second:
        second.page = Page(document(input=180_000_000))
        pages.page = Page(status=302, headers={"Location": second.url})

        done = run(folder, "sync", "--from", pages.url, "--yes")

    assert done.exit_code == 0, done.output
    assert taken(folder)


FAULTS = {
    "not there": (Page(b"no", status=404), 1, "answered 404"),
    "not JSON": (Page(b"<html>"), 2, "is not JSON"),
    "another form": (Page(b'{"provider": "openai"}'), 2, "Field required"),
    "cut": (Page(b"[]", length=1000), 1, "gave no whole answer"),
    "compressed": (Page(gzip.compress(b"[]"), headers={"Content-Encoding": "gzip"}), 1, "uncompressed"),
    "too large": (Page(b" " * 3_000), 1, "is larger than 2000 bytes"),
    "hanging": (Page(hangs=True), 1, "gave no whole answer in 0.3 s"),
    "in circles": (Page(status=302, headers={"Location": "/prices.json"}), 1, "redirects more than 3 times"),
    "in the clear": (
        Page(status=302, headers={"Location": "http://example.com/"}),
        1,
        "redirects to plain http",
    ),
    "elsewhere": (Page(status=302, headers={"Location": "file:///etc/passwd"}), 1, "redirects to what"),
}


@pytest.mark.parametrize(("page", "code", "told"), FAULTS.values(), ids=FAULTS)
def test_of_a_faulty_answer_nothing_is_taken(
    folder: Path, pages: Pages, monkeypatch: pytest.MonkeyPatch, page: Page, code: int, told: str
) -> None:
    monkeypatch.setattr(snapshots, "BYTES_MAX", 2_000)
    monkeypatch.setattr(price_sources, "FETCH_SECONDS", 0.3)
    pages.page = page

    done = run(folder, "sync", "--from", f"{pages.url}?signature=secret", "--yes")

    assert (done.exit_code, taken(folder)) == (code, False)
    assert told in done.stderr
    assert "prices.json" in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"input": -1}, "no price is negative"),
        ({"input": 0}, "some rates are doubtful"),
        ({"checked": "2020-01-01"}, "older than those here"),
        ({"checked": "2199-01-01"}, "checked in the future"),
    ],
)
def test_prices_that_cannot_be_right_are_not_taken(
    folder: Path, pages: Pages, change: dict[str, Any], told: str
) -> None:
    pages.page = Page(document(**change))

    done = run(folder, "sync", "--from", pages.url, "--yes")

    assert (done.exit_code, taken(folder)) == (1, False)
    assert told in done.stderr


def test_a_failure_to_connect_is_tried_again_and_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries, get = [], ClientSession.get

    def counted(session: ClientSession, url: URL, **options: Any) -> Any:
        tries.append(url)
        return get(session, url, **options)

    monkeypatch.setattr(ClientSession, "get", counted)
    monkeypatch.setattr(fetch, "PAUSE_SECONDS_MAX", 0.01)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/prices.json"
        done = run(folder, "sync", "--from", url, "--yes")

    assert (done.exit_code, taken(folder)) == (1, False)
    assert f"{url} cannot be connected to" in done.stderr
    assert "check the address" in done.stderr
    assert len(tries) == fetch.TRIES


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://example.com/prices.json", "is no http or https URL"),
        ("https://user:secret@example.com/", "holds a user or password"),
    ],
)
def test_an_address_that_is_none_is_told(folder: Path, url: str, told: str) -> None:
    done = run(folder, "sync", "--from", url, "--yes")

    assert (done.exit_code, told in done.stderr, "secret" in done.stderr) == (1, True, False)


def test_plain_http_to_another_machine_is_warned_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(url: str, **_: Any) -> bytes:
        raise fetch.NotFetched(url, "is not asked in a test")

    monkeypatch.setattr(price_sources, "fetch", nothing)

    assert "use https" in run(folder, "sync", "--from", "http://example.com/prices.json").stderr
    assert "use https" not in run(folder, "sync", "--from", "https://example.com/prices.json").stderr


@pytest.mark.parametrize("words", [(), ("a.json", "--from", "b.json")])
def test_one_catalogue_is_compared_with(folder: Path, words: tuple[str, ...]) -> None:
    done = run(folder, "diff", *words)

    assert (done.exit_code, "name one catalogue" in done.stderr) == (2, True)


# -- by a server ------------------------------------------------------------------------------------------------------


PRICES = """\
version: 1
prices:
  - {provider: openai, model: gpt-4.1-mini, per_1m: {input: 7, output: 9}}
"""
FETCHED = INPUT * 180 + OUTPUT * 600
BUILT_IN = INPUT * 150 + OUTPUT * 600
OVERRIDE = INPUT * 7_000 + OUTPUT * 9_000


async def test_a_server_fetches_prices_and_keeps_the_last_good_ones(
    tmp_path: Path, provider: ScriptedProvider, pages: Pages
) -> None:
    """Without a source: those that come along. With a faulty one, over a restart: those that were fetched last."""
    (tmp_path / "prices.yaml").write_text(PRICES)
    prices = {"url": f"{pages.url}?signature=secret", "ttl_seconds": 1}
    config = config_for(provider.url, prices=prices, prices_file="prices.yaml")
    pages.page = Page(status=503)
    with Spendgate(tmp_path, config) as server:
        key, viewer = server.key("fed"), server.run("keys", "create", "--role", "viewer").split()[-1]

        failures_after(server, 0)
        assert await charged(server, key, "before") == BUILT_IN

        pages.page = Page(both(input=180_000_000))
        wait_for("the new price", lambda: price(server, viewer) == "0.18" or None)
        assert await charged(server, key, "after") == FETCHED
        assert f"@{TODAY}#" in server.call("after")["price_version"]
        assert await charged(server, key, "own", "gpt-4.1-mini") == OVERRIDE
        assert details(server)["fetched"] is True

        for faulty in (b"<html>", document(input=0)):
            pages.page = Page(faulty)
            failures_after(server, failures(server))
            assert price(server, viewer) == "0.18"
        assert await charged(server, key, "meanwhile") == FETCHED
        assert "spendgate_prices_age_seconds{source=" in metrics(server)
        assert b"secret" not in server.log.read_bytes()

        pages.page = Page(status=503)
        server.kill()
        server.start()
        assert await charged(server, key, "again") == FETCHED
        then = json.loads(server.run("prices", "find", "gpt-4o-mini", "--provider", "openai", "--at", "2d",
                                     "--format", "json"))  # fmt: skip
        assert then[0]["rates"][0]["usd"] == "0.15"


def both(*, input: int) -> bytes:  # noqa: A002 - the rate's name
    """The prices of two models, of which one has a price of its own in prices.yaml."""
    file = json.loads(document(input=input))
    entry = next(each for each in file["models"] if each["id"] == "gpt-4.1-mini")
    entry["prices"][-1]["standard"]["rates"]["input"] += 1_000_000
    return json.dumps(file).encode()


async def charged(server: Spendgate, key: str, tag: str, model: str = "gpt-4o-mini") -> int:
    body = chat_body(INPUT, model=model, max_tokens=OUTPUT)
    reply = await post(server.url, key, Script(tag=tag, model=model), body)
    assert reply.status == 200, reply.body
    return nanos(Decimal(reply.header("x-spendgate-cost-usd") or ""))


def got(url: str, *, bearer: str = "") -> str:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
        return str(answer.read().decode())


def price(server: Spendgate, viewer: str) -> str:
    """What gpt-4o-mini's input costs, of a call that comes now."""
    page = got(f"{server.admin_url}/api/v1/pricing?model=gpt-4o-mini&provider=openai", bearer=viewer)
    return str(json.loads(page)["prices"][0]["rates"][0]["usd"])


def details(server: Spendgate) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(got(f"{server.url}/ready"))["prices"]
    return found


def metrics(server: Spendgate) -> str:
    return got(f"{server.admin_url}/metrics")


def failures(server: Spendgate) -> int:
    found = re.search(
        r"^spendgate_prices_fetch_failures_total{[^}]*} ([0-9]+)", metrics(server), re.MULTILINE
    )
    return int(found[1]) if found else 0


def failures_after(server: Spendgate, count: int) -> None:
    wait_for("a fetch to fail", lambda: failures(server) > count or None)


async def test_plug_ins_give_a_server_prices_and_counts(
    tmp_path: Path, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the two pages about them show it."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    for page in ("price-source.md", "estimator.md"):
        install_page(monkeypatch, plugins, HOWTO / page)
    monkeypatch.setenv("PYTHONPATH", str(plugins))
    config = config_for(provider.url, prices={"source": "acme"}, estimators={"gpt-4o-*": "acme"})
    with Spendgate(tmp_path / "server", config) as server:
        key = server.key("fed")
        wait_for("the prices", lambda: details(server)["fetched"] or None)

        assert await charged(server, key, "counted") == BUILT_IN
        assert server.call("counted")["estimate_basis"].startswith("estimator acme, ")
        found = server.run("prices", "find", "acme-small", "--provider", "acme", "--format", "json")
        assert json.loads(found)[0]["origin"].startswith("the price list of acme")
