"""Files that people edit while calls flow: read when at rest, checked whole, swapped whole. Read `Reloads.take` first.

A call keeps what was in force when it came. An edit with anything wrong in it changes nothing and is told of.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from pricing.document import DocumentError, Problem
from proxy import clock, log, metrics
from proxy.ledger import Ledger, audit, write
from proxy.rest import Rest, refuse_unreadable, stamp_of
from rules.alert import Alert

LOOK_SECONDS = 0.2
UNTOLD_MAX = 1_000  # entries that wait for a ledger that is away
PROBLEMS_TOLD_MAX = 5
BY_EDIT, BY_SIGNAL = "file", "signal"
APPLIED, UNCHANGED, REFUSED, MOVING = "applied", "unchanged", "refused", "moving"

T = TypeVar("T")


@dataclass(slots=True)
class InForce(Generic[T]):
    """A value that is replaced as a whole. Who needs it asks once, and keeps the answer for as long as the work takes."""

    now: T

    def __call__(self) -> T:
        return self.now


@dataclass(frozen=True, slots=True)
class Swapped:
    """What the ledger is told of an edit that is in force."""

    facts: Mapping[str, str] = field(default_factory=dict)
    alerts: Sequence[Alert] = ()


@dataclass(slots=True)
class Edited(Generic[T]):
    """One file. `read` is called in a thread, gives the version with the value, and raises DocumentError; `swap` puts the
    value in force without a wait."""

    name: str  # rules or prices
    rest: Rest
    read: Callable[[], tuple[str, T]]
    swap: Callable[[T, datetime], Swapped]
    version: str
    loaded_at: datetime
    follow_up: Callable[[], Awaitable[None]] | None = None  # after a swap; raises nothing
    problem: DocumentError | None = None

    def details(self) -> Mapping[str, Any]:
        """For a page that anybody may read: what is wrong, without the values that stand there."""
        return {
            "version": self.version,
            "loaded_at": self.loaded_at.isoformat(timespec="seconds"),
            "problem": None if self.problem is None else _shown(self.problem),
        }


class Reloads:
    """Of every edited file of this server. One at a time, so that versions follow each other."""

    def __init__(
        self,
        files: Sequence[Edited[Any]],
        *,
        ledger: Ledger,
        node: str,
        secret: bytes,
        hangup: asyncio.Event,
    ) -> None:
        self._files = files
        self._ledger = ledger
        self._node, self._secret = node, secret
        self._hangup = hangup
        self._lock = asyncio.Lock()
        self._untold: deque[tuple[datetime, str, str, Swapped]] = deque(maxlen=UNTOLD_MAX)
        for edited in files:
            metrics.note_reload(edited.name, None, bad=False)

    async def run(self) -> None:
        """Never ends: looks at the files, and on SIGHUP reads them without waiting for an edit."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._hangup.wait()
            try:
                if self._hangup.is_set():
                    self._hangup.clear()
                    await self.now(BY_SIGNAL)
                else:
                    await self.look(clock.monotonic())
            except Exception as error:  # noqa: BLE001 - a fault of ours must not be the end of every later edit
                log.get().error("reload_failed", error_code="INTERNAL_ERROR", detail=repr(error)[:300])

    async def look(self, now: float) -> None:
        for edited in self._files:
            if edited.rest.is_due(now):
                await self.take(edited, BY_EDIT)
        if self._untold:
            async with self._lock:
                await self._tell()

    async def now(self, actor: str) -> dict[str, tuple[str, Edited[Any]]]:
        """Each file with what came of it, by name: somebody asked, so there is no wait for it to be at rest."""
        return {edited.name: (await self.take(edited, actor), edited) for edited in self._files}

    def details(self) -> dict[str, Any]:
        return {
            edited.name if edited.name == "rules" else f"{edited.name}_file": edited.details()
            for edited in self._files
        }

    async def take(self, edited: Edited[Any], actor: str) -> str:
        """Read a file, and put it in force if all of it is right. Gives what came of it."""
        async with self._lock:
            stamp = stamp_of(edited.rest.path)
            try:
                version, value = await asyncio.to_thread(_read, edited)
            except DocumentError as error:
                result = self._refuse(edited, error, actor) if edited.rest.was_read(stamp) else MOVING
            else:
                result = MOVING
                if edited.rest.was_read(stamp):
                    result = self._apply(edited, version, value, actor)
            metrics.note_reload(edited.name, result, bad=edited.problem is not None)
            await self._tell()
            if result == APPLIED and edited.follow_up is not None:
                await edited.follow_up()
            return result

    def _apply(self, edited: Edited[Any], version: str, value: Any, actor: str) -> str:
        if edited.problem is not None:
            edited.problem = None
            log.get().info(f"{edited.name}_mended", version=version)
        if version == edited.version:
            return UNCHANGED
        before, now = edited.version, clock.now()
        swapped = edited.swap(value, now)
        edited.version, edited.loaded_at = version, now
        facts = {"old_version": before, "new_version": version, **swapped.facts}
        self._note(f"{edited.name}_reloaded", actor, now, Swapped(facts, swapped.alerts))
        log.get().info(f"{edited.name}_reloaded", actor=actor, **facts)
        return APPLIED

    def _refuse(self, edited: Edited[Any], error: DocumentError, actor: str) -> str:
        """Audited once for each way to be wrong, however often the same is read again."""
        is_new = edited.problem is None or str(edited.problem) != str(error)
        edited.problem = error
        first = error.problems[0]
        told = {
            "file": error.file,
            "path": first.path,
            "line": "" if first.line is None else str(first.line),
            "problem": first.message,
            "remedy": first.remedy,
            "problems": str(len(error.problems)),
        }
        log.get().error(
            f"{edited.name}_refused",
            error_code="CONFIGURATION_ERROR",
            actor=actor,
            in_force=edited.version,
            **{**told, "line": first.line},
            detail=[str(each) for each in error.problems[:PROBLEMS_TOLD_MAX]],
        )
        if is_new:
            facts = {**told, "in_force": edited.version}
            self._note(f"{edited.name}_refused", actor, clock.now(), Swapped(facts))
        return REFUSED

    def _note(self, event: str, actor: str, at: datetime, swapped: Swapped) -> None:
        self._untold.append((at, event, actor, swapped))

    async def _tell(self) -> None:
        """Into the ledger. An edit counts at once, also while the ledger is away: it is then told later."""
        while self._untold:
            at, event, actor, swapped = told = self._untold[0]
            try:
                async with self._ledger.connect() as connection:
                    await audit.append(
                        connection,
                        self._secret,
                        node=self._node,
                        at=at,
                        event=event,
                        actor=actor,
                        facts=dict(swapped.facts),
                    )
                    await write.raise_alerts(connection, swapped.alerts)
            except (SQLAlchemyError, OSError) as error:
                log.get().error("reload_not_told", error_code="DATABASE_ERROR", detail=str(error)[:300])
                return
            if self._untold and self._untold[0] is told:
                self._untold.popleft()


def _read(edited: Edited[Any]) -> tuple[str, Any]:
    """Raises DocumentError, whatever the file is: a fault of ours in reading it must not end the watch."""
    refuse_unreadable(edited.rest.path)
    try:
        return edited.read()
    except DocumentError:
        raise
    except Exception as error:
        problem = Problem("", f"cannot be read: {type(error).__name__}", "take back the last edit")
        raise DocumentError(edited.rest.path.name, (problem,)) from error


def _shown(error: DocumentError) -> Mapping[str, Any]:
    """The first problem's line and sentence. Where in the machine's folders the file is, is not told."""
    first = error.problems[0]
    told = first.message.partition(" (/")[0]
    return {"line": first.line, "message": f"{told}; {first.remedy}" if first.remedy else told}
