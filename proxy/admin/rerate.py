"""Past calls at the prices that are valid now; the same for the admin API and the command line.

Read `Rerating.batch` first. A batch is one transaction: an end in between leaves nothing half done, and a second run
finds nothing to do.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.exc import IntegrityError

from pricing.money import nanos, usd
from proxy import log
from proxy.admin.answers import Problem
from proxy.admin.rerated import Rater, edition
from proxy.admin.state import Signer
from proxy.corrections import crossed
from proxy.holds.local import LocalHolds
from proxy.ledger import Ledger, rerate, write
from proxy.ledger.rerate import Charged, Correction, Move, Span
from rules.alert import Alert
from rules.glob import Globs
from rules.policy import EMPTY, Policy

BATCH_CALLS = 1_000  # looked at in one step, and corrected in one transaction
BREATH_CALLS = 100  # a live server serves others in between
ATTEMPTS_MAX = 3
LINES_MAX = 1_000  # callers choose the names of models: what is beyond is summed up in one line
EVENT = "prices_rerated"
FACTS = ("provider", "model", "old_version", "new_version")
_BEYOND = ("", "others", "", "")


class After(BaseModel):
    """Where a batch ended, and of which run it is: handed back as it came."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: int
    call_id: Annotated[str, Field(max_length=64)]
    run: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Wanted(BaseModel):
    """Which calls: from an instant on, up to another, of a provider of the configuration, of models by a glob."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: AwareDatetime
    until: AwareDatetime | None = None
    provider: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    dry_run: bool = True
    edition: str | None = None  # of the prices that the caller knows: others are refused
    after: After | None = None

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.until is not None and self.until <= self.since:
            raise ValueError("until: is not after since")
        return self


@dataclass(slots=True)
class Sums:
    """What came of calls, added up: corrected ones by provider, model and price versions; others by why not."""

    unchanged: int = 0
    left_alone: dict[str, int] = field(default_factory=dict)
    _lines: dict[tuple[str, ...], list[int]] = field(default_factory=dict)

    def count(self, each: Correction) -> None:
        row, before = each.before.row, each.before.charge
        assert before is not None, "what was never charged cannot be corrected"
        key = (row.provider, row.model, before.price_version, each.charge.price_version)
        self._add(key, 1, before.nanos, each.charge.nanos)

    def leave(self, why: str, calls: int = 1) -> None:
        self.left_alone[why] = self.left_alone.get(why, 0) + calls

    def take(self, told: Mapping[str, Any]) -> None:
        """Those of one batch, as it told them."""
        self.unchanged += told["unchanged"]
        for each in told["left_alone"]:
            self.leave(each["reason"], each["calls"])
        for line in told["lines"]:
            key = tuple(line[name] for name in FACTS)
            self._add(key, line["calls"], nanos(line["old_usd"]), nanos(line["new_usd"]))

    def _add(self, key: tuple[str, ...], *figures: int) -> None:
        if key not in self._lines and len(self._lines) - (_BEYOND in self._lines) >= LINES_MAX:
            key = _BEYOND
        total = self._lines.setdefault(key, [0, 0, 0])
        for n, figure in enumerate(figures):
            total[n] += figure

    @property
    def total(self) -> dict[str, Any]:
        return _figures([sum(column) for column in zip(*self._lines.values(), strict=True)] or [0, 0, 0])

    def shown(self) -> dict[str, Any]:
        return {
            "lines": [
                {**dict(zip(FACTS, key, strict=True)), **_figures(figures)}
                for key, figures in sorted(
                    self._lines.items(), key=lambda line: (line[0] == _BEYOND, line[0])
                )
            ],
            "total": self.total,
            "unchanged": self.unchanged,
            "left_alone": [{"reason": why, "calls": n} for why, n in sorted(self.left_alone.items())],
        }


def _figures(figures: Sequence[int]) -> dict[str, Any]:
    calls, old, new = figures
    return {"calls": calls, "old_usd": usd(old), "new_usd": usd(new), "difference_usd": usd(new - old)}


@dataclass(frozen=True, slots=True)
class Rerating:
    """Without a signer nothing can be written. Holds and policy are a live server's."""

    ledger: Ledger
    rater: Rater
    signer: Signer | None = None
    holds: LocalHolds | None = None
    policy: Callable[[], Policy] = lambda: EMPTY

    async def batch(self, wanted: Wanted, now: datetime) -> dict[str, Any]:
        """The sums of the next calls, corrected unless that is only tried; `next` is where to go on, None at the end.
        Raises Problem where the prices are not those that the caller knows, or others correct the same calls."""
        known = edition(self.rater.config, self.rater.book)
        if wanted.edition not in (None, known):
            raise Problem(
                409,
                "other_prices",
                "the live server has other prices than the files now: try again once it has read them, or was started anew",
            )
        run = secrets.token_hex(8) if wanted.after is None else wanted.after.run
        for _ in range(ATTEMPTS_MAX):
            page = await self._page(wanted)
            sums, corrections = await self._rated(wanted, page)
            if corrections and not wanted.dry_run:
                try:
                    await self._correct(wanted, corrections, sums, run, now)
                except IntegrityError:
                    continue  # somebody corrected one of these calls in between: look again
            ends = len(page) < BATCH_CALLS
            following = None if ends else dict(zip(("at", "call_id"), page[-1].place, strict=True), run=run)
            return {"run": run, "dry_run": wanted.dry_run, **sums.shown(), "next": following}
        raise Problem(409, "busy", "others correct the same calls at the same time: try again")

    async def _page(self, wanted: Wanted) -> Sequence[Charged]:
        span = Span(wanted.since, wanted.until, wanted.provider)
        after = None if wanted.after is None else (wanted.after.at, wanted.after.call_id)
        async with self.ledger.connect() as connection:
            return await rerate.page(connection, span, after, limit=BATCH_CALLS)

    async def _rated(self, wanted: Wanted, page: Sequence[Charged]) -> tuple[Sums, list[Correction]]:
        globs = None if wanted.model is None else Globs((wanted.model,))
        sums, corrections = Sums(), []
        for n, charged in enumerate(page):
            if n % BREATH_CALLS == 0:
                await asyncio.sleep(0)
            if globs is not None and not globs.match(charged.row.model):
                continue
            charge = self.rater.rated(charged)
            if isinstance(charge, str):
                sums.leave(charge)
            elif charge is charged.charge:
                sums.unchanged += 1
            else:
                corrections.append(Correction(charged, charge))
                sums.count(corrections[-1])
        return sums, corrections

    async def _correct(
        self, wanted: Wanted, corrections: Sequence[Correction], sums: Sums, run: str, now: datetime
    ) -> None:
        assert self.signer is not None, "nothing is written without a word about who did it"
        facts = _facts(wanted, sums, run)
        async with nullcontext() if self.holds is None else self.holds.past:
            async with self.ledger.connect() as connection:
                moves = await rerate.correct(connection, corrections)
                await self.signer.sign(connection, EVENT, now, facts)
            alerts = [alert for move in moves for alert in self._moved(move)]
        log.get().info(EVENT, actor=self.signer.actor, **facts)
        if alerts:
            async with self.ledger.connect() as connection:
                await write.raise_alerts(connection, alerts)

    def _moved(self, move: Move) -> Sequence[Alert]:
        """Counters of a live server move with the ledger; thresholds that they pass are told."""
        if self.holds is None:
            return ()
        moved = self.holds.correct(move.scopes, move.row.at, move.change)
        return crossed(self.policy(), move.row, moved)


def _facts(wanted: Wanted, sums: Sums, run: str) -> dict[str, str]:
    total = sums.total
    return {
        "run": run,
        "since": wanted.since.isoformat(),
        "until": "" if wanted.until is None else wanted.until.isoformat(),
        "provider": wanted.provider or "",
        "model": wanted.model or "",
        **{name: str(figure) for name, figure in total.items()},
    }
