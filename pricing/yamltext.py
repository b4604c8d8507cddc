"""YAML text into plain values: nothing built, nothing run, nothing without a bound; each value with its line."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import yaml

from pricing.problem import DocumentError, Place, Problem, path_of

DEPTH_MAX = 32
NODES_MAX = 100_000  # after aliases: a file that grows when read is a bomb, not a configuration
DIGITS_MAX = 40  # of a number, its exponent applied: 1e999999999 is no amount of anything

_VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")


class Reader:
    """One reading of one text: nodes into values, problems into a list. Used once."""

    def __init__(self, file: str, environ: Mapping[str, str]) -> None:
        self._file = file
        self._environ = environ
        self._nodes = 0
        self.lines: dict[Place, int] = {}
        self.variables: dict[Place, tuple[str, str]] = {}
        self.problems: list[tuple[Place, Problem]] = []

    def read(self, text: str) -> dict[str, Any]:
        """Raises DocumentError where reading cannot go on; every lesser fault is in `problems`."""
        node = self._compose(text)
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            self._fail("", "must be a mapping of keys to values", node.start_mark.line + 1)
        return self._mapping(node, (), 0)

    def _compose(self, text: str) -> yaml.Node | None:
        try:
            # In Python, not libyaml: a bomb of brackets ends there as a RecursionError, not as a dead process.
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = None if mark is None else mark.line + 1
            self._fail("", f"is not YAML: {error.problem or error.context}", line)
        except (yaml.YAMLError, ValueError) as error:
            self._fail("", f"is not YAML: {' '.join(str(error).split())[:200]}", None)
        except RecursionError:
            self._fail("", f"is nested deeper than {DEPTH_MAX} levels", None)

    def _fail(self, path: str, message: str, line: int | None) -> NoReturn:
        told = (problem for _, problem in self.problems)
        raise DocumentError(self._file, (*told, Problem(path, message, line=line)))

    def note(self, place: Place, message: str, remedy: str, line: int | None = None) -> None:
        """A fault that reading can go on from."""
        line = line or self.lines.get(place)
        self.problems.append((place, Problem(path_of(place), message, remedy, line)))

    def _value(self, node: yaml.Node, place: Place, depth: int) -> Any:
        self._nodes += 1
        line = node.start_mark.line + 1
        if depth > DEPTH_MAX:
            self._fail(path_of(place), f"is nested deeper than {DEPTH_MAX} levels", line)
        if self._nodes > NODES_MAX:
            self._fail("", f"has more than {NODES_MAX} values once its aliases are followed", line)
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
                self.note(place, "a key must be a plain word", "write it as text", line)
                continue
            key = self._whole(str(key_node.value), place, line)
            here = (*place, key)
            if key == "<<":
                self.note(place, "merge keys (<<) are not read", "write it out", line)
            elif key in found:
                self.note(here, f"stands twice, first in line {self.lines[here]}", "keep one", line)
            else:
                self.lines[here] = line
                found[key] = self._value(value_node, here, depth + 1)
        return found

    def _scalar(self, node: yaml.ScalarNode, place: Place, line: int) -> Any:
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        text = self._whole(str(node.value), place, line)
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() in ("true", "yes", "on")
        if tag in ("int", "float"):
            return self._number(text, place, line)
        if tag not in ("str", "timestamp"):
            self.note(place, f"the tag {node.tag[:80]} is not read", "write a plain value", line)
            return None
        return self._expand(text, place, line)

    def _whole(self, text: str, place: Place, line: int) -> str:
        """JSON writes a character such as an emoji as two halves. A lone half can be stored and shown nowhere."""
        halves = text.encode("utf-16-le", "surrogatepass")
        try:
            return halves.decode("utf-16-le")
        except UnicodeDecodeError:
            self.note(place, "holds half a character (\\ud800 to \\udfff)", "write the whole character", line)
            return halves.decode("utf-16-le", "replace")

    def _number(self, text: str, place: Place, line: int) -> int | Decimal | None:
        plain = text.replace("_", "")
        if _INTEGER.fullmatch(plain):
            return int(plain)
        try:
            number = Decimal(plain if len(plain) <= DIGITS_MAX else "NaN")
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or abs(number.adjusted()) > DIGITS_MAX:
            remedy = "write a decimal number, or quote it"
            self.note(place, f"{text[:DIGITS_MAX]} is not a number that is read here", remedy, line)
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
            if default is None:
                self.note(
                    place, f"${{{name}}} is not set", f"export {name}, or write ${{{name}:-default}}", line
                )
            return default or ""

        value = _VARIABLE.sub(value_of, text)
        if value != text:
            self.variables[place] = (value, text)
        return value
