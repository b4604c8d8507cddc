"""What editors are told of rules.yaml: all that works is valid, what cannot work is marked, every key says what it does."""

import re
from pathlib import Path
from typing import Any

import pytest

from pricing.document import parse
from rules.presets import PRESETS, preset
from rules.schema import descriptions, rules_schema
from tests.support.schema import accepts
from tests.unit.rules.build import problems

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = rules_schema()
RULE = "rule_id: r, threshold_type: operation_cost, threshold_value: 1"
PAGE = "\n" + (ROOT / "docs" / "reference" / "rules.md").read_text()
HEADINGS = {
    "RulesFile": "## The file",
    "AllowanceSpec": "## What a team or key may use",
    "ModelSpec": "## A model",
    "RateSpec": "## A rate",
    "ScopedBudgetSpec": "## A budget",
    "RuleSpec": "## A rule",
    "RouteSpec": "## A route",
    "CategorySpec": "## A category",
}


def is_valid(text: str) -> bool:
    return accepts(SCHEMA, parse(text, file="rules.yaml", environ={"VAR": "${VAR}"}).data)


def of_page(heading: str) -> dict[str, str]:
    """What the first table below a heading says of each key, in plain words."""
    section = PAGE.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    table = section.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines()]
    return {key.strip(" `"): plain(words) for key, _, words in rows}


def plain(words: str) -> str:
    return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", words.strip()).replace("`", "").replace(", below.", ".")


@pytest.mark.parametrize("file", ["rules.yaml", "categories.yaml"])
def test_the_example_files_are_valid(file: str) -> None:
    assert is_valid((ROOT / "examples" / file).read_text())


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid(name: str) -> None:
    assert is_valid(preset(name))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "teams:\nbudgets:\nrules:\ndefault_team:",
        "teams: {search: }",
        "teams: {'search & co': {budgets: [{period: daily, limit_usd: null}]}}",
        'budgets: [{scope: "team:a:b", period: daily, limit_usd: "1_000.50"}]',
        'budgets: [{scope: "category:*", period: daily, limit_usd: "${VAR}"}, {period: total, limit_usd: 1}]',
        "budgets: [{model: gpt-4o, period: daily, limit_usd: 1, thresholds: []}]",
        f"rules: [{{{RULE}, action: cap}}]",
        f"rules: [{{{RULE}, mode: null, per: null, applies_to_teams: null}}]",
        "rules: [{rule_id: r, threshold_type: repeat_calls, threshold_value: '3', time_window_minutes: 60}]",
        "models: {'gpt-*': {rate: {max_concurrent: 1}}}",
        "timezone: America/Argentina/Buenos_Aires",
    ],
)
def test_what_works_is_valid(text: str) -> None:
    if "VAR" not in text:
        assert problems(text) == {}
    assert is_valid(text)


BAD_RULES = [
    "rule_id: r, threshold_type: operation_cost",
    "rule_id: ' r', threshold_type: operation_cost, threshold_value: 1",
    "rule_id: r, threshold_type: operation_cost, threshold_value: 0",
    "rule_id: r, threshold_type: percentage_daily, threshold_value: 201",
    "rule_id: r, threshold_type: tokens_per_minute, threshold_value: 2.5",
    "rule_id: r, threshold_type: repeat_calls, threshold_value: 1",
    "rule_id: r, threshold_type: repeat_calls, threshold_value: 3, time_window_minutes: 61",
    "rule_id: r, threshold_type: spend_velocity, threshold_value: 1",
    "rule_id: r, threshold_type: absolute_daily, threshold_value: 1, per: model",
    "rule_id: r, threshold_type: percentage_daily, threshold_value: 1, per: user",
    "rule_id: r, threshold_type: spend_velocity, threshold_value: 2, per: user",
    "rule_id: r, threshold_type: rate_based, threshold_value: 2, action: cap",
    f"{RULE}, time_window_minutes: 5",
    f"{RULE}, max_output_tokens: 5",
    f"{RULE}, action: block, max_output_tokens: 5",
    f"{RULE}, downgrade_to: {{gpt-4o: gpt-4o-mini}}",
    f"{RULE}, action: downgrade, downgrade_to: [gpt-4o]",
    f"{RULE}, action: warn",
    f"{RULE}, cooldown_minutes: -1",
    f"{RULE}, throttle_factor: 1.5",
    f"{RULE}, trial_calls: 0",
    f"{RULE}, on_error: maybe",
    f"{RULE}, applies_to_models: []",
    f"{RULE}, unknown: 1",
]


@pytest.mark.parametrize(
    "text",
    [
        *(f"rules: [{{{rule}}}]" for rule in BAD_RULES),
        "team: {}",
        "timezone: 5",
        "thresholds: [0]",
        "thresholds: [75, 75]",
        "teams: {'se*': {}}",
        "teams: {search: {rate: {}}}",
        "teams: {search: {rate: {burst: 5}}}",
        "teams: {search: {rate: {requests_per_minute: 0}}}",
        "teams: {search: {models: gpt-4o}}",
        "budgets: [{period: daily}]",
        "budgets: [{period: fortnightly, limit_usd: 1}]",
        "budgets: [{period: daily, limit_usd: -1}]",
        "budgets: [{period: daily, limit_usd: much}]",
        'budgets: [{period: daily, limit_usd: 1, scope: "model:*"}]',
        'budgets: [{period: daily, limit_usd: 1, scope: "teams:a"}]',
        'budgets: [{period: daily, limit_usd: 1, team: "a|b"}]',
        "models: {o3: {max_output_tokens: 0}}",
        "downgrades: {gpt-4o: 4}",
        "routes: [{models: [o3]}]",
    ],
)
def test_what_cannot_work_is_marked(text: str) -> None:
    """By the schema and, with words, by the check itself."""
    assert problems(text) != {}
    assert not is_valid(text)


@pytest.mark.parametrize("model", HEADINGS)
def test_each_key_is_described_as_on_the_reference_page(model: str) -> None:
    """rules/descriptions.json says it in plain words: without marks of code, and without links."""
    assert descriptions()[model] == of_page(HEADINGS[model])


def test_every_key_of_the_schema_has_a_description() -> None:
    def bare(part: Any, before: str = "") -> list[str]:
        if not isinstance(part, dict):
            return [found for each in part for found in bare(each, before)] if isinstance(part, list) else []
        own = part.get("properties", {}) if part.get("type") == "object" else {}
        missing = [f"{before}.{key}" for key, inner in own.items() if "description" not in inner]
        return missing + [found for key, inner in part.items() for found in bare(inner, f"{before}.{key}")]

    assert bare(SCHEMA) == []
