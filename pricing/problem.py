"""What is wrong with a file that people edit: where, what, and what to do about it."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Place = tuple[str | int, ...]
"""Where in the file: ("teams", "search", "budgets", 0)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong."""

    path: str
    message: str
    remedy: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = "" if self.line is None else f"line {self.line}  "
        words = f"{self.message}; {self.remedy}" if self.remedy else self.message
        return f"{place}{self.path}: {words}" if self.path else f"{place}{words}"


class DocumentError(Exception):
    """Everything that is wrong with one file."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__("\n".join([f"{file}: {count}", *(f"  {problem}" for problem in problems)]))
        self.file = file
        self.problems = problems


def path_of(place: Place) -> str:
    """("budgets", 2, "limit_usd") -> "budgets[2].limit_usd"."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that somebody most likely meant."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)
