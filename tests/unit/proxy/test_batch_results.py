"""Results of a batch: read in lines however they are cut, added up, and made good where some are missing."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing import catalog
from pricing.charge import Basis
from pricing.estimate import Estimate
from pricing.money import Nanos
from pricing.price import Price
from pricing.tokens import Counter
from pricing.usage import Usage
from proxy import asking
from proxy.asking import NotTold, line_blocks
from proxy.batch_results import GONE, Bill
from proxy.batch_sum import Sum
from proxy.callrow import CallRow
from proxy.dialects import BatchEnd
from proxy.dialects.openai_batches import Batches
from proxy.dialects.openai_chat import ChatCompletions
from proxy.ledger.deferred import Waiting
from proxy.records import Deferred
from proxy.work import kept_query

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)  # the catalogue knows of batch prices by then
BOOK = catalog.load()
EXPECTED, CHARGED = 4_000, 9_000
LINE = 10 * 75 + 20 * 300  # gpt-4o-mini, in a batch
FILE = ("/v1/files/f/content",)


def waiting(**work: Any) -> Waiting:
    row = CallRow("c1", NOON, provider="openai", model="gpt-4o-mini", batch_size=4)
    row.estimate_expected_nanos, row.estimate_input_tokens, row.estimate_output_tokens = EXPECTED, 40, 80
    row.price_version = "v0"
    return Waiting(row, Deferred("batch_1", "/v1/batches", **work), CHARGED, "estimated")


def price_of(served: str) -> tuple[Price, bool]:
    found = BOOK.find("openai", served or "gpt-4o-mini", NOON)
    return (BOOK.dearest("openai", NOON), True) if found is None else (found, False)


def bill(*lines: bytes) -> Bill:
    made = Bill(waiting(), Batches(), ChatCompletions(), price_of, Counter({}))
    for line in lines:
        made.read(line)
    return made


def line(usage: Any = None, *, model: str = "gpt-4o-mini", status: int = 200, text: str = "") -> bytes:
    choice = {"message": {"content": text}}
    body = {"id": "x", "model": model, "choices": [choice], "usage": usage}
    return json.dumps({"response": {"status_code": status, "body": body}}).encode()


HONEST = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}


def test_answers_are_added_up_and_failures_cost_nothing() -> None:
    charge = bill(line(HONEST), line(HONEST), line(HONEST, status=500)).charge(
        BatchEnd(FILE, 2), is_cut=False, told=None
    )

    assert (charge.nanos, charge.basis, charge.flags) == (2 * LINE, Basis.REPORTED, ())
    assert charge.usage == Usage(input_tokens=20, output_tokens=40)


def test_a_batch_of_which_nothing_was_done_costs_nothing() -> None:
    charge = bill().charge(BatchEnd((), 0), is_cut=False, told=None)

    assert (charge.nanos, charge.basis) == (0, Basis.REPORTED)
    assert charge.reason == "no request of the batch was answered"


@pytest.mark.parametrize(
    ("answered", "is_cut", "files", "missing"),
    [(4, False, FILE, 2), (None, True, FILE, 1), (None, False, FILE, 0), (3, True, FILE, 1)],
)
def test_what_is_missing_counts_as_estimated(
    answered: int | None, is_cut: bool, files: tuple[str, ...], missing: int
) -> None:
    """Of four requests two were answered and one failed, as far as could be read."""
    read = bill(line(HONEST), line(HONEST), line(status=400))

    charge = read.charge(BatchEnd(files, answered), is_cut=is_cut, told=None)

    assert charge.nanos == 2 * LINE + missing * EXPECTED // 4
    assert ("results_missing" in charge.flags) is (missing > 0)
    assert charge.basis is (Basis.ESTIMATED if missing else Basis.REPORTED)


def test_a_line_that_is_no_json_is_missing() -> None:
    charge = bill(line(HONEST), b'{"response": ').charge(BatchEnd(FILE, None), is_cut=False, told=None)

    assert charge.nanos == LINE + EXPECTED // 4


@pytest.mark.parametrize("end", [BatchEnd(FILE, 4), BatchEnd(FILE, None), BatchEnd((), None)])
def test_where_nothing_is_to_be_had_the_first_charge_stands(end: BatchEnd) -> None:
    charge = bill().charge(end, is_cut=bool(end.files), told=None)

    assert (charge.nanos, charge.basis, charge.flags) == (CHARGED, Basis.ESTIMATED, (GONE,))


def test_an_answer_without_a_usage_counts_as_seen() -> None:
    charge = bill(line(text="ten bytes!")).charge(BatchEnd(FILE, 1), is_cut=False, told=None)

    assert charge.basis is Basis.OBSERVED
    assert charge.usage.input_tokens == 10
    assert 0 < charge.usage.output_tokens <= 10


def test_a_usage_that_cannot_be_believed_is_no_discount() -> None:
    charge = bill(line({**HONEST, "completion_tokens": -1})).charge(
        BatchEnd(FILE, 1), is_cut=False, told=None
    )

    assert charge.nanos == LINE
    assert charge.flags == ("usage_suspect",)


def test_models_without_a_price_of_their_own_or_for_batches_are_told() -> None:
    charge = bill(line(HONEST, model="nobody-knows-it")).charge(BatchEnd(FILE, 1), is_cut=False, told=None)

    assert charge.flags[0] == "unknown_price"
    assert charge.nanos > LINE


async def _lines(pieces: list[bytes]) -> list[bytes]:
    async def given_pieces() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [each async for block in line_blocks(given_pieces()) for each in block]


@given(st.lists(st.binary(max_size=9).map(lambda data: data.replace(b"\n", b"")), max_size=9), st.data())
async def test_lines_are_the_same_however_they_are_cut(whole: list[bytes], data: st.DataObject) -> None:
    text = b"\n".join(whole)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    assert await _lines(pieces) == [each for each in whole if each.strip()]


async def test_a_line_without_an_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LINE_BYTES_MAX", 10)
    with pytest.raises(NotTold) as problem:
        await _lines([b"12345\n", b"123456", b"123456"])
    assert problem.value.too_large


def test_what_was_not_read_counts_in_proportion() -> None:
    found = Sum()
    found.add(100, Estimate(Nanos(10), Nanos(30), 0.9, "tiktoken", 7, 7, 5, 9))
    assert found.estimate().expected == 10
    assert found.estimate().confidence == 0.9

    found.miss("too long", left_bytes=50)
    found.miss("something else", left_bytes=1)

    made = found.estimate()
    assert (made.expected, made.ceiling, made.input_tokens) == (16, 46, 11)
    assert found.problem == "too long"
    assert made.confidence == 0.1


def test_only_the_version_of_the_api_is_kept_of_a_query() -> None:
    assert kept_query("?key=secret&api-version=2024-10-21&x=1") == "?api-version=2024-10-21"
    assert kept_query("?key=secret") == kept_query("") == ""
