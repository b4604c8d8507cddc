"""All prices, and how the name in a call finds its own."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pricing.price import Price

NAME_CHARS_MAX = 256
REMEMBERED_MAX = 4_096  # names a client may choose: the memory of them is bounded

_FINE_TUNED = re.compile(r"ft:([^:]+):")
_DATED = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$")


@dataclass(frozen=True, slots=True)
class Entry:
    """One model: how it is recognised, and its prices from the newest start to the oldest."""

    provider: str
    model: str
    matches: Callable[[str], bool]
    prices: tuple[tuple[datetime, Price], ...]

    def at(self, when: datetime) -> Price:
        for start, price in self.prices:
            if start <= when:
                return price
        return self.prices[-1][1]


class PriceBook:
    """Immutable but for its memory of names. Names are compared without regard to case."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries: dict[str, list[Entry]] = {}
        for entry in entries:
            self._entries.setdefault(entry.provider, []).append(entry)
        self._exact: dict[tuple[str, str], Entry] = {
            (entry.provider, entry.model): entry for entry in entries
        }
        self._remembered: dict[tuple[str, str], Entry | None] = {}

    @property
    def providers(self) -> Mapping[str, list[Entry]]:
        return self._entries

    def find(self, provider: str, model: str, at: datetime) -> Price | None:
        """The price of a model at an instant: the model's own name, then its aliases, a `models/` prefix, a dated
        snapshot, a fine-tune's base. None for a name that nobody knows."""
        entry = self._entry(provider, model)
        return None if entry is None else entry.at(at)

    def dearest(self, provider: str, at: datetime) -> Price:
        """What an unknown model is charged at: the provider's dearest by output, of all where the provider is unknown."""
        entries = self._entries.get(provider) or [entry for each in self._entries.values() for entry in each]
        return max(
            (entry.at(at) for entry in entries), key=lambda price: (price.standard.rates.output, price.model)
        )

    def suggest(self, provider: str, model: str) -> str | None:
        """The nearest known name."""
        known = [entry.model for entry in self._entries.get(provider, [])]
        return next(iter(difflib.get_close_matches(model[:NAME_CHARS_MAX].lower(), known, n=1)), None)

    def _entry(self, provider: str, model: str) -> Entry | None:
        if len(model) > NAME_CHARS_MAX:
            return None
        asked = (provider, model)
        if asked in self._remembered:
            return self._remembered[asked]
        found = self._search(provider, model.lower())
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[asked] = found
        return found

    def _search(self, provider: str, name: str) -> Entry | None:
        for candidate in _names(name):
            exact = self._exact.get((provider, candidate))
            if exact is not None:
                return exact
            for entry in self._entries.get(provider, []):
                if entry.matches(candidate):
                    return entry
        return None


def _names(name: str) -> list[str]:
    """The name as it came, then what it may be a form of."""
    plain = name.removeprefix("models/")
    names = [name, plain]
    tuned = _FINE_TUNED.match(plain)
    if tuned:
        names.append(f"ft:{tuned[1]}")
        names.append(tuned[1])
    names.append(_DATED.sub("", names[-1]))
    return list(dict.fromkeys(names))
