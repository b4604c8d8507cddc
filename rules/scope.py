"""Whom a limit covers."""

from dataclasses import dataclass
from enum import StrEnum


class ScopeKind(StrEnum):
    GLOBAL = "global"
    TEAM = "team"
    KEY = "key"
    USER = "user"
    MODEL = "model"
    PROVIDER = "provider"
    CATEGORY = "category"


@dataclass(frozen=True, slots=True)
class Scope:
    """One subject of spending: every call belongs to several. `name` is empty for the global scope."""

    kind: ScopeKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}" if self.name else self.kind.value


EVERYONE = Scope(ScopeKind.GLOBAL)
