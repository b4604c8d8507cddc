"""Log: an alert as one log line, with the alert's own facts as its fields."""

from proxy import log
from rules.alert import Alert, Level

_SEVERE = frozenset({Level.CRITICAL, Level.EXCEEDED})


class Channel:
    def __init__(self, name: str) -> None:
        self.name = name

    async def send(self, alert: Alert) -> None:
        own = {
            "kind": alert.kind,
            "alert_level": alert.level.value,
            "scope": str(alert.scope),
            "at": alert.at.isoformat(),
            "detail": alert.message,
        }
        write = log.get().error if alert.level in _SEVERE else log.get().warning
        write("alert_raised", **{**_plain(alert.facts), **own})


def _plain(facts: dict[str, str]) -> dict[str, str]:
    """Facts whose names are the log's own words would take their place."""
    return {
        name: value for name, value in facts.items() if name not in ("event", "message", "level", "timestamp")
    }
