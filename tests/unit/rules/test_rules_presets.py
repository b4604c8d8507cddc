"""Rules files to start from."""

import pytest

from pricing.document import parse
from pricing.money import nanos
from rules.policy import load_policy
from rules.presets import PRESETS, preset
from rules.window import Period


@pytest.mark.parametrize(
    ("name", "daily", "monthly"),
    [("quickstart", 50, 1000), ("production", 100, 2000), ("development", 10, 200), ("testing", 1, 20)],
)
def test_a_preset_limits_everyones_days_and_months(name: str, daily: int, monthly: int) -> None:
    loaded = load_policy(parse(preset(name), file=f"{name}.yaml", environ={}))

    limits = {budget.period: budget.limit for budget in loaded.budgets}
    assert limits == {Period.DAILY: nanos(daily), Period.MONTHLY: nanos(monthly)}
    assert {tuple(map(int, budget.thresholds)) for budget in loaded.budgets} == {(75, 90, 100)}
    assert loaded.warnings == ()


def test_every_preset_has_a_file_and_every_other_name_is_told_the_choice() -> None:
    assert all(preset(name).startswith("#") for name in PRESETS)
    with pytest.raises(ValueError, match="quickstart, production, development, testing"):
        preset("staging")
