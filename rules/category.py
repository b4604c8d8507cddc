"""Categories of calls: those that the file lists, what becomes of other names, and what the words of a prompt say."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from pricing.document import Document, Place, Problem, nearest, path_of
from rules.spec import NAME_CHARS_MAX, ExactName, ListOf, Spec

CATEGORIES_MAX = 200
KEYWORDS_MAX = 1_000  # of all categories together
KEYWORD_CHARS_MAX = 64
WINDOW_BYTES = 4_096
"""Keywords are looked for in the first and in the last so many bytes of a prompt: some 80 us."""

_ROLES = frozenset({"user", "assistant", "system", "developer", "tool", "function", "model"})
"""Of a message: they stand among its texts, and say nothing of what it is about."""

# Punctuation outside ASCII that stands next to words: Latin-1, general, CJK and full-width.
_PUNCTUATION = re.compile(
    "[\u00a0-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u2000-\u206f\u3000-\u303f\uff00-\uff0f]"
)
_LOWERED = bytes(
    byte if byte >= 128 else ord(chr(byte).lower()) if chr(byte).isalnum() else ord(" ")
    for byte in range(256)
)


class UnknownCategory(StrEnum):
    """What becomes of a category that the file does not list."""

    KEEP = "keep"  # as given
    REJECT = "reject"


def _with_a_word(keyword: str) -> str:
    if not _words(keyword):
        raise ValueError(f'"{keyword}" holds no word: a keyword has letters or digits')
    return keyword


Keyword = Annotated[str, Field(min_length=1, max_length=KEYWORD_CHARS_MAX), AfterValidator(_with_a_word)]


class CategorySpec(Spec):
    """A category as written in rules.yaml."""

    name: ExactName
    keywords: ListOf[Keyword] = ()


CategoryList = Annotated[ListOf[CategorySpec], Field(max_length=CATEGORIES_MAX)]


@dataclass(frozen=True, slots=True)
class Categories:
    """The categories of a policy. `keywords` are empty where prompts are not to be looked at."""

    names: tuple[str, ...] = ()
    unknown: UnknownCategory = UnknownCategory.KEEP
    keywords: tuple[tuple[str, ...], ...] = ()  # of each category, in the order of their names
    _known: frozenset[str] = field(init=False, repr=False, compare=False)
    _words: frozenset[bytes] = field(init=False, repr=False, compare=False)
    _by_word: dict[bytes, list[tuple[int, bytes]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_word: dict[bytes, list[tuple[int, bytes]]] = {}
        for rank, keywords in enumerate(self.keywords):
            for words in map(_words, keywords):
                by_word.setdefault(words[0], []).append((rank, _joined(words)))
        object.__setattr__(self, "_known", frozenset(self.names))
        object.__setattr__(self, "_words", frozenset(by_word))  # that a keyword begins with
        object.__setattr__(self, "_by_word", by_word)

    def lists(self, name: str) -> bool:
        return name in self._known

    def takes(self, name: str) -> bool:
        return self.unknown is UnknownCategory.KEEP or self.lists(name)

    def refusal(self, name: str) -> str:
        """Why a name is not taken, with the one that was most likely meant."""
        near = nearest(name, self.names)
        remedy = f'did you mean "{near}"?' if near else f"use one of {_told(self.names)}"
        return f'"{name}" is no category of the rules: {remedy}'

    def match(self, texts: Sequence[str]) -> str | None:
        """The first category one of whose keywords stands in the prompt as whole words, in any case."""
        if not self._by_word:
            return None
        windows = _windows(texts)
        if all(self._words.isdisjoint(words) for words in windows):
            return None
        ranks = (
            rank
            for words, text in ((words, _joined(words)) for words in windows)
            for word in self._words.intersection(words)
            for rank, phrase in self._by_word[word]
            if phrase in text
        )
        first = min(ranks, default=None)
        return None if first is None else self.names[first]


NO_CATEGORIES = Categories()


def categories_of(
    specs: Sequence[CategorySpec], *, unknown: UnknownCategory, keyword_matching: bool
) -> Categories:
    keywords = tuple(spec.keywords for spec in specs) if keyword_matching else ()
    return Categories(tuple(spec.name for spec in specs), unknown, keywords)


def unfit_categories(
    specs: Sequence[CategorySpec],
    *,
    unknown: UnknownCategory,
    keyword_matching: bool,
    document: Document,
) -> Iterator[Problem]:
    """What no single category shows to be wrong."""

    def problem(place: Place, message: str, remedy: str) -> Problem:
        return Problem(path_of(place), message, remedy, document.line_of(place))

    first: dict[str, int] = {}
    for n, spec in enumerate(specs):
        if first.setdefault(spec.name, n) != n:
            told = path_of(("categories", first[spec.name]))
            yield problem(
                ("categories", n, "name"), f'"{spec.name}" is already that of {told}', "make one of both"
            )
    if unknown is UnknownCategory.REJECT and not specs:
        yield problem(
            ("unknown_category",), "reject would refuse every category", "list some under categories"
        )
    count = sum(len(spec.keywords) for spec in specs)
    if count > KEYWORDS_MAX:
        yield problem(
            ("categories",), f"{count} keywords are more than {KEYWORDS_MAX}", "keep those that tell most"
        )
    if keyword_matching and not count:
        yield problem(("keyword_matching",), "no category has keywords", "give some, or remove it")


def shown_name(text: str) -> str:
    """A caller's own name for a category, as rows and counters can hold it."""
    name = text.strip()[:NAME_CHARS_MAX]
    return "".join(char if char.isprintable() and char != "|" else "?" for char in name)


def head_of(texts: Sequence[str], bytes_max: int) -> str:
    """How a prompt begins, roles left out."""
    return _head(texts, bytes_max).decode("utf-8", "ignore")


def tail_of(texts: Sequence[str], bytes_max: int) -> str:
    """How a prompt ends, roles left out."""
    return _tail(texts, bytes_max).decode("utf-8", "ignore")


def _head(texts: Sequence[str], bytes_max: int) -> bytes:
    return _cut(texts, bytes_max)[:bytes_max]


def _tail(texts: Sequence[str], bytes_max: int) -> bytes:
    return _cut(texts, bytes_max, last=True)[-bytes_max:]


def _cut(texts: Sequence[str], bytes_max: int, *, last: bool = False) -> bytes:
    """Whole texts, and as much of the outermost as may be needed: no character has less than a byte."""
    found: list[str] = []
    room = bytes_max
    for text in reversed(texts) if last else texts:
        if room <= 0:
            break
        if text not in _ROLES:
            found.append(text[-room:] if last else text[:room])
            room -= len(found[-1]) + 1
    return "\n".join(reversed(found) if last else found).encode("utf-8", "replace")


def _windows(texts: Sequence[str]) -> list[list[bytes]]:
    """The words at both ends of a prompt; one that an edge cut through is left out."""
    head, tail = _head(texts, WINDOW_BYTES), _tail(texts, WINDOW_BYTES)
    return [_words_in(head)] if head == tail else [_words_in(head)[:-1], _words_in(tail)[1:]]


def _words(text: str) -> list[bytes]:
    return _words_in(text.encode("utf-8", "replace"))


def _words_in(text: bytes) -> list[bytes]:
    """Letters and digits, casefolded; whatever else stands between them parts them. ASCII takes the short way."""
    if not text.isascii():
        text = _PUNCTUATION.sub(" ", text.decode("utf-8", "ignore").casefold()).encode()
    return text.translate(_LOWERED).split()


def _joined(words: Sequence[bytes]) -> bytes:
    return b" %b " % b" ".join(words)


def _told(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more
