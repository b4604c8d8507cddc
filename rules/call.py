"""The facts of one call that a policy may look at."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from rules.scope import EVERYONE, Scope, ScopeKind

CallId = NewType("CallId", str)

OTHER = "other"
"""Where names that callers choose count together, once there are too many to count each apart."""


class Operation(StrEnum):
    """What kind of work a call asks for; the path decides."""

    LLM = "llm_call"
    EMBEDDING = "embedding_call"
    IMAGE = "image_call"
    AUDIO = "audio_call"
    OTHER = "api_request"


@dataclass(frozen=True, slots=True)
class Call:
    """One LLM request through us. `at` is the instant of arrival (UTC): it decides price, window and day."""

    id: CallId
    at: datetime
    operation: Operation
    provider: str
    model: str
    team: str
    key_id: str
    user: str = ""
    category: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    stream: bool = False
    as_other: frozenset[ScopeKind] = frozenset()  # whose name counts as OTHER

    def scopes(self) -> tuple[Scope, ...]:
        """Every scope this call's spending counts towards."""
        named = (
            (ScopeKind.TEAM, self.team),
            (ScopeKind.KEY, self.key_id),
            (ScopeKind.USER, self.user),
            (ScopeKind.MODEL, self.model),
            (ScopeKind.PROVIDER, self.provider),
            (ScopeKind.CATEGORY, self.category),
        )
        return (EVERYONE, *(self.counted(kind, name) for kind, name in named if name))

    def counted(self, kind: ScopeKind, name: str) -> Scope:
        """The scope that a name of this call counts towards."""
        return Scope(kind, OTHER if kind in self.as_other else name)
