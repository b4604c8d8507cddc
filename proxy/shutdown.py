"""The emergency shutdown: while it lasts every call is refused, whoever makes it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from proxy import log, metrics
from proxy.errors import Unavailable
from rules.alert import Alert, Level
from rules.scope import EVERYONE

RETRY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Shutdown:
    reason: str
    author: str
    at: datetime

    def problem(self) -> Unavailable:
        return Unavailable(
            503,
            "emergency_shutdown",
            f"Spendgate refuses every call since {self.at:%Y-%m-%d %H:%M} UTC, by an emergency shutdown: "
            f"{self.reason}. Ask an admin when calls go again.",
            kind="api_error",
            retry_after_seconds=RETRY_SECONDS,
            extra={"scope": str(EVERYONE)},
        )

    def details(self) -> dict[str, str]:
        return {
            "reason": self.reason,
            "author": self.author,
            "since": self.at.isoformat(timespec="seconds"),
        }


class Switch:
    """On while no shutdown stands. Only this process's memory: whoever turns it writes the ledger as well."""

    def __init__(self, raise_alerts: Callable[[Iterable[Alert]], None]) -> None:
        self._raise = raise_alerts
        self._shutdown: Shutdown | None = None
        metrics.SHUTDOWN.set(0)

    @property
    def shutdown(self) -> Shutdown | None:
        return self._shutdown

    def check(self) -> None:
        """Raises Unavailable while calls are refused."""
        if self._shutdown is not None:
            raise self._shutdown.problem()

    def details(self) -> dict[str, Any]:
        """For /ready, which anybody may read: why is for those with a key."""
        return {} if self._shutdown is None else {"emergency_shutdown": self._shutdown.details()["since"]}

    def shut_down(self, shutdown: Shutdown, *, told: bool = True) -> None:
        self._shutdown = shutdown
        metrics.SHUTDOWN.set(1)
        log.get().error("emergency_shutdown", actor=shutdown.author, reason=shutdown.reason)
        if told:
            words = f"Emergency shutdown, every call is refused: {shutdown.reason}"
            self._raise([_alert(Level.CRITICAL, words, shutdown)])

    def lift(self, lifted: Shutdown) -> None:
        """With who lifts it, why and when."""
        self._shutdown = None
        metrics.SHUTDOWN.set(0)
        log.get().warning("emergency_shutdown_lifted", actor=lifted.author, reason=lifted.reason)
        words = f"The emergency shutdown is lifted: {lifted.reason}"
        self._raise([_alert(Level.INFO, words, lifted)])


def _alert(level: Level, message: str, change: Shutdown) -> Alert:
    facts = {"alert_level": level.value, "reason": change.reason, "author": change.author}
    key = f"emergency_shutdown:{level.value}:{int(change.at.timestamp() * 1e6)}"
    return Alert(key, "emergency_shutdown", level, change.at, EVERYONE, message, facts)
