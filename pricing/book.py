"""All prices, and how the name in a call finds its own."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from pricing.names import forms, without_dots
from pricing.price import Price

NAME_CHARS_MAX = 256
REMEMBERED_MAX = 4_096  # names a client may choose: the memory of them is bounded

Matches = Callable[[str], bool]


def by_name_only(_: str) -> bool:
    """For an entry that has no other names than those it lists."""
    return False


@dataclass(frozen=True, slots=True)
class Entry:
    """One model: how it is recognised (its id, its other names, and what `matches`), and its prices from the newest
    start to the oldest."""

    provider: str
    model: str
    matches: Matches
    prices: Sequence[tuple[datetime, Price]]
    names: tuple[str, ...] = ()

    def at(self, when: datetime) -> Price:
        for start, price in self.prices:
            if start <= when:
                return price.at(when)
        return self.prices[-1][1].at(when)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a provider's prices come from, and the day on which they were compared with the provider's pages."""

    text: str
    checked: date
    urls: tuple[str, ...] = ()


class _Shelf:
    """One provider's entries, made ready for search. A model's own id comes first, then the first entry in order."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._ids = {entry.model: entry for entry in reversed(entries)}
        self._count = len(entries)
        self._names: dict[str, tuple[int, Entry]] = {}
        self._patterns: list[tuple[int, Entry]] = []
        for place, entry in enumerate(entries):
            for name in entry.names:
                self._names.setdefault(name, (place, entry))
            if entry.matches is not by_name_only:
                self._patterns.append((place, entry))

    def find(self, name: str) -> Entry | None:
        own = self._ids.get(name)
        if own is not None:
            return own
        place, named = self._names.get(name, (self._count, None))
        for at, entry in self._patterns:
            if at > place:
                break
            if entry.matches(name):
                return entry
        return named

    def find_without_dots(self, name: str) -> Entry | None:
        """The one entry that is so called when dots are left out of names; None where two are."""
        found = {id(entry): entry for entry in self._ids.values() if without_dots(entry.model) == name}
        return next(iter(found.values())) if len(found) == 1 else None


class PriceBook:
    """Immutable but for its memory of names. Names are compared without regard to case.

    `fallbacks` names for a provider those whose models it sells too: they are asked where it has no price itself.
    `aliases` are other names of providers."""

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        fallbacks: Mapping[str, Sequence[str]] | None = None,
        aliases: Mapping[str, str] | None = None,
        sources: Mapping[str, Source] | None = None,
    ) -> None:
        self.sources = sources or {}
        self._entries: dict[str, list[Entry]] = {}
        for entry in entries:
            self._entries.setdefault(entry.provider, []).append(entry)
        self._fallbacks = fallbacks or {}
        self._aliases = aliases or {}
        self._shelves: dict[str, _Shelf] = {}
        self._remembered: dict[tuple[str, str], Entry | None] = {}
        self._dearest: dict[str, tuple[datetime, Price]] = {}

    @property
    def providers(self) -> Mapping[str, list[Entry]]:
        return self._entries

    def provider(self, name: str) -> str:
        """The provider that is meant by a name; the name itself where none is known."""
        if name in self._entries:
            return name
        lowered = name.lower()
        if lowered in self._entries:
            return lowered
        return self._aliases.get(lowered, name)

    def find(self, provider: str, model: str, at: datetime) -> Price | None:
        """The price of a model at an instant: the model's own name, then its aliases, then the forms in which clients
        write it, then the makers' prices where the provider sells others' models. None for a name that nobody knows."""
        entry = self._entry(provider, model)
        return None if entry is None else entry.at(at)

    def entry(self, provider: str, model: str) -> Entry | None:
        """Where `find` looks: all prices of the model that a name means."""
        return self._entry(provider, model)

    def dearest(self, provider: str, at: datetime) -> Price:
        """What an unknown model is charged at: the provider's dearest by output, of all where the provider is unknown."""
        minute = at.replace(second=0, microsecond=0)  # no price begins within one
        known = self._dearest.get(provider)
        if known is None or known[0] != minute:
            known = self._dearest[provider] = (minute, self._dearest_of(provider, at))
        return known[1]

    def suggest(self, provider: str, model: str) -> str | None:
        """The nearest known name."""
        known = [entry.model for entry in self._sold_by(self.provider(provider))]
        return next(iter(difflib.get_close_matches(model[:NAME_CHARS_MAX].lower(), known, n=1)), None)

    def _dearest_of(self, provider: str, at: datetime) -> Price:
        every = [entry for each in self._entries.values() for entry in each]
        for entries in (self._sold_by(self.provider(provider)), every):
            prices = [entry.at(at) for entry in entries]
            dear = [price for price in prices if price.by_token]
            if dear:
                return max(dear, key=lambda price: (price.standard.rates.output, price.model))
        raise LookupError("no model of the price book is billed by the token")

    def _sold_by(self, provider: str) -> list[Entry]:
        names = (provider, *self._fallbacks.get(provider, ()))
        return [entry for name in names for entry in self._entries.get(name, ())]

    def _entry(self, provider: str, model: str) -> Entry | None:
        if len(model) > NAME_CHARS_MAX:
            return None
        asked = (provider, model)
        if asked in self._remembered:
            return self._remembered[asked]
        found = self._search(self.provider(provider), model.lower())
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[asked] = found
        return found

    def _search(self, provider: str, name: str) -> Entry | None:
        candidates = forms(provider, name)
        for seller in (provider, *self._fallbacks.get(provider, ())):
            shelf = self._shelf(seller)
            for candidate in candidates:
                found = shelf.find(candidate)
                if found is not None:
                    return found
        if provider == "azure":
            return self._search_without_dots(provider, candidates)
        return None

    def _search_without_dots(self, provider: str, candidates: Sequence[str]) -> Entry | None:
        for seller in (provider, *self._fallbacks.get(provider, ())):
            for candidate in candidates:
                found = self._shelf(seller).find_without_dots(candidate)
                if found is not None:
                    return found
        return None

    def _shelf(self, provider: str) -> _Shelf:
        shelf = self._shelves.get(provider)
        if shelf is None:
            shelf = self._shelves[provider] = _Shelf(self._entries.get(provider, ()))
        return shelf
