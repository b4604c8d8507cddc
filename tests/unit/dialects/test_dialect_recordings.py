"""Golden answers of every wire shape: what each of them tells is known, and stays the same however its bytes arrive."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.catalog import load
from pricing.money import NANOS_PER_USD
from pricing.usage import Usage
from proxy import dialects
from proxy.dialects import Api, MediaApi, Meter, Metered, Reading, read_body
from proxy.dialects.media import MediaMeter
from proxy.meter import WholeMeter

FOLDER = Path(__file__).parents[2] / "recordings"
EXPECTED = ".expected.json"
FILES = sorted(path for path in FOLDER.glob("*/*") if not path.name.endswith(EXPECTED))
NAMES = [f"{path.parent.name}/{path.name}" for path in FILES]
FORM = "multipart/form-data; boundary=XX"


@dataclass(frozen=True)
class Recording:
    """An answer's bytes, the call that they answer, and what they tell: every field that is not as by default.

    A path that ends in `streamGenerateContent` streams its JSON; `.sse` are events."""

    answer: bytes
    is_stream: bool
    api: Api
    reading: Reading
    expected: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> "Recording":
        expected = json.loads(path.with_name(path.name + EXPECTED).read_text())
        api = dialects.find(path.parent.name).surface("POST", expected["path"]).api
        assert api is not None, f"{expected['path']} is not metered"
        reading = _reading(api, expected)
        return cls(path.read_bytes(), path.suffix == ".sse" or reading.json_stream, api, reading, expected)

    def meter(self, coding: str = "") -> Meter:
        """The one that the relay takes."""
        if self.is_stream and not coding:
            return self.api.meter(self.reading, withhold_usage=False)
        if self.reading.media is not None:
            assert isinstance(self.api, MediaApi), "only a media API reads a call for media"
            return MediaMeter(self.api, self.reading, coding=coding, streams=self.is_stream)
        return WholeMeter(self.api, self.reading, coding=coding, streams=self.is_stream)

    def metered(self, pieces: list[bytes], *, coding: str = "") -> Metered:
        meter = self.meter(coding)
        assert b"".join(map(meter.feed, pieces)) + meter.end() == b"".join(pieces)
        return meter.result()


def _reading(api: Api, expected: dict[str, Any]) -> Reading:
    if "body" in expected:
        return read_body(api, json.dumps(expected["body"]).encode(), "application/json", strict=True)
    parts = [
        f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in expected["form"].items()
    ]
    sound = '--XX\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\nsound\r\n--XX--'
    return read_body(api, "".join([*parts, sound]).encode(), FORM, strict=True)


def told_of(metered: Metered) -> dict[str, Any]:
    """As it is written beside a recording."""
    usual, told = Metered(), {}
    for name in (field.name for field in fields(Metered)):
        value = getattr(metered, name)
        if name == "usage":
            told[name] = None if value is None else _counts(value)
        elif name == "complete" or value != getattr(usual, name):
            told[name] = value
    return told


def _counts(usage: Usage) -> dict[str, int]:
    counted = {field.name: getattr(usage, field.name) for field in fields(Usage)}
    return {name: count for name, count in counted.items() if count}


ALL = [pytest.param(path, id=name) for path, name in zip(FILES, NAMES, strict=True)]
LOADED = [Recording.load(path) for path in FILES]
LARGE_BYTES = 20_000  # a picture byte by byte takes seconds


def test_every_recording_has_its_expectation_and_every_expectation_its_recording() -> None:
    assert sorted(path.name for path in FOLDER.glob(f"*/*{EXPECTED}")) == sorted(
        path.name + EXPECTED for path in FILES
    )
    assert not [path for path in FOLDER.iterdir() if path.is_file()]
    assert {path.suffix for path in FILES} == {".sse", ".json"}


def test_no_two_recordings_show_the_same_shape() -> None:
    shapes = [one.expected["shape"] for one in LOADED]

    assert sorted({each for each in shapes if shapes.count(each) > 1}) == []


@pytest.mark.parametrize("path", ALL)
def test_a_recording_tells_what_is_written_beside_it(path: Path) -> None:
    one = Recording.load(path)

    assert told_of(one.metered([one.answer])) == one.expected["told"]


@pytest.mark.parametrize("path", ALL)
def test_it_tells_the_same_byte_by_byte(path: Path) -> None:
    one = Recording.load(path)
    step = 1 if len(one.answer) <= LARGE_BYTES else 997
    pieces = [one.answer[at : at + step] for at in range(0, len(one.answer), step)]

    assert told_of(one.metered(pieces)) == one.expected["told"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(LOADED), st.lists(st.integers(0, 1 << 17), max_size=30))
def test_it_tells_the_same_however_it_is_cut(one: Recording, at: list[int]) -> None:
    ends = sorted({point % (len(one.answer) + 1) for point in at})
    pieces = [one.answer[start:end] for start, end in zip([0, *ends], [*ends, len(one.answer)], strict=True)]

    assert told_of(one.metered(pieces)) == one.expected["told"]


@pytest.mark.parametrize(
    ("coding", "squeeze"),
    [
        ("gzip", gzip.compress),
        ("br", lambda body: brotli.compress(body, quality=1)),
        ("zstd", zstandard.compress),
    ],
    ids=["gzip", "br", "zstd"],
)
@pytest.mark.parametrize("path", ALL)
def test_it_tells_the_same_in_a_coding(path: Path, coding: str, squeeze: Callable[[bytes], bytes]) -> None:
    one = Recording.load(path)

    assert told_of(one.metered([squeeze(one.answer)], coding=coding)) == one.expected["told"]


@pytest.mark.parametrize("one", [one for one in LOADED if "cost_usd" in one.expected])
def test_it_costs_what_its_provider_says(one: Recording) -> None:
    told = one.metered([one.answer])
    price = load().find(one.expected["provider"], told.served_model, datetime(2026, 11, 20, tzinfo=UTC))

    assert price is not None
    assert told.usage is not None
    cost = price.cost(told.usage, service_tier=told.service_tier)
    assert cost.nanos == int(Decimal(one.expected["cost_usd"]) * NANOS_PER_USD)
    assert not cost.unpriced
