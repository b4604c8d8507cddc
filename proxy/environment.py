"""Environment variables of older tools that fill in what the files leave open, and those that have no effect."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIXES = ("LIGHTRAG_", "ALERT_")

# name -> what it fills in. The reference page lists the same; a test compares them.
USED = {
    "LIGHTRAG_DAILY_BUDGET_LIMIT": "a global daily budget in dollars, where rules.yaml has no global one",
    "LIGHTRAG_MONTHLY_BUDGET_LIMIT": "a global monthly budget in dollars, where rules.yaml has no global one",
    "LIGHTRAG_COST_ALERT_THRESHOLD": "the first threshold in percent of these two budgets",
    "LIGHTRAG_ENABLE_BUDGET_ALERTS": "alerts.enabled",
    "LIGHTRAG_LOG_LEVEL": "logging.level",
    "LIGHTRAG_WORKING_DIR": "data_dir",
}
_TRUE, _FALSE = ("true", "yes", "1", "on", "t"), ("false", "no", "0", "off", "f")


@dataclass(frozen=True, slots=True)
class Fallbacks:
    """The files say more than the environment, the environment more than the defaults."""

    env: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, env: Mapping[str, str]) -> "Fallbacks":
        ours = {name: value for name, value in env.items() if name.startswith(PREFIXES) and value}
        idle = sorted(set(ours) - set(USED))
        warnings = (f"{', '.join(idle)}: set in the environment, and without effect here",) if idle else ()
        return cls({name: value for name, value in ours.items() if name in USED}, warnings)

    def fill_config(self, data: Mapping[str, Any]) -> dict[str, Any]:
        filled = dict(data)
        if "LIGHTRAG_WORKING_DIR" in self.env:
            filled.setdefault("data_dir", self.env["LIGHTRAG_WORKING_DIR"])
        if "LIGHTRAG_LOG_LEVEL" in self.env:
            filled["logging"] = {"level": self.env["LIGHTRAG_LOG_LEVEL"], **(filled.get("logging") or {})}
        if "LIGHTRAG_ENABLE_BUDGET_ALERTS" in self.env:
            enabled = self.env["LIGHTRAG_ENABLE_BUDGET_ALERTS"]
            filled["alerts"] = {"enabled": enabled, **(filled.get("alerts") or {})}
        return filled

    def fill_rules(self, data: Mapping[str, Any]) -> dict[str, Any]:
        budgets = data.get("budgets") or []
        if not isinstance(budgets, list) or any(_is_global(budget) for budget in budgets):
            return dict(data)
        added = [
            {
                "id": f"environment:{period}",
                "scope": "global",
                "period": period,
                "limit_usd": limit,
                **self._thresholds(),
            }
            for period in ("daily", "monthly")
            if (limit := self.env.get(f"LIGHTRAG_{period.upper()}_BUDGET_LIMIT"))
        ]
        return {**data, "budgets": [*budgets, *added]} if added else dict(data)

    def _thresholds(self) -> dict[str, Any]:
        first = self.env.get("LIGHTRAG_COST_ALERT_THRESHOLD")
        if not first:
            return {}
        rest = [each for each in (90, 100) if _is_above(each, first)]
        return {"thresholds": [first, *rest]}


def _is_global(budget: Any) -> bool:
    if not isinstance(budget, dict):
        return False
    named = any(budget.get(kind) for kind in ("team", "key", "model", "provider"))
    return budget.get("scope", "global") == "global" and not named


def _is_above(figure: int, text: str) -> bool:
    try:
        return figure > float(text)
    except ValueError:
        return True


def flag(text: str) -> bool | None:
    """true, yes, 1 and their opposites, in any case; None for anything else."""
    lowered = text.strip().lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else None
