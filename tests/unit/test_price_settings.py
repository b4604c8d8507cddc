"""`prices` and `estimators` of config.yaml: off by default, one source, and nothing that is not installed."""

from pathlib import Path

import pytest

from pricing.document import DocumentError
from proxy.config import LoadedConfig, load_config, redacted
from proxy.plugins import ESTIMATORS, PRICE_SOURCES
from tests.support.plugin import install


def load(folder: Path, text: str) -> LoadedConfig:
    file = folder / "config.yaml"
    file.write_text(f"version: 1\nproviders: {{a: {{dialect: openai, base_url: 'https://h/v1'}}}}\n{text}\n")
    return load_config(file, {})


@pytest.mark.parametrize("text", ["", "prices:", "prices: {url: '${NO_URL:-}'}", "prices: {ttl_seconds: 60}"])
def test_nothing_is_fetched_unless_a_source_is_named(tmp_path: Path, text: str) -> None:
    assert not load(tmp_path, text).config.prices.is_on


def test_an_address_is_fetched_each_hour_and_its_query_is_not_shown(tmp_path: Path) -> None:
    config = load(tmp_path, "prices: {url: 'https://example.com/p.json?signature=secret'}").config

    assert (config.prices.is_on, config.prices.ttl_seconds) == (True, 3600)
    assert redacted(config)["prices"]["url"] == "https://example.com/p.json"


def test_an_address_that_anybody_in_between_could_answer_for_is_warned_of(tmp_path: Path) -> None:
    assert load(tmp_path, "prices: {url: 'http://127.0.0.1:8000/p.json'}").warnings == ()
    (warning,) = load(tmp_path, "prices: {url: 'http://example.com/p.json'}").warnings
    assert warning == "prices.url: whoever stands in between sets the prices; use https"


def test_an_installed_plug_in_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path, PRICE_SOURCES, "", name="lists")
    install(monkeypatch, tmp_path, ESTIMATORS, "", name="counts")

    config = load(tmp_path, "prices: {source: lists}\nestimators: {'acme-*': counts}").config

    assert (config.prices.is_on, dict(config.estimators)) == (True, {"acme-*": "counts"})
    with pytest.raises(DocumentError, match='"list" is no price source; did you mean "lists"'):
        load(tmp_path, "prices: {source: list}")
    with pytest.raises(DocumentError, match="stands beside url; keep one of the two"):
        load(tmp_path, "prices: {url: 'https://example.com/', source: lists}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prices: {url: 'https://user:secret@example.com/'}", "holds a user or password"),
        ("prices: {url: 'example.com/p.json'}", "is no http or https URL"),
        ("prices: {url: 'https://example.com/#secret'}", "has a fragment"),
        ("prices: {source: nobody}", "no plug-in of the group spendgate.price_sources is installed"),
        ("estimators: {'acme-*': nobody}", "no plug-in of the group spendgate.estimators is installed"),
        ("prices: {ttl_seconds: 0}", "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_fetched_from_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DocumentError, match=told) as raised:
        load(tmp_path, text)
    assert "secret" not in str(raised.value)
