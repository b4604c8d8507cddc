"""How a YAML file that people edit is read and checked: every problem at once, with its place and its remedy."""

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

BYTES_MAX = 1 << 20  # no file that people edit is larger
DEPTH_MAX = 32
NODES_MAX = 100_000  # after aliases: a file that grows when read is a bomb, not a configuration
VERSION = 1

Place = tuple[str | int, ...]
"""Where in the file: ("teams", "search", "budgets", 0)."""

M = TypeVar("M", bound=BaseModel)

_VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: where, what, and what to do about it."""

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


@dataclass(frozen=True, slots=True)
class Document:
    """A file's values, with the line of each. Numbers with a point are Decimals: money never meets a float."""

    file: str
    text: str
    data: dict[str, Any]
    lines: Mapping[Place, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

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

    Raises DocumentError for whatever is not one plain mapping: broken YAML, doubled keys, bombs, depth.
    """
    if len(text) > BYTES_MAX:
        raise DocumentError(
            file, (Problem("", f"longer than {BYTES_MAX} characters", "split or shorten it"),)
        )
    reader = _Reader(file, environ)
    data = reader.read(text)
    if reader.problems:
        raise DocumentError(file, tuple(reader.problems))
    return Document(file, text, data, reader.lines, tuple(_version_warnings(data, file)))


def check(model: type[M], document: Document) -> M:
    """The document as a model. Raises DocumentError with all its problems."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems = tuple(_problem(detail, model, document) for detail in error.errors(include_url=False))
        raise DocumentError(document.file, problems) from error


def path_of(place: Place) -> str:
    """("budgets", 2, "limit_usd") -> "budgets[2].limit_usd"."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _version_warnings(data: Mapping[str, Any], file: str) -> Iterator[str]:
    found = data.get("version")
    if found is None:
        yield f"{file}: has no version; write `version: {VERSION}` as its first line"
    elif isinstance(found, int) and 0 <= found < VERSION:
        yield f"{file}: version {found} is old; read as {VERSION}: write `version: {VERSION}`"


class _Reader:
    """One reading of one text: nodes into values, problems into a list."""

    def __init__(self, file: str, environ: Mapping[str, str]) -> None:
        self._file = file
        self._environ = environ
        self._nodes = 0
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []

    def read(self, text: str) -> dict[str, Any]:
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._fail(
                "", f"is not YAML: {error.problem or error.context}", None if mark is None else mark.line + 1
            )
        except (yaml.YAMLError, ValueError) as error:
            self._fail("", f"is not YAML: {str(error)[:200]}", None)
        except RecursionError:
            self._fail("", f"is nested deeper than {DEPTH_MAX} levels", None)
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            self._fail("", "must be a mapping of keys to values", node.start_mark.line + 1)
        value = self._mapping(node, (), 0)
        if isinstance(value.get("version"), int) and 0 <= value["version"] < VERSION:
            return {**value, "version": VERSION}
        return value

    def _fail(self, path: str, message: str, line: int | None) -> NoReturn:
        raise DocumentError(self._file, (*self.problems, Problem(path, message, line=line)))

    def _value(self, node: yaml.Node, place: Place, depth: int) -> Any:
        self._nodes += 1
        line = node.start_mark.line + 1
        if depth > DEPTH_MAX:
            self._fail(path_of(place), f"is nested deeper than {DEPTH_MAX} levels", line)
        if self._nodes > NODES_MAX:
            self._fail(
                path_of(place),
                f"the file has more than {NODES_MAX} values once its aliases are followed",
                line,
            )
        self.lines.setdefault(place, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*place, n), depth + 1) for n, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode), f"a YAML node is a {type(node).__name__}"
        return self._scalar(node, place, line)

    def _mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(path_of(place), "a key must be a plain word", line=line))
                continue
            key = str(key_node.value)
            here = (*place, key)
            if key == "<<":
                self.problems.append(
                    Problem(path_of(place), "merge keys (<<) are not read", "write it out", line)
                )
            elif key in found:
                first = self.lines.get(here)
                self.problems.append(
                    Problem(path_of(here), f"stands twice, first in line {first}", "keep one", line)
                )
            else:
                found[key] = self._value(value_node, here, depth + 1)
                self.lines[here] = line
        return found

    def _scalar(self, node: yaml.ScalarNode, place: Place, line: int) -> Any:
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        text = str(node.value)
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() in ("true", "yes", "on")
        if tag in ("int", "float"):
            return self._number(text, place, line)
        if tag not in ("str", "timestamp"):
            self.problems.append(
                Problem(path_of(place), f"the tag {node.tag} is not read", "write a plain value", line)
            )
            return None
        return self._expand(text, place, line)

    def _number(self, text: str, place: Place, line: int) -> Any:
        plain = text.replace("_", "")
        try:
            if re.fullmatch(r"[-+]?(0|[1-9][0-9]{0,17})", plain):
                return int(plain)
            number = Decimal(plain)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite():
            self.problems.append(
                Problem(
                    path_of(place),
                    f"{text[:40]} is not a number we read",
                    "write a decimal number, or quote it",
                    line,
                )
            )
            return None
        return number

    def _expand(self, text: str, place: Place, line: int) -> str:
        def value_of(match: re.Match[str]) -> str:
            escaped, name, default = match.groups()
            if escaped:
                return "$"
            found = self._environ.get(name)
            if found or (found is not None and default is None):
                return found
            if default is not None:
                return str(default)
            self.problems.append(
                Problem(
                    path_of(place),
                    f"${{{name}}} is not set",
                    f"export {name}, or write ${{{name}:-default}}",
                    line,
                )
            )
            return ""

        return _VARIABLE.sub(value_of, text)


def _problem(detail: ErrorDetails, model: type[BaseModel], document: Document) -> Problem:
    place = _place_in_file(detail["loc"], document)
    message, remedy = _words(detail, place, model)
    return Problem(path_of(place), message, remedy, document.line_of(place))


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
    given = detail.get("input")
    shown = (
        f"{given!s:.60} " if isinstance(given, str | int | Decimal) and not isinstance(given, bool) else ""
    )
    return shown + _lowered(detail["msg"]), ""


def _lowered(message: str) -> str:
    message = message.removeprefix("Input ")
    return message[:1].lower() + message[1:]


def nearest(word: str, known: list[str]) -> str | None:
    """The known word that somebody most likely meant."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), None)


def _keys_at(model: type[BaseModel], place: Place) -> list[str]:
    """The keys that the model knows at a place; every key of every model below it where the way there is unclear."""
    found: list[type[BaseModel]] = [model]
    for part in place:
        inner: list[type[BaseModel]] = []
        for each in found:
            info = each.model_fields.get(str(part))
            inner += _models_in(info.annotation) if info is not None else []
        found = inner or found
    return [info.alias or name for each in found for name, info in each.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
