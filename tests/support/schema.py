"""JSON Schema, as much of it as the schema of rules.yaml uses: a word that is not known here is an error, never ignored."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

Json = dict[str, Any]
Good = Callable[..., bool]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, Decimal),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_SAID = {"description", "default", "examples", "title", "$schema", "$defs", "then"}


def accepts(schema: Json, value: Any) -> bool:
    """Is a value of a YAML file, read as the rules are, valid?"""
    return _accepts(schema, value, schema)


def _accepts(part: Json, value: Any, whole: Json) -> bool:
    return all(_keeps(word, given, part, value, whole) for word, given in part.items() if word not in _SAID)


def _keeps(word: str, given: Any, part: Json, value: Any, whole: Json) -> bool:
    def good(inner: Json, each: Any = value) -> bool:
        return _accepts(inner, each, whole)

    match word:
        case "$ref":
            return good(whole["$defs"][given.removeprefix("#/$defs/")])
        case "type":
            return isinstance(value, _TYPES[given]) and not (given != "boolean" and isinstance(value, bool))
        case "enum":
            return value in given
        case "const":
            return bool(value == given)
        case "anyOf":
            return any(good(each) for each in given)
        case "allOf":
            return all(good(each) for each in given)
        case "not":
            return not good(given)
        case "if":
            return bool(not good(given) or good(part["then"]))
        case "pattern" | "minLength" | "maxLength":
            return not isinstance(value, str) or _text(word, given, value)
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf":
            is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
            return not is_number or _number(word, given, value)
        case "items" | "minItems" | "maxItems" | "uniqueItems":
            return not isinstance(value, list) or _items(word, given, value, good)
        case _:
            return not isinstance(value, dict) or _keys(word, given, part, value, good)


def _text(word: str, given: Any, value: str) -> bool:
    if word == "pattern":
        return re.search(given, value) is not None
    return bool(len(value) >= given if word == "minLength" else len(value) <= given)


def _number(word: str, given: Any, value: Any) -> bool:
    match word:
        case "minimum":
            return bool(value >= given)
        case "maximum":
            return bool(value <= given)
        case "exclusiveMinimum":
            return bool(value > given)
        case "exclusiveMaximum":
            return bool(value < given)
    return bool(value % given == 0)


def _items(word: str, given: Any, value: list[Any], good: Good) -> bool:
    match word:
        case "items":
            return all(good(given, each) for each in value)
        case "minItems":
            return bool(len(value) >= given)
        case "maxItems":
            return bool(len(value) <= given)
    return not given or len(value) == len({str(each) for each in value})


def _keys(word: str, given: Any, part: Json, value: Json, good: Good) -> bool:
    match word:
        case "required":
            return set(given) <= value.keys()
        case "properties":
            return all(good(given[key], each) for key, each in value.items() if key in given)
        case "propertyNames":
            return all(good(given, key) for key in value)
        case "maxProperties":
            return bool(len(value) <= given)
        case "patternProperties":
            return all(
                good(inner, each)
                for pattern, inner in given.items()
                for key, each in value.items()
                if re.search(pattern, key)
            )
        case "additionalProperties":
            patterns = part.get("patternProperties", {})
            others = [
                each
                for key, each in value.items()
                if key not in part.get("properties", {})
                and not any(re.search(each, key) for each in patterns)
            ]
            return not others if given is False else all(good(given, each) for each in others)
    raise AssertionError(f"{word} is not known here")
