"""Catalogue files that are newer than those that come with Spendgate: their form, and the snapshot in the data folder.

A snapshot is one file with the files of one or more providers in it, put in place by a rename: a start sees all of it
or nothing of it. The newest by name is read; the older ones stay, and taking the newest away goes back to them.
"""

import os
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pricing import catalog
from pricing.catalog.match import matcher
from pricing.document import DocumentError, Problem, path_of
from pricing.rates import Rates

FOLDER = "catalog"
BY_ITSELF = ".fetched.json"  # how the names of a server's own snapshots end
KEPT_BY_ITSELF = 10
BYTES_MAX = 32 << 20  # thirty times what comes with Spendgate
RATE_MAX = 10**15  # a million dollars for a million tokens
RATE_NAMES = frozenset(Rates.__dataclass_fields__)
PROBLEMS_SHOWN = 20

File = dict[str, Any]
Files = Mapping[str, File]
"""By provider, in the form of `pricing/catalog/*.json`."""


def _known_rates(rates: dict[str, int]) -> dict[str, int]:
    unknown = sorted(rates.keys() - RATE_NAMES)
    if unknown:
        raise ValueError(f"no rate is called {', '.join(unknown)[:80]}")
    return rates


def _a_date(text: str) -> str:
    return date.fromisoformat(text).isoformat()


def _a_minute(text: str) -> str:
    return time.fromisoformat(text).strftime("%H:%M")


def _a_clause(clause: dict[str, Any]) -> dict[str, Any]:
    try:
        matcher(clause)
    except Exception as error:  # of any kind: a clause is data of somebody else's, down to its patterns
        raise ValueError(f"cannot be matched with: {error}") from error
    return clause


Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x20A-Z][^\x00-\x1fA-Z]*$")]
Day = Annotated[str, AfterValidator(_a_date)]
Minute = Annotated[str, AfterValidator(_a_minute)]
Amounts = Annotated[dict[str, Annotated[int, Field(ge=-RATE_MAX, le=RATE_MAX)]], AfterValidator(_known_rates)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Tier(_Strict):
    above: Annotated[int, Field(gt=0)]
    rates: Amounts


class _Tariff(_Strict):
    rates: Amounts
    tiers: list[_Tier] = []


class _Window(_Strict):
    start: Minute = Field(alias="from")
    until: Minute
    days: list[Annotated[int, Field(ge=1, le=7)]] | None = None
    standard: _Tariff
    variants: dict[str, _Tariff] = {}


class _Period(_Strict):
    start: Day | None = Field(alias="from")
    standard: _Tariff
    variants: dict[str, _Tariff] = {}
    windows: list[_Window] = []


class _Model(_Strict):
    id: Name
    names: list[Name] = []
    match: Annotated[dict[str, Any], AfterValidator(_a_clause)] | None = None
    context: Annotated[int, Field(gt=0)] | None = None
    max_output: Annotated[int, Field(gt=0)] | None = None
    audio_seconds_min: Annotated[int, Field(ge=0)] = 0
    prices: Annotated[list[_Period], Field(min_length=1)]


class _File(_Strict):
    provider: Name
    source: Annotated[str, Field(max_length=500)]
    checked: Day
    pricing_urls: list[str] = []
    aliases: list[Name] = []
    sells_models_of: list[Name] = []
    models: list[_Model]


def read_files(path: Path) -> Files:
    """A catalogue file, or a folder of them. Raises DocumentError with what is wrong."""
    if not path.is_dir():
        return parse(_bytes(path), path.name)
    files = [parse(_bytes(each), each.name) for each in sorted(path.glob("*.json"))]
    if not files:
        raise DocumentError(path.name, (Problem("", "has no *.json file in it", "name a catalogue file"),))
    return {provider: file for each in files for provider, file in each.items()}


def parse(content: bytes, name: str) -> Files:
    """One provider's file, or a list of such. Raises DocumentError with what is wrong."""
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DocumentError(name, (Problem("", f"is not JSON: {error}"),)) from error
    found = data if isinstance(data, list) else [data]
    problems = tuple(chain.from_iterable(_problems(each) for each in found))
    files = {} if problems else {each["provider"]: each for each in found}
    if not problems and not 0 < len(files) == len(found):
        problems = (Problem("", "has no provider in it, or one of them twice", "name each once"),)
    if problems:
        raise DocumentError(name, problems[:PROBLEMS_SHOWN])
    return files


def in_force(data_dir: Path) -> Files:
    """What comes with Spendgate, and for each provider the snapshot's file where that is no older."""
    own, path = catalog.read(), newest(data_dir)
    if path is None:
        return own
    later = {
        provider: file
        for provider, file in parse(_bytes(path), path.name).items()
        if provider not in own or file["checked"] >= own[provider]["checked"]
    }
    return {**own, **later}


def newest(data_dir: Path) -> Path | None:
    return max((data_dir / FOLDER).glob("*.json"), key=lambda path: path.name, default=None)


def later_than_built_in(files: Files) -> list[File]:
    """What a snapshot has to hold for these to be in force: all but what comes with Spendgate anyway."""
    built_in = catalog.read()
    return [file for provider, file in files.items() if file != built_in.get(provider)]


def write(data_dir: Path, files: Iterable[File], now: datetime, *, by_itself: bool = False) -> Path:
    """A new snapshot, whole or not at all. Of those that a server writes by itself only the newest are kept."""
    folder = data_dir / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{now:%Y%m%dT%H%M%S%f}{BY_ITSELF if by_itself else '.json'}"
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(orjson.dumps(list(files), option=orjson.OPT_SORT_KEYS))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    for old in sorted(folder.glob(f"*{BY_ITSELF}"))[:-KEPT_BY_ITSELF]:
        old.unlink(missing_ok=True)
    return path


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise DocumentError(
            path.name, (Problem("", f"cannot be read: {error.strerror} ({path.absolute()})"),)
        ) from error
    if len(content) > BYTES_MAX:
        raise DocumentError(path.name, (Problem("", f"is larger than {BYTES_MAX >> 20} MiB"),))
    return content


def _problems(data: Any) -> Iterable[Problem]:
    try:
        made = _File.model_validate(data)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            yield Problem(path_of(detail["loc"]), detail["msg"].removeprefix("Value error, "))
        return
    ids = [model.id for model in made.models]
    for twice in sorted({each for each in ids if ids.count(each) > 1}):
        yield Problem(f"models.{twice}", "stands there twice")
    for model in made.models:
        starts = [period.start for period in model.prices]
        if len(set(starts)) < len(starts):
            yield Problem(f"models.{model.id}.prices", "two begin on the same day")
