"""How a catalogue entry recognises a model's name: clauses as data, made into one function."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Matches = Callable[[str], bool]


def matcher(clause: Mapping[str, Any]) -> Matches:
    """{"equals": "x"}, {"starts_with": ...}, {"ends_with": ...}, {"contains": ...}, {"regex": ...}, or {"or": [...]}
    and {"and": [...]} of such. Raises ValueError for any other clause."""
    ((kind, value),) = clause.items()
    match kind:
        case "equals":
            return lambda name: name == value
        case "starts_with":
            return lambda name: name.startswith(value)
        case "ends_with":
            return lambda name: name.endswith(value)
        case "contains":
            return lambda name: value in name
        case "regex":
            pattern = re.compile(value)
            return lambda name: pattern.search(name) is not None
        case "or":
            return _any([matcher(each) for each in value])
        case "and":
            return _all([matcher(each) for each in value])
        case _:
            raise ValueError(f"unknown clause {kind!r}")


def _any(matchers: list[Matches]) -> Matches:
    return lambda name: any(each(name) for each in matchers)


def _all(matchers: list[Matches]) -> Matches:
    return lambda name: all(each(name) for each in matchers)


class LazyMatcher:
    """A clause that is made into a function when it is first asked: most are never."""

    __slots__ = ("_clause", "_matches")

    def __init__(self, clause: Mapping[str, Any]) -> None:
        self._clause = clause
        self._matches: Matches | None = None

    def __call__(self, name: str) -> bool:
        if self._matches is None:
            self._matches = matcher(self._clause)
        return self._matches(name)
