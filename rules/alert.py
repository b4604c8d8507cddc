"""Facts that somebody should hear of, each with a key that makes it happen once."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from rules.scope import Scope


class Level(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"
    EXCEEDED = "exceeded"


@dataclass(frozen=True, slots=True)
class Alert:
    """`key` is unique per (counter, window, threshold, limit) for thresholds, per call for single events:
    the ledger keeps the first of each key and drops the rest. `facts` are strings: money as decimal dollars."""

    key: str
    kind: str  # budget_threshold | rule | hold_exceeded | usage_suspect | unknown_price | served_other_model
    level: Level
    at: datetime
    scope: Scope
    message: str
    facts: dict[str, str] = field(default_factory=dict)
