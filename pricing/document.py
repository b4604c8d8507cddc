"""How a YAML file that people edit is read and checked: every problem at once, with its place and its remedy."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pricing.problem import DocumentError, Place, Problem, nearest, path_of
from pricing.yamltext import Reader

__all__ = [
    "BYTES_MAX",
    "VERSION",
    "Document",
    "DocumentError",
    "Place",
    "Problem",
    "check",
    "content_version",
    "nearest",
    "parse",
    "path_of",
]

BYTES_MAX = 1 << 20  # no file that people edit is larger
VERSION = 1
SHOWN_CHARS_MAX = 60  # of a wrong value

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """A file's values, with the line of each. Numbers with a point are Decimals: money never meets a float."""

    file: str
    text: str
    data: dict[str, Any]
    lines: Mapping[Place, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    variables: Mapping[Place, tuple[str, str]] = field(default_factory=dict, repr=False)
    """Where a `${VAR}` was replaced: the value, which may be a secret, and the text as written, which is shown."""
    problems: tuple[tuple[Place, Problem], ...] = ()
    """What reading met and went on from: `check` tells of it together with all else."""

    def line_of(self, place: Place) -> int | None:
        """The line of a place, or of the nearest part of the file around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)


def content_version(text: str) -> str:
    """A short name of a file's very content: what stands on each call as the policy's version."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def parse(text: str, *, file: str, environ: Mapping[str, str]) -> Document:
    """Values of a YAML text, with `${VAR}` and `${VAR:-default}` in strings replaced and `$$` meaning `$`.

    Raises DocumentError for whatever is not one plain mapping: broken YAML, bombs, depth. Smaller faults, such as
    doubled keys or variables that are not set, are kept for `check`.
    """
    if len(text) > BYTES_MAX:
        raise DocumentError(
            file, (Problem("", f"longer than {BYTES_MAX} characters", "split or shorten it"),)
        )
    reader = Reader(file, environ)
    data = reader.read(text)
    warnings = _judge_version(data, file, reader)
    return Document(file, text, data, reader.lines, warnings, reader.variables, tuple(reader.problems))


def check(model: type[M], document: Document) -> M:
    """The document as a model. Raises DocumentError with all its problems, in the order of the file."""
    found, told = [problem for _, problem in document.problems], {place for place, _ in document.problems}
    try:
        made = model.model_validate(document.data)
    except ValidationError as error:
        met = [_problem(detail, model, document) for detail in error.errors(include_url=False)]
        found += [problem for place, problem in met if place not in told]
    if found:
        found.sort(key=lambda problem: problem.line or 0)
        # Not `from` pydantic's own error: its words show the values, and some are secrets.
        raise DocumentError(document.file, tuple(found)) from None
    return made


def _judge_version(data: dict[str, Any], file: str, reader: Reader) -> tuple[str, ...]:
    """An older file is read as one of today, and its owner told what to write; a newer one is not read."""
    found = data.get("version")
    if found is None:
        data["version"] = VERSION
        return (f"{file}: has no version; write `version: {VERSION}` as its first line",)
    if isinstance(found, bool) or not isinstance(found, int) or found == VERSION:
        return ()
    if 0 <= found < VERSION:
        data["version"] = VERSION
        return (f"{file}: version {found} is old and read as {VERSION}; write `version: {VERSION}`",)
    reader.note(
        ("version",),
        f"{found} is not a version that is read here",
        f"write {VERSION}, or use a newer Spendgate",
    )
    return ()


def _problem(detail: ErrorDetails, model: type[BaseModel], document: Document) -> tuple[Place, Problem]:
    place = _place_in_file(detail["loc"], document)
    # Below the place, and above: of a union, pydantic's place goes on beyond the file's.
    near = [each for at, each in document.variables.items() if at[: len(place)] == place[: len(at)]]
    for value, written in near:
        if value and detail["input"] == value:
            detail["input"] = written  # before it is cut short: half a secret is not told either
    message, remedy = _words(detail, place, model)
    for value, written in near:
        if value:
            message, remedy = _hidden(message, value, written), _hidden(remedy, value, written)
    return place, Problem(path_of(place), message, remedy, document.line_of(place))


def _hidden(words: str, value: str, written: str) -> str:
    """Where it is shown as written it needs no hiding, and a short value may be part of any word."""
    return words if written in words else words.replace(value, written)


def _place_in_file(loc: Place, document: Document) -> Place:
    """pydantic puts the branch of a union, or "[key]", into the location: only what the file has is a place."""
    place: Place = ()
    for part in loc:
        if (*place, part) in document.lines or part is loc[-1]:
            place = (*place, part)
    return place[:-1] if place and place[-1] == "[key]" else place


def _words(detail: ErrorDetails, place: Place, model: type[BaseModel]) -> tuple[str, str]:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        near = nearest(str(place[-1]), _keys_at(model, place[:-1]))
        return "unknown key", f'did you mean "{near}"?' if near else "remove it"
    if kind == "missing":
        return "is missing", "add it"
    if kind == "value_error":
        message, _, remedy = str(context.get("error", detail["msg"])).partition(": ")
        return message, remedy
    return _shown(detail.get("input")) + _lowered(detail["msg"]), ""


def _shown(given: object) -> str:
    """A wrong value, at the head of what is said of it. Structures are told by their place alone."""
    if isinstance(given, bool | int | Decimal):
        return f"{given} "
    return f'"{given:.{SHOWN_CHARS_MAX}}" ' if isinstance(given, str) else ""


def _lowered(message: str) -> str:
    message = message.removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _keys_at(model: type[BaseModel], place: Place) -> Iterator[str]:
    """The keys that the model knows at a place; every key of every model below it where the way there is unclear."""
    found: list[type[BaseModel]] = [model]
    for part in place:
        inner: list[type[BaseModel]] = []
        for each in found:
            info = each.model_fields.get(str(part))
            inner += _models_in(info.annotation) if info is not None else []
        found = inner or found
    return (info.alias or name for each in found for name, info in each.model_fields.items())


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
