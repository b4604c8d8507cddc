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


def parse_scope(text: str) -> Scope:
    """The scope that reads so. Raises ValueError with the forms that there are."""
    kind, _, name = text.partition(":")
    if kind not in {each.value for each in ScopeKind} or (kind == ScopeKind.GLOBAL) == bool(name):
        forms = ", ".join(
            each.value if each is ScopeKind.GLOBAL else f"{each.value}:NAME" for each in ScopeKind
        )
        raise ValueError(f'"{text[:80]}" is no scope: write one of {forms}')
    return Scope(ScopeKind(kind), name)
