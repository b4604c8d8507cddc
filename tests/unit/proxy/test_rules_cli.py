"""`spendgate rules`: files are checked, described, and tested by cases."""

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from proxy.cli import spendgate
from rules.schema import rules_schema

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
RULES = """
version: 1
teams: {search: {budgets: [{period: daily, limit_usd: 10}], rate: {requests_per_minute: 5}}}
budgets: [{period: total, limit_usd: 100, hold: capped}]
routes: [{models: ["claude-*"], provider: anthropic}]
rules:
  - {rule_id: dear, threshold_type: operation_cost, threshold_value: 1, action: cap}
  - {rule_id: fewer, threshold_type: operation_cost, threshold_value: 5, action: downgrade, downgrade_to: {gpt-4o: gpt-4o-mini, o3: claude-haiku-4-5}}
  - {rule_id: slow, threshold_type: spend_velocity, threshold_value: 3, action: throttle}
  - {rule_id: short, threshold_type: absolute_daily, threshold_value: 3, action: cap, applies_to_teams: [brief]}
  - {rule_id: early, threshold_type: absolute_daily, threshold_value: 5, action: alert_only}
"""
CALL = "call: {team: search, model: gpt-4o, estimate_usd: 0.10}"
TOKENS = "call: {team: search, model: gpt-4o, input_tokens: 1000, output_tokens: 100, max_tokens: MANY}"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    return file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(spendgate, ["rules", *map(str, arguments)])


def run_case(rules: Path, case: str, call: str = CALL) -> Result:
    cases = rules.with_name("cases.yaml")
    cases.write_text(f"version: 1\n{call}\ncases:\n  - {{name: it, {case}}}\n")
    return run("test", cases, "--rules", rules)


# -- check ------------------------------------------------------------------------------------------------------------


def test_a_good_file_is_summed_up(rules: Path) -> None:
    done = run("check", rules)

    assert done.exit_code == 0
    assert done.stdout.startswith("rules.yaml: 2 budgets, 5 rules, 1 route; times in UTC; version ")


def test_every_problem_of_a_file_is_told_with_its_line_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("version: 1\ntimezon: UTC\nbudgets:\n  - {period: daily, limit_usd: -1}\n")

    done = run("check", file)

    assert done.exit_code == 2
    assert done.stdout == ""
    assert "r.yaml: 2 problems" in done.stderr
    assert 'line 2  timezon: unknown key; did you mean "timezone"?' in done.stderr
    assert "line 4  budgets[0].limit_usd: -1 must be at least 0" in done.stderr


def test_a_warning_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("rules: [{rule_id: p, threshold_type: percentage_daily, threshold_value: 9}]")

    done = run("check", file)

    assert done.exit_code == 0
    assert "warning: rules[0]: no daily budget" in done.stderr


def test_the_rules_of_the_configuration_are_checked_with_its_providers(rules: Path) -> None:
    config = rules.with_name("config.yaml")
    config.write_text(
        "providers: {openai: {dialect: openai, base_url: 'http://x/v1', api_key: x}}\nrules_file: rules.yaml\n"
    )

    done = run("check", "-c", config)

    assert done.exit_code == 2
    assert "routes[0].provider" in done.stderr


# -- schema -----------------------------------------------------------------------------------------------------------


def test_the_schema_goes_to_stdout_or_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rules.schema.json"

    assert orjson.loads(run("schema").stdout) == rules_schema()
    assert run("schema", "-o", file).exit_code == 0
    assert orjson.loads(file.read_bytes()) == rules_schema()
    assert "cannot be written" in run("schema", "-o", tmp_path / "none" / "x.json").stderr


# -- test -------------------------------------------------------------------------------------------------------------


def test_the_example_rules_do_what_their_cases_say() -> None:
    done = run("test", EXAMPLES / "rules_cases.yaml", "--rules", EXAMPLES / "rules.yaml")

    assert done.exit_code == 0, done.stdout
    assert done.stdout.splitlines()[-1].endswith("cases, all ok")


def test_a_failed_case_tells_what_was_expected_and_what_came_of_it(rules: Path) -> None:
    done = run_case(
        rules,
        'balances: {"team:search:daily": 9.95}, '
        "expect: {verdict: allow, rule_id: null, alerts: [], reason: no rule stands, model: o3}",
    )

    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "FAILED  it",
        "        verdict: expected allow, got block",
        "        rule_id: expected nothing, got team:search:daily",
        '        reason: expected "no rule stands" in it',
        "        alerts: expected [], got [early]",
        "        model: expected o3, got gpt-4o",
        *[line for line in done.stdout.splitlines() if "$0.05 left of $10.00 today" in line],
        "1 cases, 1 failed",
    ]


@pytest.mark.parametrize(
    ("case", "call"),
    [
        ("expect: {verdict: allow, code: null}", CALL),
        ("velocity: 3, expect: {verdict: throttle, rule_id: slow}", CALL),
        ("velocity: 2.99, expect: {verdict: allow}", CALL),
        ('balances: {"team:search:daily": 4.90}, expect: {verdict: allow, alerts: [early]}', CALL),
        (
            "balances: {early: {spent_usd: 1, held_usd: 8.95}}, expect: {verdict: wait, code: budget_busy}",
            CALL,
        ),
        ('used: {"team:search:rate": {requests: 5}}, expect: {verdict: block, code: rate_limited}', CALL),
        ("breakers: {slow: limited}, expect: {verdict: throttle, rule_id: slow}", CALL),
        ("breakers: {fewer: limited}, expect: {verdict: downgrade, model: gpt-4o-mini}", CALL),
        ("breakers: {fewer: limited}, expect: {verdict: allow, model: o3}", CALL.replace("gpt-4o", "o3")),
        (
            "breakers: {fewer: limited}, expect: {verdict: downgrade, model: claude-haiku-4-5}",
            CALL.replace("gpt-4o", "o3, provider: openai"),
        ),
        ("expect: {verdict: allow, max_tokens: 1000}", TOKENS.replace("MANY", "1000")),
        # A rule that caps at five dollars a day leaves the cent and a half that is not spent yet.
        (
            "balances: {short: {spent_usd: 2.985, held_usd: 1}}, expect: {verdict: cap, rule_id: short, max_tokens: 1250}",
            TOKENS.replace("MANY", "9000")
            .replace("search", "brief")
            .replace("output_tokens: 100", "output_tokens: 9000"),
        ),
        (
            "balances: {short: 2.9975}, expect: {verdict: block, rule_id: short}",
            TOKENS.replace("MANY", "9000")
            .replace("search", "brief")
            .replace("output_tokens: 100", "output_tokens: 9000"),
        ),
        # $2.50 and $10 a million: a thousand tokens in, and no more than is left for the answer.
        (
            'balances: {"global:total": 99.99}, expect: {verdict: cap, rule_id: "global:total", max_tokens: 750}',
            TOKENS.replace("MANY", "1000"),
        ),
        (
            'balances: {"global:total": 99.9974}, expect: {verdict: block, code: budget_exceeded}',
            TOKENS.replace("MANY", "1000"),
        ),
    ],
)
def test_a_case_ends_as_its_call_would(rules: Path, case: str, call: str) -> None:
    done = run_case(rules, case, call)

    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("case", "call", "told"),
    [
        ("expect: {verdict: allow}", "call: {team: search}", "cases[0].call: has no model; give it one"),
        (
            "expect: {verdict: allow}",
            "call: {team: a, model: gpt-4o}",
            "says nothing of its cost; give estimate_usd, or input_tokens",
        ),
        (
            "expect: {verdict: allow}",
            "call: {team: a, model: nobodys, input_tokens: 5}",
            'no price is known for "nobodys"; give estimate_usd',
        ),
        (
            'balances: {"global:total": 99.95}, expect: {verdict: cap}',
            CALL,
            "how far depends on its price; give input_tokens and max_tokens in place of estimate_usd",
        ),
        (
            'balances: {"team:serch:daily": 1}, expect: {verdict: allow}',
            CALL,
            "team:serch says nothing of this call; it counts on global, team:search, key:k1",
        ),
        (
            'balances: {"team:search:dayly": 1}, expect: {verdict: allow}',
            CALL,
            'is no budget, no rule and no SCOPE:PERIOD; did you mean "team:search:daily"?',
        ),
        ("balances: {slow: 1}, expect: {verdict: allow}", CALL, "this rule has no balance of its own"),
        (
            'balances: {early: 1, "team:search:daily": 2}, expect: {verdict: allow}',
            CALL,
            "is the same money as another one here",
        ),
        (
            'used: {"team:search:rat": {requests: 1}}, expect: {verdict: allow}',
            CALL,
            'no such rate; did you mean "team:search:rate"?',
        ),
        ("in_flight: {teams: 4}, expect: {verdict: allow}", CALL, "is no scope; write one of global"),
        ("breakers: {slo: open}, expect: {verdict: allow}", CALL, 'did you mean "slow"?'),
        ("breakers: {slow: ajar}, expect: {verdict: allow}", CALL, "cases[0].breakers.slow"),
        ("expect: {verdict: maybe}", CALL, "1 problem\n  line 4  cases[0].expect.verdict"),
        ("expects: {verdict: allow}", CALL, 'did you mean "expect"?'),
        ("balances: {early: -1}, expect: {verdict: allow}", CALL, "-1 must be at least 0"),
    ],
)
def test_a_case_that_cannot_be_run_is_told_with_its_place_and_remedy(
    rules: Path, case: str, call: str, told: str
) -> None:
    done = run_case(rules, case, call)

    assert done.exit_code == 2
    assert "line 4" in done.stderr or "line 2" in done.stderr
    assert told in done.stderr


def test_a_file_of_cases_that_is_not_there_is_told(rules: Path) -> None:
    done = run("test", rules.with_name("none.yaml"), "--rules", rules)

    assert done.exit_code == 2
    assert "none.yaml" in done.stderr
    assert "examples/rules_cases.yaml" in done.stderr


def test_a_case_of_the_configuration_is_run_at_its_prices(rules: Path) -> None:
    config = rules.with_name("config.yaml")
    config.write_text(
        "providers: {openai: {dialect: openai, base_url: 'http://x/v1', api_key: x}}\nrules_file: own.yaml\nprices_file: prices.yaml\n"
    )
    rules.with_name("own.yaml").write_text("version: 1\nbudgets: [{period: total, limit_usd: 1}]\n")
    rules.with_name("prices.yaml").write_text(
        "version: 1\nprices: [{provider: openai, model: gpt-4o, per_1m: {input: 1000, output: 0}}]\n"
    )
    cases = rules.with_name("cases.yaml")
    cases.write_text(
        f"version: 1\n{TOKENS.replace('MANY', '10')}\ncases: [{{name: it, expect: {{verdict: block}}, "
        "balances: {'global:total': 0.01}}]"
    )

    done = run("test", cases, "-c", config)

    assert done.exit_code == 0, done.output
