"""Does a name match a list of globs? Case-sensitive: `*`, `?` and `[abc]`, compiled once."""

import re
from dataclasses import dataclass, field
from fnmatch import translate


@dataclass(frozen=True, slots=True)
class Globs:
    """At least one pattern; a name matches when any of them matches the whole of it."""

    patterns: tuple[str, ...]
    _regex: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        assert self.patterns, "no pattern: an empty list would match every name"
        object.__setattr__(self, "_regex", re.compile("|".join(map(translate, self.patterns))))

    def match(self, name: str) -> bool:
        return self._regex.match(name) is not None

    def __str__(self) -> str:
        return ", ".join(self.patterns)
