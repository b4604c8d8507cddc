"""The prices in force while the server runs: swapped whole, and each call keeps those that it came under."""

from datetime import datetime

from pricing.book import PriceBook
from pricing.overrides import ALWAYS, OverriddenBook, Overrides
from pricing.price import Price

BOOKS_MAX = 4  # the present one and those of calls that came before a change and have not ended


class LivePrices:
    """Asked like a book. An instant is answered from the book that was in force then: a call that is under way when
    prices change, or whose work goes on in the background, is settled by the prices it was estimated with."""

    def __init__(self, book: OverriddenBook) -> None:
        self._books: tuple[tuple[datetime, OverriddenBook], ...] = ((ALWAYS, book),)

    @property
    def present(self) -> OverriddenBook:
        return self._books[0][1]

    def swap(self, book: OverriddenBook, since: datetime) -> None:
        """One assignment: who asks finds the one or the other, never a mixture."""
        self._books = ((since, book), *self._books)[:BOOKS_MAX]

    def swap_catalogue(self, catalogue: PriceBook, since: datetime) -> None:
        """Overrides stay those of the present."""
        self.swap(OverriddenBook(catalogue, self.present.overrides), since)

    def swap_overrides(self, overrides: Overrides, since: datetime) -> None:
        self.swap(OverriddenBook(self.present.catalogue, overrides), since)

    def find(self, provider: str, model: str, at: datetime) -> Price | None:
        return self._at(at).find(provider, model, at)

    def find_named(self, provider: str, model: str, at: datetime) -> Price | None:
        return self._at(at).find_named(provider, model, at)

    def dearest(self, provider: str, at: datetime) -> Price:
        return self._at(at).dearest(provider, at)

    def suggest(self, provider: str, model: str) -> str | None:
        return self.present.suggest(provider, model)

    def _at(self, when: datetime) -> OverriddenBook:
        """The oldest that is kept, for instants before all of them."""
        return next((book for since, book in self._books if since <= when), self._books[-1][1])
