"""A new catalogue beside the present one: what differs, what of it nobody should believe, and both made into one."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from pricing.money import usd
from proxy.admin.prices import unit
from proxy.snapshots import File, Files

TIMES_MAX = 10  # a price that rose or fell by more is more often an error of reading than a price

NEGATIVE = "negative"
NOW_ZERO = "zero where it was not"
FAR = f"more than {TIMES_MAX} times"

Model = Mapping[str, Any]
Amounts = Mapping[tuple[str, str], int]
"""Rates in nano-dollars by when they hold ("standard", "batch above 200000") and by class."""


@dataclass(frozen=True, slots=True)
class Change:
    """One rate. `old` or `new` is None where there is none: it is billed as the class around it."""

    provider: str
    model: str
    when: str
    rate: str
    old: int | None
    new: int | None

    @property
    def percent(self) -> str | None:
        if not self.old or self.new is None:
            return None
        exact = Decimal(self.new - self.old) * 100 / self.old
        return f"{exact.quantize(Decimal('0.1'), ROUND_HALF_EVEN):+f}"

    @property
    def doubts(self) -> list[str]:
        """Why nobody should believe it unseen."""
        if self.new is None:
            return []
        if self.new < 0:
            return [NEGATIVE]
        if not self.old:
            return []
        if self.new == 0:
            return [NOW_ZERO]
        dearer, cheaper = max(self.old, self.new), min(self.old, self.new)
        return [FAR] if dearer > TIMES_MAX * cheaper else []

    def row(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "per": unit(self.rate),
            "old": None,
            "new": None,
            "old_usd": None if self.old is None else usd(self.old),
            "new_usd": None if self.new is None else usd(self.new),
            "percent": self.percent,
            "doubts": self.doubts,
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """Between what is here and a new catalogue, in the providers that the new one has."""

    providers: tuple[str, ...]
    added: tuple[tuple[str, str], ...]
    gone: tuple[tuple[str, str], ...]
    changes: tuple[Change, ...]
    wrong: tuple[Change, ...]
    """Negative rates anywhere in the new one, changed or not: it cannot be used."""

    @property
    def doubtful(self) -> tuple[Change, ...]:
        """What may be right all the same."""
        return tuple(change for change in self.changes if change.doubts and change not in self.wrong)

    def rows(self) -> list[dict[str, Any]]:
        """Models first, then rates; each row says what it is."""
        models = [("added", each) for each in self.added] + [("gone", each) for each in self.gone]
        empty = Change("", "", "", "", None, None)
        told = [*self.changes, *(each for each in self.wrong if each not in self.changes)]
        found = [
            {"what": what, **empty.row(), "provider": provider, "model": model, "per": None}
            for what, (provider, model) in models
        ]
        found += [{"what": "rate", **change.row()} for change in told]
        return [{name: row[name] for name in FIELDS} for row in found]


FIELDS = ("what", "provider", "model", "when", "rate", "per", "old_usd", "new_usd", "percent", "doubts")


def difference(present: Files, new: Files, on: date) -> Difference:
    """Of the rates in force on a day. Limits, names and prices of other days are not compared."""
    added: list[tuple[str, str]] = []
    gone: list[tuple[str, str]] = []
    changes: list[Change] = []
    wrong: list[Change] = []
    for provider, file in sorted(new.items()):
        before, after = _models(present.get(provider)), _models(file)
        added += [(provider, name) for name in sorted(after.keys() - before.keys())]
        gone += [(provider, name) for name in sorted(before.keys() - after.keys())]
        for name, model in sorted(after.items()):
            old = amounts_of(period(before[name], on)) if name in before else {}
            if name in before:
                changes += _changes(provider, name, old, amounts_of(period(model, on)))
            wrong += _negative(provider, name, model, old, on)
    return Difference(tuple(sorted(new)), tuple(added), tuple(gone), tuple(changes), tuple(wrong))


def period(model: Model, on: date) -> Mapping[str, Any]:
    """What of a model's prices is in force on a day; the first of all where none is yet."""
    begun = [each for each in model["prices"] if (each["from"] or "") <= on.isoformat()]
    found: Mapping[str, Any] = max(begun, key=_start) if begun else min(model["prices"], key=_start)
    return found


def amounts_of(holder: Mapping[str, Any]) -> Amounts:
    return dict(_amounts(holder, ""))


def _start(each: Mapping[str, Any]) -> str:
    return each["from"] or ""


def _models(file: File | None) -> dict[str, Model]:
    return {} if file is None else {model["id"]: model for model in file["models"]}


def _amounts(holder: Mapping[str, Any], hours: str) -> Iterator[tuple[tuple[str, str], int]]:
    for name, tariff in {"standard": holder["standard"], **holder.get("variants", {})}.items():
        yield from _of_rates(f"{name}{hours}", tariff["rates"])
        for tier in tariff.get("tiers", ()):
            yield from _of_rates(f"{name}{hours} above {tier['above']}", tier["rates"])
    for window in holder.get("windows", ()):
        days = f" on days {','.join(map(str, window['days']))}" if window.get("days") else ""
        yield from _amounts(window, f" {window['from']}-{window['until']}{days}")


def _of_rates(when: str, rates: Mapping[str, int]) -> Iterator[tuple[tuple[str, str], int]]:
    return (((when, name), amount) for name, amount in rates.items())


def _changes(provider: str, name: str, old: Amounts, new: Amounts) -> Iterator[Change]:
    for key in dict.fromkeys((*old, *new)):
        if old.get(key) != new.get(key):
            yield Change(provider, name, *key, old.get(key), new.get(key))


def _negative(provider: str, name: str, model: Model, old: Amounts, on: date) -> Iterator[Change]:
    now = period(model, on)
    for each in model["prices"]:
        day = "" if each is now else f" from {each['from'] or 'the start'}"
        for (when, rate), amount in amounts_of(each).items():
            if amount < 0:
                before = old.get((when, rate)) if each is now else None
                yield Change(provider, name, f"{when}{day}", rate, before, amount)


# -- both made into one -----------------------------------------------------------------------------------------------


def merged(present: Files, new: Files, on: date) -> dict[str, File]:
    """The providers of the new catalogue, with its prices from a day on. Prices of before keep their dates, so that
    what was charged can be told later; models that are gone stay, because calls may still name them."""
    made = {}
    for provider, file in new.items():
        before, after = _models(present.get(provider)), _models(file)
        models = [_joined(before.get(name), model, on) for name, model in after.items()]
        models += [model for name, model in before.items() if name not in after]
        made[provider] = {**_head(present.get(provider)), **file, "models": models}
    return made


def _head(file: File | None) -> File:
    """Other names of a provider are facts of ours, which a list of prices may not have."""
    return {name: file[name] for name in ("aliases", "sells_models_of") if file and name in file}


def _joined(before: Model | None, after: Model, on: date) -> Model:
    if before is None:
        return after
    today, now = on.isoformat(), period(after, on)
    past = [each for each in before["prices"] if (each["from"] or "") <= today]
    coming = [each for each in after["prices"] if (each["from"] or "") > today]
    if not past or _content(period(before, on)) != _content(now):
        past = [each for each in past if each["from"] != today] + [{**now, "from": today}]
    is_named = "names" in after or "match" in after
    kept = ("context", "max_output", "audio_seconds_min", *(() if is_named else ("names", "match")))
    untold = {name: before[name] for name in kept if name in before}
    return {**untold, **after, "prices": past + coming}


def _content(each: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in each.items() if name != "from" and value}
