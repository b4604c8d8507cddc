"""The prices that come with Spendgate: data files with their source, and how they become a price book.

Prices come from genai-prices (MIT). Context and output limits are facts of two public tables; where these disagree,
the larger output limit stands, because a ceiling must not be too low. The files are read whole at the start, so that a
running server never mixes two releases; the objects of a model are made when it is first asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from hashlib import sha256
from pathlib import Path
from typing import Any, overload

import orjson

from pricing.book import Entry, PriceBook, Source, by_name_only
from pricing.catalog.match import LazyMatcher
from pricing.price import EVERY_DAY, Price, Rates, Tariff, Tier, Window

FOLDER = Path(__file__).parent
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)

Dated = tuple[datetime, Price]


def load() -> PriceBook:
    """Every provider's file. Raises KeyError where a file is not what the converter writes."""
    return book(read().values())


def read(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """The files of a folder as they stand, by provider."""
    files = [orjson.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    return {data["provider"]: data for data in files}


def book(files: Iterable[Mapping[str, Any]]) -> PriceBook:
    files = list(files)
    return PriceBook(
        [entry(data["provider"], model) for data in files for model in data["models"]],
        fallbacks={data["provider"]: data["sells_models_of"] for data in files if "sells_models_of" in data},
        aliases={alias: data["provider"] for data in files for alias in data.get("aliases", ())},
        sources={data["provider"]: _source(data) for data in files},
    )


def _source(data: Mapping[str, Any]) -> Source:
    return Source(data["source"], date.fromisoformat(data["checked"]), tuple(data.get("pricing_urls", ())))


def entry(provider: str, model: Mapping[str, Any]) -> Entry:
    match = model.get("match")
    return Entry(
        provider,
        model["id"],
        by_name_only if match is None else LazyMatcher(match),
        _Prices(provider, model),
        tuple(model.get("names", ())),
    )


class _Prices(Sequence[Dated]):
    """A model's prices from the newest start to the oldest, made from the file's data when they are first wanted.
    Raises TypeError or KeyError then, where the data is not what the converter writes."""

    __slots__ = ("_data", "_made", "_provider")

    def __init__(self, provider: str, model: Mapping[str, Any]) -> None:
        self._provider, self._data = provider, model
        self._made: tuple[Dated, ...] | None = None

    @overload
    def __getitem__(self, index: int) -> Dated: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Dated, ...]: ...
    def __getitem__(self, index: int | slice) -> Dated | tuple[Dated, ...]:
        if self._made is None:
            made = [
                (_instant(each["from"]), _price(self._provider, self._data, each))
                for each in self._data["prices"]
            ]
            self._made = tuple(sorted(made, key=lambda dated: dated[0], reverse=True))
        return self._made[index]

    def __len__(self) -> int:
        return len(self._data["prices"])


def _instant(date: str | None) -> datetime:
    return ALWAYS if date is None else datetime.fromisoformat(date).replace(tzinfo=UTC)


def _price(
    provider: str, model: Mapping[str, Any], holder: Mapping[str, Any], *, start: str | None = None
) -> Price:
    """Of one period, or of one window in it, which starts with the period."""
    since = start or holder["from"] or "start"
    at = f"{since}T{holder['from']}" if start else since
    digest = sha256(orjson.dumps(holder, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]
    return Price(
        provider=provider,
        model=model["id"],
        version=f"{provider}/{model['id']}@{at}#{digest}",
        standard=_tariff(holder["standard"]),
        variants={name: _tariff(tariff) for name, tariff in holder.get("variants", {}).items()},
        context_tokens=model.get("context"),
        output_tokens_max=model.get("max_output"),
        windows=tuple(_window(provider, model, each, since) for each in holder.get("windows", ())),
        audio_seconds_min=model.get("audio_seconds_min", 0),
    )


def _window(provider: str, model: Mapping[str, Any], data: Mapping[str, Any], since: str) -> Window:
    return Window(
        time.fromisoformat(data["from"]),
        time.fromisoformat(data["until"]),
        _price(provider, model, data, start=since),
        frozenset(data["days"]) if "days" in data else EVERY_DAY,
    )


def _tariff(data: Mapping[str, Any]) -> Tariff:
    tiers = tuple(Tier(each["above"], Rates(**each["rates"])) for each in data.get("tiers", ()))
    return Tariff(Rates(**data["rates"]), tiers)
