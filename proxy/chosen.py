"""Names that callers choose, of users and of categories: so many of each are counted apart, the others as one."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from proxy.callrow import AS_OTHER
from proxy.opencall import OpenCall
from rules.call import OTHER
from rules.scope import Scope
from rules.window import QUARTER_SECONDS

IDLE_DAYS = 35  # longer than a month: windows of a name that is forgotten are past
DAY_SECONDS = 86_400
QUARTERS_A_DAY = DAY_SECONDS // QUARTER_SECONDS


class Chosen:
    """Which names have counters and roll-ups of their own. Those that the rules name always do."""

    def __init__(self, seen: Iterable[tuple[Scope, int]] = ()) -> None:
        """`seen`: names with the day, since 1970, when each was last charged, the earliest first."""
        self._seen: dict[str, dict[str, int]] = {kind: {} for kind in AS_OTHER}
        for scope, day in seen:
            if scope.name != OTHER:
                self._seen[scope.kind][scope.name] = day

    def count(self, call: OpenCall) -> None:
        """Once its names are known, and before its limits are: what it counts towards stays so to its end."""
        day = day_of(call.row.at)
        scopes = (Scope(kind, getattr(call.call, kind)) for kind in AS_OTHER)
        others = [
            scope.kind
            for scope in scopes
            if scope.name
            and not call.policy.names(scope)
            and not self._has_room(scope, day, call.policy.names_max)
        ]
        if others:
            call.call = replace(call.call, as_other=frozenset(others))
            call.row.flags += [AS_OTHER[kind] for kind in others]

    def _has_room(self, scope: Scope, day: int, at_most: int) -> bool:
        names = self._seen[scope.kind]
        if names.pop(scope.name, None) is None:
            while len(names) >= at_most:
                oldest = next(iter(names))
                if names[oldest] + IDLE_DAYS > day:
                    return False
                del names[oldest]
        names[scope.name] = day  # the last seen is the last
        return True


def day_of(at: datetime) -> int:
    return int(at.timestamp()) // DAY_SECONDS
