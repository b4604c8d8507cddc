"""Variables of older set-ups: they stand in for what a file leaves out, and never against it."""

from decimal import Decimal
from pathlib import Path

import pytest

from pricing.document import DocumentError, Problem
from pricing.money import nanos
from proxy.config import default_file, load_config, load_rules
from proxy.environment import WITHOUT_EFFECT
from proxy.settings import Config
from rules.policy import Policy
from rules.window import Period

PRIVATE = 0o600


def load(folder: Path, text: str = "version: 1\n", **variables: str) -> tuple[Config, tuple[str, ...]]:
    file = folder / "config.yaml"
    file.write_text(text)
    file.chmod(PRIVATE)
    loaded = load_config(file, variables)
    return loaded.config, loaded.warnings


def rules(folder: Path, text: str, **variables: str) -> Policy:
    (folder / "config.yaml").write_text("version: 1\n")
    (folder / "rules.yaml").write_text(text)
    return load_rules(load_config(folder / "config.yaml", variables))


def problems(folder: Path, text: str = "version: 1\n", **variables: str) -> tuple[Problem, ...]:
    with pytest.raises(DocumentError) as raised:
        load(folder, text, **variables)
    return raised.value.problems


def test_a_variable_stands_in_for_a_key_that_the_file_leaves_out(tmp_path: Path) -> None:
    config, _ = load(
        tmp_path,
        LIGHTRAG_LOG_LEVEL="debug",
        LIGHTRAG_ENABLE_BUDGET_ALERTS="off",
        LIGHTRAG_WORKING_DIR="/srv/rag",
    )

    assert (config.logging.level, config.alerts.enabled) == ("DEBUG", False)
    assert config.data_dir == Path("/srv/rag")


def test_the_file_wins_over_a_variable(tmp_path: Path) -> None:
    text = "logging: {level: WARNING}\nalerts: {enabled: true}\ndata_dir: here\n"
    config, _ = load(
        tmp_path,
        text,
        LIGHTRAG_LOG_LEVEL="DEBUG",
        LIGHTRAG_ENABLE_BUDGET_ALERTS="false",
        LIGHTRAG_WORKING_DIR="/srv/rag",
    )

    assert (config.logging.level, config.alerts.enabled) == ("WARNING", True)
    assert config.data_dir == tmp_path / "here"


def test_a_section_keeps_what_the_file_says_beside_what_a_variable_adds(tmp_path: Path) -> None:
    config, _ = load(tmp_path, "logging: {format: console}\n", LIGHTRAG_LOG_LEVEL="ERROR")

    assert (config.logging.level, config.logging.format) == ("ERROR", "console")


def test_an_empty_section_takes_the_variable(tmp_path: Path) -> None:
    assert load(tmp_path, "logging:\n", LIGHTRAG_LOG_LEVEL="ERROR")[0].logging.level == "ERROR"


def test_an_empty_variable_is_one_that_is_not_set(tmp_path: Path) -> None:
    config, warnings = load(tmp_path, LIGHTRAG_LOG_LEVEL="", LIGHTRAG_WORKING_DIR="", ALERT_SLACK_CHANNEL="")

    assert (config.logging.level, config.data_dir) == ("INFO", tmp_path / "data")
    assert not any("ALERT_SLACK_CHANNEL" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("variables", "url", "data_dir"),
    [
        ({"LIGHTRAG_COST_DB_PATH": "/srv/cost/ledger.db"}, "sqlite", "/srv/cost"),
        ({"LIGHTRAG_COST_DB_PATH": ":memory:"}, "sqlite-memory", None),
        ({"LIGHTRAG_COST_DB_PATH": ":memory:", "LIGHTRAG_WORKING_DIR": "/srv/rag"}, "sqlite-memory", "/srv/rag"),
        ({"LIGHTRAG_COST_DB_PATH": "/srv/cost/a.db", "LIGHTRAG_WORKING_DIR": "/srv/rag"}, "sqlite", "/srv/cost"),
    ],
)  # fmt: skip
def test_the_old_database_gives_the_folder_of_the_ledger(
    tmp_path: Path, variables: dict[str, str], url: str, data_dir: str | None
) -> None:
    config, _ = load(tmp_path, **variables)

    assert config.ledger.url == url
    assert config.data_dir == (tmp_path / "data" if data_dir is None else Path(data_dir))


def test_a_relative_path_of_a_variable_is_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir(tmp_path)

    assert load(tmp_path / "etc", LIGHTRAG_WORKING_DIR="rag")[0].data_dir == tmp_path / "rag"


def test_wrong_variables_are_told_together_with_the_files_own_problems(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "workers: 0\n",
        LIGHTRAG_LOG_LEVEL="LOUD",
        LIGHTRAG_ENABLE_BUDGET_ALERTS="perhaps",
    )

    told = {problem.path: problem for problem in found}
    assert set(told) == {"LIGHTRAG_LOG_LEVEL", "LIGHTRAG_ENABLE_BUDGET_ALERTS", "workers"}
    assert told["LIGHTRAG_LOG_LEVEL"].message == '"LOUD" is none of DEBUG, INFO, WARNING, ERROR, CRITICAL'
    assert told["LIGHTRAG_LOG_LEVEL"].remedy == "mend or unset it, or write logging.level in the file"


@pytest.mark.parametrize("variable", sorted(WITHOUT_EFFECT))
def test_a_variable_without_effect_is_told_with_the_reason_and_without_its_value(
    tmp_path: Path, variable: str
) -> None:
    config, warnings = load(tmp_path, **{variable: "canary-value"})

    (told,) = [warning for warning in warnings if variable in warning]
    assert told == f"{variable} has no effect: {WITHOUT_EFFECT[variable]}"
    assert config == load(tmp_path)[0]


def test_tracking_that_is_asked_for_is_there_and_needs_no_warning(tmp_path: Path) -> None:
    assert load(tmp_path, LIGHTRAG_ENABLE_COST_TRACKING="true") == load(tmp_path)


def test_old_limits_are_budgets_of_everyone(tmp_path: Path) -> None:
    loaded = rules(
        tmp_path, "version: 1\n", LIGHTRAG_DAILY_BUDGET_LIMIT="50", LIGHTRAG_MONTHLY_BUDGET_LIMIT="0.50"
    )

    assert {(budget.id, budget.period, budget.limit) for budget in loaded.budgets} == {
        ("LIGHTRAG_DAILY_BUDGET_LIMIT", Period.DAILY, nanos(50)),
        ("LIGHTRAG_MONTHLY_BUDGET_LIMIT", Period.MONTHLY, nanos(Decimal("0.50"))),
    }


@pytest.mark.parametrize(
    ("budget", "limits"),
    [
        ("{period: daily, limit_usd: 7}", [7]),
        ("{scope: global, period: daily, limit_usd: 7}", [7]),
        ("{team: a, period: daily, limit_usd: 7}", [7, 50]),
        ("{period: monthly, limit_usd: 7}", [7, 50]),
    ],
)
def test_an_old_limit_counts_only_where_the_file_has_none_for_everyones_period(
    tmp_path: Path, budget: str, limits: list[int]
) -> None:
    loaded = rules(tmp_path, f"version: 1\nbudgets: [{budget}]\n", LIGHTRAG_DAILY_BUDGET_LIMIT="50")

    assert [each.limit for each in loaded.budgets] == [nanos(limit) for limit in limits]


@pytest.mark.parametrize(("first", "thresholds"), [("60", [60, 90, 100]), ("95", [95, 100]), ("100", [100])])
def test_the_old_threshold_is_the_first_of_three(tmp_path: Path, first: str, thresholds: list[int]) -> None:
    text = "version: 1\nbudgets: [{period: daily, limit_usd: 7}]\n"
    (budget,) = rules(tmp_path, text, LIGHTRAG_COST_ALERT_THRESHOLD=first).budgets

    assert list(budget.thresholds) == thresholds


def test_a_policy_that_a_variable_changed_has_another_version(tmp_path: Path) -> None:
    plain = rules(tmp_path, "version: 1\n").version

    assert rules(tmp_path, "version: 1\n", LIGHTRAG_DAILY_BUDGET_LIMIT="50").version != plain
    assert rules(tmp_path, "version: 1\n", LIGHTRAG_LOG_LEVEL="DEBUG").version == plain


@pytest.mark.parametrize("amount", ["fifty", "-1", "NaN", "1e999999"])
def test_a_limit_that_is_no_amount_is_told_under_its_variable(tmp_path: Path, amount: str) -> None:
    with pytest.raises(DocumentError) as raised:
        rules(tmp_path, "version: 1\n", LIGHTRAG_DAILY_BUDGET_LIMIT=amount)

    (problem,) = raised.value.problems
    assert problem.path == "LIGHTRAG_DAILY_BUDGET_LIMIT"
    assert problem.message == f'"{amount}" is not an amount of dollars such as 50 or 0.50'


def test_the_configuration_is_found_by_its_variable_where_no_option_names_it() -> None:
    assert default_file({"SPENDGATE_CONFIG": "/etc/spendgate.yaml"}) == Path("/etc/spendgate.yaml")
    assert default_file({"SPENDGATE_CONFIG": ""}) == default_file({}) == Path("config.yaml")
