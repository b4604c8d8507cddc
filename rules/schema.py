"""rules.yaml as a JSON Schema: by it editors complete keys, show what they mean and mark what cannot work."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from rules.editors import Json
from rules.file import RulesFile
from rules.rule import Action, Per, ThresholdType
from rules.rulespec import REPEATS_WINDOW_MAX, WHOLE, WINDOWS, caps_by_itself
from rules.spec import PERCENT_MAX

TOP = "RulesFile"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PERCENTAGES = [kind for kind in ThresholdType if kind.is_percentage]
_BALANCES = [kind for kind in ThresholdType if kind.period is not None]
_OWN_BALANCES = [kind for kind in _BALANCES if not kind.is_percentage]


def rules_schema() -> Json:
    schema = RulesFile.model_json_schema(mode="validation")
    models = {name: _object(each) for name, each in schema["$defs"].items()} | {TOP: _object(schema)}
    models["RuleSpec"]["allOf"] = _laws_of_rules()
    models["RateSpec"]["allOf"] = [
        _law(_has("burst"), _has("requests_per_minute")),
        {"anyOf": [_has(each) for each in ("requests_per_minute", "tokens_per_minute", "max_concurrent")]},
    ]
    told = descriptions()
    for model, words in (*told.items(), ("BudgetSpec", told["ScopedBudgetSpec"])):
        for key, part in models[model]["properties"].items():
            if key in words:
                part["description"] = words[key]
    tidy: Json = _tidied(schema)
    return {"$schema": DIALECT, "title": "rules.yaml of Spendgate", **tidy}


@cache
def descriptions() -> dict[str, dict[str, str]]:
    """What every key does, by model: as the reference page has it."""
    told: dict[str, dict[str, str]] = json.loads(
        files("rules").joinpath("descriptions.json").read_text(encoding="utf-8")
    )
    return told


def _laws_of_rules() -> list[Json]:
    """What the keys of a rule ask of one another, as far as a schema can say it."""
    kind, action, value = "threshold_type", "action", "threshold_value"
    others = [each for each in Action if each is not Action.CAP]
    unbounded = [each for each in ThresholdType if not caps_by_itself(each)]
    return [
        _law(_is(kind, *_PERCENTAGES), {"properties": {value: _below(PERCENT_MAX)}}),
        _law(
            _is(kind, *WHOLE), {"properties": {value: {"not": {"type": "number", "not": {"multipleOf": 1}}}}}
        ),
        _law(
            _is(kind, ThresholdType.REPEAT_CALLS),
            {"properties": {value: {"not": _number(exclusiveMaximum=2)}}},
        ),
        _law(_is(kind, ThresholdType.SPEND_VELOCITY), {"properties": {value: {"not": _number(maximum=1)}}}),
        _law(_has("time_window_minutes"), _is(kind, *WINDOWS)),
        _law(
            _is(kind, ThresholdType.REPEAT_CALLS),
            {"properties": {"time_window_minutes": _below(REPEATS_WINDOW_MAX)}},
        ),
        _law(_is(kind, *_OWN_BALANCES), {"not": _is("per", Per.MODEL)}),
        _law(_is(kind, *_BALANCES, ThresholdType.SPEND_VELOCITY), {"not": _is("per", Per.USER)}),
        _law({"allOf": [_is(action, Action.CAP), _is(kind, *unbounded)]}, _has("max_output_tokens")),
        _law(_has("max_output_tokens"), _is(action, Action.CAP)),
        _law(_has("downgrade_to"), _is(action, Action.DOWNGRADE)),
        _law(_is(action, *others), {"not": _has("max_output_tokens")}),
    ]


def _law(if_: Json, then: Json) -> Json:
    return {"if": if_, "then": then}


def _is(key: str, *words: str) -> Json:
    return {"required": [key], "properties": {key: {"enum": sorted(str(word) for word in words)}}}


def _has(key: str) -> Json:
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


def _number(**bounds: int) -> Json:
    return {"type": "number", **bounds}


def _below(most: Any) -> Json:
    return {"not": _number(exclusiveMinimum=int(most))}


def _object(schema: Json) -> Json:
    """Of a part that may be empty the form that is not."""
    found: Json = schema["anyOf"][0] if "anyOf" in schema else schema
    return found


def _tidied(part: Any) -> Any:
    """Without titles, which only repeat the keys; lists by the words that they are bounded with."""
    if isinstance(part, list):
        return [_tidied(each) for each in part]
    if not isinstance(part, dict):
        return part
    made = {
        key: _numbers(value)
        if key == "default"
        else {name: _tidied(each) for name, each in value.items()}
        if key in _NAMED
        else _tidied(value)
        for key, value in part.items()
        if not (key == "title" and isinstance(value, str))
    }
    if "patternProperties" in made:
        made.setdefault("additionalProperties", False)
    if made.get("type") == "array" and "maxLength" in made:
        made["maxItems"] = made.pop("maxLength")
    return made


def _numbers(default: Any) -> Any:
    """Decimals come as strings."""
    if isinstance(default, list):
        return [_numbers(each) for each in default]
    if isinstance(default, str) and default.replace(".", "", 1).isdigit():
        return float(default) if "." in default else int(default)
    return default


_NAMED = {"properties", "$defs"}  # their keys are names, not words of the schema
