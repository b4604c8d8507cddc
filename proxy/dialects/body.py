"""JSON bodies read strictly: what two parsers could read differently is refused, and edits are splices, never a rewrite."""

import json
import re
from collections import Counter
from typing import Any, NoReturn

import orjson

from proxy.dialects import BadBody

STRICT_BYTES_ALWAYS = 16_384  # up to here doubled keys are always looked for


def json_object(body: bytes, *, strict: bool) -> dict[str, Any]:
    """Raises BadBody, and nothing else, for whatever is not one JSON object in UTF-8."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _stdlib(body)
    if not isinstance(value, dict):
        raise BadBody("the body must be a JSON object", code="invalid_json")
    if strict or len(body) <= STRICT_BYTES_ALWAYS:
        _refuse_doubled(body)
    return value


def _stdlib(body: bytes) -> Any:
    """For what orjson refuses and providers take: lone surrogates. Everything else that it refuses is refused."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as error:
        raise BadBody("the body is nested too deeply", code="invalid_json") from error
    except ValueError as error:
        raise BadBody(f"the body is not JSON: {str(error)[:120]}", code="invalid_json") from error


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]} is too large")
    return value


_OWN_WORDS = frozenset(
    {
        "parameters",
        "schema",
        "input_schema",
        "headers",
        "metadata",
        # Gemini's
        "args",
        "response",
        "responseSchema",
        "response_schema",
        "parametersJsonSchema",
        "parameters_json_schema",
        "responseJsonSchema",
        "response_json_schema",
    }
)


class _Alike(dict[str, Any]):
    """An object with keys that differ in nothing but case: one of them, for the problem."""

    name: str


def _refuse_doubled(body: bytes) -> None:
    """`model` twice, or beside `Model`: one parser takes the first, another the last. In schemas and metadata, whose keys
    are the caller's own words, only the same word twice is refused."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            counts = Counter(key for key, _ in found)
            raise _doubled(counts.most_common(1)[0][0])
        if len({key.casefold() for key in made}) == len(made):
            return made
        alike = _Alike(made)
        folded = Counter(key.casefold() for key in made)
        alike.name = next(key for key in reversed(made) if folded[key.casefold()] > 1)
        return alike

    try:
        _refuse_alike(json.loads(body.decode("utf-8"), object_pairs_hook=pairs))
    except RecursionError as error:
        raise BadBody("the body is nested too deeply", code="invalid_json") from error
    except ValueError as error:
        raise BadBody(f"the body is not JSON: {str(error)[:120]}", code="invalid_json") from error


def _refuse_alike(value: Any) -> None:
    if isinstance(value, _Alike):
        raise _doubled(value.name)
    if isinstance(value, dict):
        value = [child for key, child in value.items() if key not in _OWN_WORDS]
    if isinstance(value, list):
        for child in value:
            if isinstance(child, dict | list):
                _refuse_alike(child)


def _doubled(key: str) -> BadBody:
    name = written(key[:60])
    return BadBody(f'the key "{name}" stands twice in one object', param=name, code="duplicate_key")


# -- reading values ---------------------------------------------------------------------------------------------------


def text(data: dict[str, Any], name: str, *, required: bool = False) -> str:
    value = data.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value):
        raise BadBody(f'"{name}" must be a string', param=name)
    if written(value) != value:
        raise BadBody(f'"{name}" holds half of a character', param=name)
    return value


def written(value: str) -> str:
    """Lone halves of characters replaced: what is told, logged or stored must be UTF-8."""
    return value.encode("utf-8", "replace").decode()


def string_of(value: Any) -> str:
    """A provider's or a caller's words, mended; nothing for whatever is no text."""
    return written(value) if isinstance(value, str) else ""


def json_text(value: Any) -> str:
    """The arguments of a tool as the model wrote them; nothing for what is deeper than any of those."""
    try:
        return written(json.dumps(value, ensure_ascii=False)) if value else ""
    except (ValueError, RecursionError):
        return ""


def listed(data: dict[str, Any], name: str) -> list[Any]:
    """Null and absent are an empty list."""
    value = data.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadBody(f'"{name}" must be a list', param=name)
    return value


def flag(data: dict[str, Any], name: str) -> bool:
    value = data.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise BadBody(f'"{name}" must be true or false', param=name)
    return value


def count(data: dict[str, Any], name: str, *, least: int, most: int) -> int | None:
    """A whole number within bounds; null and absent are None. A bool or a float is not a number here."""
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadBody(f'"{name}" must be a whole number from {least} to {most}', param=name)
    return value


# -- splicing ---------------------------------------------------------------------------------------------------------

_SPACE = re.compile(rb"[ \t\r\n]*")
# Possessive: without a way back, a picture's megabytes of base64 cost no memory.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^,\]}\s]+")


def splice(body: bytes, name: str, value: bytes) -> bytes:
    """`name` set to `value` in a JSON object's bytes: its own value's span replaced, or inserted after the first brace.
    Every other byte stays. The body must be a JSON object."""
    span = _span_of(body, name)
    if span is not None:
        return body[: span[0]] + value + body[span[1] :]
    brace = body.index(b"{") + 1
    empty = body[_after_space(body, brace) : _after_space(body, brace) + 1] == b"}"
    inserted = orjson.dumps(name) + b":" + value + (b"" if empty else b",")
    return body[:brace] + inserted + body[brace:]


def value_of(body: bytes, name: str) -> bytes | None:
    """The bytes of a top-level key's value. None where the key is absent."""
    span = _span_of(body, name)
    return None if span is None else body[span[0] : span[1]]


def _span_of(body: bytes, name: str) -> tuple[int, int] | None:
    """Where a top-level key's value stands. The last one, which is the one that parsers take."""
    at = _after_space(body, body.index(b"{") + 1)
    found = None
    while body[at : at + 1] == b'"':
        key = _STRING.match(body, at)
        assert key is not None, "a parsed object has whole strings"
        start = _after_space(body, _after_space(body, key.end()) + 1)
        end = _end_of_value(body, start)
        if json.loads(key[0]) == name:  # orjson refuses keys with half a character
            found = (start, end)
        at = _after_space(body, end)
        if body[at : at + 1] != b",":
            break
        at = _after_space(body, at + 1)
    return found


def _after_space(body: bytes, at: int) -> int:
    match = _SPACE.match(body, at)
    assert match is not None, "an empty run of spaces always matches"
    return match.end()


_STRUCTURE = re.compile(rb'["{}\[\]]')


def _end_of_value(body: bytes, start: int) -> int:
    first = body[start : start + 1]
    if first == b'"':
        whole = _STRING.match(body, start)
        assert whole is not None, "a parsed object has whole strings"
        return whole.end()
    if first not in (b"{", b"["):
        scalar = _SCALAR.match(body, start)
        assert scalar is not None, "a parsed object has whole values"
        return scalar.end()
    depth, at = 0, start
    while True:
        mark = _STRUCTURE.search(body, at)
        assert mark is not None, "a parsed object is closed"
        if mark[0] == b'"':
            inner = _STRING.match(body, mark.start())
            assert inner is not None, "a parsed object has whole strings"
            at = inner.end()
            continue
        depth += 1 if mark[0] in (b"{", b"[") else -1
        at = mark.end()
        if not depth:
            return at
