"""What editors are told of the values of rules.yaml, where a check of our own is all that Python needs: JSON Schema."""

from typing import Any

from pydantic import GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema

Json = dict[str, Any]

VARIABLE = r"\$\{.+\}"
NUMBER = rf"^\s*([0-9_.eE+-]+|.*{VARIABLE}.*)\s*$"


def of_json(schema: Json) -> WithJsonSchema:
    return WithJsonSchema(schema, mode="validation")


def number(**bounds: int) -> WithJsonSchema:
    """A number, or the same in quotes."""
    return of_json({"anyOf": [{"type": "number", **bounds}, {"type": "string", "pattern": NUMBER}]})


def whole(least: int, most: int) -> WithJsonSchema:
    return of_json({"type": "integer", "minimum": least, "maximum": most})


def name_pattern(*, exact: bool = False) -> str:
    """Of a name, without the marks of its beginning and end: no space around it, no bar, no control character."""
    never = r"|\u0000-\u001f" + (r"*?\[" if exact else "")
    return rf"[^\s{never}]([^{never}]*[^\s{never}])?"


def named(chars_max: int, *, exact: bool = False) -> Json:
    return {"type": "string", "maxLength": chars_max, "pattern": f"^{name_pattern(exact=exact)}$"}


def or_nothing(core: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
    """A part that may be there by its name alone, with nothing below it."""
    return {"anyOf": [handler(core), {"type": "null"}]}


class _OrNothing:
    """The same, as a mark on a type."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        return or_nothing(core, handler)


OR_NOTHING = _OrNothing()


class _Unique:
    """A list in which nothing stands twice."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        return {**handler(core), "uniqueItems": True}


UNIQUE = _Unique()
