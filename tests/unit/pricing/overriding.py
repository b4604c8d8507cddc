"""Books with overrides for the tests of prices.yaml, over a catalogue of two models."""

from collections.abc import Sequence
from datetime import datetime

from pricing.book import PriceBook
from pricing.document import parse
from pricing.overrides import OverriddenBook
from pricing.overrides_load import load_overrides
from tests.unit.pricing.build import TODAY, entry, price

MADE = PriceBook([entry(price(model="m-1"), match={"starts_with": "m-1"}), entry(price(model="m-2"))])
"""Two models at two dollars a million in and ten out; every snapshot of m-1 is m-1."""


def read(text: str, catalogue: PriceBook = MADE, providers: Sequence[str] = ("maker",)) -> OverriddenBook:
    document = parse(f"version: 1\n{text}", file="prices.yaml", environ={"DOLLARS": "7"})
    return OverriddenBook(catalogue, load_overrides(document, catalogue, providers=providers))


def entries(*written: str) -> str:
    """`model: x, input: 3` for the provider `maker`; output costs 10 where it is not said."""
    lines = []
    for each in written:
        head, _, rest = each.partition("; ")
        lines.append(f"  - {{provider: maker, model: {head}, per_1m: {{{rest or 'input: 1, output: 10'}}}}}")
    return "prices:\n" + "\n".join(lines) + "\n"


def dollars(book: OverriddenBook, model: str, at: datetime = TODAY) -> float | None:
    """Of a million input tokens: round figures, so a float is exact."""
    found = book.find("maker", model, at)
    return None if found is None else found.standard.rates.input / 1e9
