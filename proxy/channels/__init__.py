"""Where alerts are sent: one file a channel, each with a class `Channel` that can do this."""

from typing import Protocol

from rules.alert import Alert


class Retry(Exception):
    """Not sent, but another try may help: after so many seconds, where the other side said."""

    def __init__(self, message: str, *, after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class AnyChannel(Protocol):
    @property
    def name(self) -> str:
        """As the configuration and the log call it."""

    async def send(self, alert: Alert) -> None:
        """Return once the alert has been taken. Raise Retry where another try in a moment may help; after any other
        error the alert waits in the outbox."""
