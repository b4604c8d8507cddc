"""Which names a pattern of prices.yaml matches, which of two patterns says more, and whether two can meet in a name."""

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase, translate

# As fnmatch reads: a `[` that is never closed is a letter.
_PARTS = re.compile(r"\[!?+\]?+[^\]]*\]|.", re.DOTALL)
_CHARS = [chr(code) for code in range(0x20, 0x7F) if not chr(code).isupper()]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A name or a glob of `*`, `?` and `[abc]`, in lower case: names are compared without regard to case."""

    text: str
    parts: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _regex: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lowered = self.text.lower()
        object.__setattr__(self, "text", lowered)
        object.__setattr__(self, "parts", tuple(_PARTS.findall(lowered)))
        object.__setattr__(self, "_regex", re.compile(translate(lowered)))

    @property
    def is_exact(self) -> bool:
        return all(_is_letter(part) for part in self.parts)

    @property
    def is_all(self) -> bool:
        """`*`: every name."""
        return set(self.parts) == {"*"}

    @property
    def rank(self) -> tuple[bool, int, int]:
        """The higher goes first: a whole name, then the glob that spells out more of it."""
        letters = sum(_is_letter(part) for part in self.parts)
        return (self.is_exact, letters, sum(part != "*" for part in self.parts))

    def match(self, name: str) -> bool:
        return self._regex.match(name) is not None

    def can_meet(self, other: "Pattern") -> bool:
        """Is there a name that both match?"""
        one, two = self.parts, other.parts
        # below[j]: can what is left of `one` after the present part meet what is left of `two` from j on?
        below: list[bool] = []
        for i in range(len(one), -1, -1):
            row = [False] * (len(two) + 1)
            for j in range(len(two), -1, -1):
                at_end = i == len(one)
                if at_end and j == len(two):
                    row[j] = True
                elif j < len(two) and two[j] == "*":
                    row[j] = row[j + 1] or (not at_end and below[j])
                elif not at_end and one[i] == "*":
                    row[j] = below[j] or (j < len(two) and row[j + 1])
                elif not at_end and j < len(two):
                    row[j] = below[j + 1] and _share(one[i], two[j])
            below = row
        return below[0]


def _is_letter(part: str) -> bool:
    return len(part) == 1 and part not in "*?"


def _share(one: str, two: str) -> bool:
    """Is there a character that both parts stand for?"""
    if _is_letter(one):
        return fnmatchcase(one, two)
    if _is_letter(two):
        return fnmatchcase(two, one)
    return any(fnmatchcase(char, one) and fnmatchcase(char, two) for char in _CHARS)
