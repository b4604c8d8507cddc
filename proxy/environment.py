"""The process's environment: the one place that reads it, and the variables of older set-ups that still count.

They are fall-backs: what a file says wins, and they win over the defaults.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args

from pricing.document import Document, Problem
from proxy.log import Level
from rules.budget import THRESHOLDS
from rules.spec import USD_MAX

CONFIG = "SPENDGATE_CONFIG"
"""Names config.yaml where `-c` does not."""

IN_MEMORY = ":memory:"
TRUE, FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


def environ() -> Mapping[str, str]:
    return os.environ  # noqa: TID251 - the one place


@dataclass(frozen=True, slots=True)
class Fallback:
    """A variable that stands for a key of a file where the file does not have it."""

    variable: str
    key: str
    meaning: str
    value_of: Callable[[str], Any]


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in TRUE | FALSE:
        raise ValueError(f'"{text:.40}" is neither true nor false')
    return word in TRUE


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= USD_MAX:
        raise ValueError(f'"{text:.40}" is not an amount of dollars such as 50 or 0.50')
    return amount


def _percent(text: str) -> Decimal:
    percent = _amount(text)
    if not 0 < percent <= 100:
        raise ValueError(f'"{text:.40}" is not a percentage above 0 and up to 100')
    return percent


def _level(text: str) -> str:
    if text.strip().upper() not in get_args(Level):
        raise ValueError(f'"{text:.40}" is none of {", ".join(get_args(Level))}')
    return text.strip()


def _folder(text: str) -> str:
    return str(Path(text).absolute())


def _folder_of(text: str) -> str | None:
    return None if text == IN_MEMORY else str(Path(text).absolute().parent)


def _ledger(text: str) -> str | None:
    return "sqlite-memory" if text == IN_MEMORY else None


_DAILY = Fallback(
    "LIGHTRAG_DAILY_BUDGET_LIMIT",
    "budgets",
    "a global daily budget in dollars, where the file has none",
    _amount,
)
_MONTHLY = Fallback(
    "LIGHTRAG_MONTHLY_BUDGET_LIMIT",
    "budgets",
    "a global monthly budget in dollars, where the file has none",
    _amount,
)
_THRESHOLD = Fallback(
    "LIGHTRAG_COST_ALERT_THRESHOLD",
    "thresholds",
    "the first percentage at which a budget alerts; 90 and 100 follow",
    _percent,
)

OF_CONFIG = (
    Fallback("LIGHTRAG_LOG_LEVEL", "logging.level", "the log level", _level),
    Fallback("LIGHTRAG_ENABLE_BUDGET_ALERTS", "alerts.enabled", "whether alerts are sent at all", _boolean),
    Fallback("LIGHTRAG_COST_DB_PATH", "ledger.url", "`:memory:` makes the ledger `sqlite-memory`", _ledger),
    Fallback("LIGHTRAG_COST_DB_PATH", "data_dir", "the folder of that file", _folder_of),
    Fallback("LIGHTRAG_WORKING_DIR", "data_dir", "that folder", _folder),
)
"""Keys of config.yaml. The first variable that gives a value wins."""

OF_RULES = (_DAILY, _MONTHLY, _THRESHOLD)
"""Keys of rules.yaml."""

WITHOUT_EFFECT = {
    "LIGHTRAG_ENABLE_COST_TRACKING": "every call is metered; this cannot be switched off",
    "LIGHTRAG_LOG_DIR": "logs go to stdout; let the service manager keep them",
    "LIGHTRAG_MODEL": "each call names its own model",
    "LIGHTRAG_EMBEDDING_MODEL": "each call names its own model",
    "LIGHTRAG_MAX_ASYNC": "calls are not limited in number",
    "ALERT_EMAIL_SMTP_SERVER": "alerts go to channels of config.yaml, and none sends e-mail",
    "ALERT_EMAIL_SMTP_PORT": "alerts go to channels of config.yaml, and none sends e-mail",
    "ALERT_EMAIL_USERNAME": "alerts go to channels of config.yaml, and none sends e-mail",
    "ALERT_EMAIL_PASSWORD": "alerts go to channels of config.yaml, and none sends e-mail",
    "ALERT_EMAIL_RECIPIENTS": "alerts go to channels of config.yaml, and none sends e-mail",
    "ALERT_SLACK_WEBHOOK_URL": "alerts go to channels of config.yaml, and none sends to Slack",
    "ALERT_SLACK_CHANNEL": "alerts go to channels of config.yaml, and none sends to Slack",
}
"""Recognised, and told at the start when set; each with the reason."""


def without_effect(environ: Mapping[str, str]) -> Iterator[str]:
    """A warning for each variable that somebody set in vain."""
    for variable, reason in WITHOUT_EFFECT.items():
        value = environ.get(variable, "")
        if value and not (variable == "LIGHTRAG_ENABLE_COST_TRACKING" and value.strip().lower() in TRUE):
            yield f"{variable} has no effect: {reason}"


Completed = tuple[Document, tuple[Problem, ...]]
"""A document with what the environment adds to it, and what is wrong with that."""


def complete_config(document: Document, environ: Mapping[str, str]) -> Completed:
    """config.yaml with the keys that only the environment gives."""
    data, problems = document.data, list[Problem]()
    for fallback in OF_CONFIG:
        section, _, key = fallback.key.rpartition(".")
        inner = (data.get(section) or {}) if section else data
        if not isinstance(inner, dict) or key in inner:
            continue
        value = _read(fallback, environ, problems)
        if value is not None:
            data = {**data, section: {**inner, key: value}} if section else {**data, key: value}
    return replace(document, data=data), tuple(problems)


def complete_rules(document: Document, environ: Mapping[str, str]) -> Completed:
    """rules.yaml with the global budgets and the first threshold that only the environment gives."""
    data, problems, added = dict(document.data), list[Problem](), list[str]()
    budgets = data.get("budgets") or []
    for fallback, period in ((_DAILY, "daily"), (_MONTHLY, "monthly")):
        if not isinstance(budgets, list) or any(_is_global(each, period) for each in budgets):
            continue
        limit = _read(fallback, environ, problems)
        if limit is not None:
            own = {"id": fallback.variable, "scope": "global", "period": period, "limit_usd": limit}
            data["budgets"] = budgets = [*budgets, own]
            added.append(f"{fallback.variable}={limit}")
    if "thresholds" not in data:
        first = _read(_THRESHOLD, environ, problems)
        if first is not None:
            data["thresholds"] = [first, *(each for each in THRESHOLDS[1:] if each > first)]
            added.append(f"{_THRESHOLD.variable}={first}")
    # A policy's version is that of its text, so what was added stands in it.
    text = "\n".join([document.text, *(f"# {each}" for each in added)])
    return replace(document, data=data, text=text), tuple(problems)


def _read(fallback: Fallback, environ: Mapping[str, str], problems: list[Problem]) -> Any:
    text = environ.get(fallback.variable, "")
    if not text:
        return None
    try:
        return fallback.value_of(text)
    except ValueError as error:
        remedy = f"mend or unset it, or write {fallback.key} in the file"
        problems.append(Problem(fallback.variable, str(error), remedy))
        return None


def _is_global(budget: object, period: str) -> bool:
    if not isinstance(budget, dict) or budget.get("period") != period:
        return False
    narrows = any(budget.get(kind) is not None for kind in ("team", "key", "model", "provider"))
    return budget.get("scope") in (None, "global") and not narrows
