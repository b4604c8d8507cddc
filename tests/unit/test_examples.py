"""What we show people is true: example files load and are complete, reference pages say what the models say."""

import re
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import click
import pytest
from click.testing import CliRunner
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pricing.document import parse
from proxy import environment
from proxy.cli import COMMANDS, spendgate
from proxy.config import LoadedConfig, load_config, load_rules
from proxy.settings import Config
from rules.allowance import AllowanceSpec, ModelSpec
from rules.breaker import State
from rules.call import Operation
from rules.cases import CallSpec, CaseSpec, Ending, ExpectSpec
from rules.category import CategorySpec
from rules.counter import HoldMode
from rules.file import RouteSpec, RulesFile, ScopedBudgetSpec
from rules.ratespec import RateSpec
from rules.rule import Action, Mode, OnError, Per, ThresholdType
from rules.rulespec import RuleSpec
from rules.spec import NotYet
from rules.window import Period

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
CONFIG, RULES = ROOT / "config.example.yaml", ROOT / "examples" / "rules.yaml"
REQUIRED = "required"
ASKED = re.compile(r'environ\.get\("([A-Z_]+)"')
Row = tuple[str, ...]


# -- what the models say ----------------------------------------------------------------------------------------------


def is_later(info: FieldInfo) -> bool:
    return bool(info.metadata) and info.metadata == list(get_args(NotYet)[1:])


def later(model: type[BaseModel]) -> set[str]:
    return {name for name, info in model.model_fields.items() if is_later(info)}


def settings(model: type[BaseModel], before: str = "") -> Iterator[Row]:
    """Every key below a model with its default: `providers.<name>.dialect`, `alerts.routes[].severity`."""
    for name, info in model.model_fields.items():
        if is_later(info):
            continue
        inner, step = part_of(info.annotation)
        if inner is None or step != "." or (not info.is_required() and default_of(info) is None):
            yield f"{before}{name}", shown_default(info)
        if inner is not None:
            yield from settings(inner, f"{before}{name}{step}")


def part_of(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The model that a key holds, and what stands between the key and those of the model."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, "."
    kind, arguments = get_origin(annotation), get_args(annotation)
    inner = next((found for each in arguments if (found := part_of(each))[0] is not None), (None, ""))
    if inner[0] is None or kind in (Annotated, Union, UnionType):
        return inner
    return inner[0], {dict: ".<name>.", tuple: "[]."}[kind]


def default_of(info: FieldInfo) -> Any:
    return info.get_default(call_default_factory=True)


def shown_default(info: FieldInfo) -> str:
    return REQUIRED if info.is_required() else shown(default_of(info))


def shown(value: Any) -> str:
    """A value as people would write it in the file."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case StrEnum():
            return value.value
        case int() | float() | Decimal():
            return f"{Decimal(str(value)).normalize():f}"
        case BaseModel():
            written = {name: getattr(value, name) for name in value.model_fields_set}
            return shown(written) if written else "nothing"
        case dict():
            return "{" + ", ".join(f"{key}: {shown(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(shown, value)) + "]"
    return str(value) or '""'


# -- what the files say -----------------------------------------------------------------------------------------------


def written(data: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a file's values with its value. A name that the writer chose is `<name>` there too."""
    for name, value in data.items():
        key = f"{before}{name}"
        yield key, value
        inner = value if isinstance(value, list) else [value]
        step = "[]." if isinstance(value, list) else "."
        if key in NAMED:
            inner, step = list(value.values()), ".<name>."
        for each in inner:
            if isinstance(each, dict):
                yield from written(each, f"{key}{step}")


NAMED = {"providers", "alerts.channels", "teams", "keys", "models"}


def table(page: str, heading: str) -> list[Row]:
    """The cells of the first table below a heading, without its head; marks of code removed."""
    text = "\n" + (REFERENCE / page).read_text()
    _, found, section = text.partition(f"\n{heading}\n")
    assert found, f"{page} has no {heading}"
    lines = section.partition("\n## ")[0].splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("|---"))
    rows = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        rows.append(tuple(cell.strip() for cell in line.strip("|").split(" | ")))
    return rows


def code(cell: str) -> str:
    return cell.strip("` ")


def load(folder: Path, **variables: str) -> LoadedConfig:
    """The example with the example rules beside it, as users would put them."""
    (folder / "rules.yaml").write_text(RULES.read_text())
    (folder / "config.yaml").write_text(CONFIG.read_text())
    return load_config(folder / "config.yaml", variables)


# -- examples ---------------------------------------------------------------------------------------------------------


def test_the_example_files_load_without_a_warning(tmp_path: Path) -> None:
    loaded = load(tmp_path, OPENAI_API_KEY="sk-of-openai")
    policy = load_rules(loaded)

    assert (loaded.warnings, policy.warnings) == ((), ())
    assert loaded.config.default_provider == "openai"
    assert {rule.rule_id for rule in policy.rules} >= {"no-dear-calls", "try-out"}


def test_the_example_configuration_names_every_setting_with_its_default() -> None:
    data = dict(written(parse(CONFIG.read_text(), file="config.yaml", environ={}).data))
    chosen = {"providers", "providers.<name>.api_key", "alerts.routes"}  # an empty one would show nothing
    off = {"tls.cert_file", "tls.key_file"}  # in the comment of `tls`, which is off by default

    for key, default in settings(Config):
        if key in off:
            assert f"{key.removeprefix('tls.')}: " in line_of("tls", CONFIG)
        elif default == REQUIRED or key in chosen:
            assert key in data
        else:
            assert (key, shown(data[key])) == (key, default)


def test_each_setting_of_the_example_stands_with_its_reason() -> None:
    settings = [line for line in CONFIG.read_text().splitlines() if line and not line.startswith("#")]

    bare = [line for line in settings if " # " not in line]
    assert [line for line in bare if not line.endswith(":")] == [], (
        "only the name of a section needs no reason"
    )


def test_the_example_rules_use_every_key_that_works() -> None:
    used = {key for key, _ in written(parse(RULES.read_text(), file="rules.yaml", environ={}).data)}
    allowances = {
        f"{place}.{name}"
        for place in ("default_team", "teams.<name>", "keys.<name>")
        for name in ("budgets", "models", "rate", "max_output_tokens")
    }

    once = re.compile(r".*\.budgets\[\]\.|(?!teams\.).*\.rate\.")  # their keys stand in another place, too
    wanted = {key for key, _ in settings(RulesFile) if not once.match(key)}
    assert used >= wanted | allowances


def line_of(key: str, file: Path) -> str:
    return line_starting(f"{key}:", file)


def line_starting(text: str, file: Path) -> str:
    return next(line for line in file.read_text().splitlines() if line.startswith(text))


# -- reference --------------------------------------------------------------------------------------------------------


def test_the_reference_of_the_configuration_has_every_key_and_default() -> None:
    told = [(code(key), code(default)) for key, default, _ in table("config.md", "## Keys")]

    assert sorted(told) == sorted(settings(Config))


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("## The file", RulesFile),
        ("## What a team or key may use", AllowanceSpec),
        ("## A model", ModelSpec),
        ("## A rate", RateSpec),
        ("## A budget", ScopedBudgetSpec),
        ("## A rule", RuleSpec),
        ("## A route", RouteSpec),
        ("## A category", CategorySpec),
    ],
)
def test_the_reference_of_the_rules_has_every_key_and_default(heading: str, model: type[BaseModel]) -> None:
    told = [(code(key), code(default)) for key, default, _ in table("rules.md", heading)]

    fields = model.model_fields.items()
    assert sorted(told) == sorted((name, shown_default(info)) for name, info in fields if not is_later(info))


def test_the_reference_of_the_rules_has_every_word_that_works() -> None:
    text = (REFERENCE / "rules.md").read_text()

    for word in (
        *ThresholdType,
        *Action,
        *Mode,
        *Per,
        *OnError,
        *HoldMode,
        *Period,
        *Ending,
        *State,
        *Operation,
    ):
        assert f"`{word}`" in text


@pytest.mark.parametrize(("word", "words"), [("threshold_type", ThresholdType), ("action", Action)])
def test_the_reference_of_the_rules_explains_every_figure_and_action(word: str, words: type[StrEnum]) -> None:
    section = (REFERENCE / "rules.md").read_text().partition(f"\n| {word} | ")[2].partition("\n\n")[0]

    assert sorted(code(line.split("|")[1]) for line in section.splitlines()[2:]) == sorted(words)


def test_no_key_of_the_rules_waits_for_a_later_version() -> None:
    specs = (RulesFile, AllowanceSpec, ModelSpec, RateSpec, ScopedBudgetSpec, RuleSpec)

    assert [name for spec in specs for name in later(spec)] == []


@pytest.mark.parametrize(
    ("heading", "model"), [("| key of a case |", CaseSpec), ("| key of `expect` |", ExpectSpec)]
)
def test_the_reference_of_cases_has_every_key(heading: str, model: type[BaseModel]) -> None:
    rows = (REFERENCE / "rules.md").read_text().partition(heading)[2].partition("\n\n")[0].splitlines()[2:]

    assert {code(key) for row in rows for key in row.split("|")[1].split(",")} == set(model.model_fields)


def test_the_facts_of_a_case_are_told() -> None:
    told = re.findall(r"`(\w+)`", line_starting("| `call` |", REFERENCE / "rules.md"))

    assert set(told) == {"call", *CallSpec.model_fields}


def test_the_pasted_rules_do_what_their_pasted_cases_say(tmp_path: Path) -> None:
    pasted = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / "howto" / "throttling.md").read_text(), re.DOTALL
    )
    for name, text in zip(("rules.yaml", "cases.yaml"), pasted, strict=True):
        (tmp_path / name).write_text(text)

    done = CliRunner().invoke(
        spendgate, ["rules", "test", str(tmp_path / "cases.yaml"), "--rules", str(tmp_path / "rules.yaml")]
    )

    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "5 cases, all ok"), done.output


def test_the_reference_of_the_configuration_tells_what_is_not_there_yet() -> None:
    absent = (REFERENCE / "config.md").read_text().partition("## Not in this version")[2]

    assert [name for name in later(Config) if f"`{name}`" not in absent] == []


def test_the_reference_of_the_environment_has_every_variable() -> None:
    fallbacks = [(each.variable, each.key, each.meaning) for each in environment.OF_CONFIG]
    fallbacks += [(each.variable, each.key, each.meaning) for each in environment.OF_RULES]
    plain = [
        (code(variable), code(key), meaning)
        for variable, key, meaning in table("environment.md", "## Variables of older set-ups")
    ]
    idle = {code(variable): reason for variable, reason in table("environment.md", "## Without effect")}

    assert plain == fallbacks
    assert idle == environment.WITHOUT_EFFECT
    own = {code(row[0]) for row in table("environment.md", "# Environment")}
    read = {name for file in ROOT.glob("proxy/**/*.py") for name in ASKED.findall(file.read_text())}
    assert own == {environment.CONFIG, *read}


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(spendgate)
    for noun in COMMANDS:
        command = spendgate.get_command(context, noun)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{noun} {verb}", inner) for verb, inner in command.commands.items())
        else:
            yield noun, command


@pytest.mark.parametrize(("name", "command"), [pytest.param(*each, id=each[0]) for each in commands()])
def test_the_reference_of_the_command_line_has_every_command_and_option(
    name: str, command: click.Command
) -> None:
    told = {
        option.strip()
        for row in table("cli.md", f"## spendgate {name}")
        for option in code(row[0]).split(",")
    }
    options = [each for each in command.params if isinstance(each, click.Option)]
    section = (REFERENCE / "cli.md").read_text().partition(f"## spendgate {name}\n")[2].partition("\n## ")[0]

    assert {option.strip("` ") for option in told} == {word for each in options for word in each.opts}
    assert f"\n    spendgate {name}" in section, "no example"


@pytest.mark.parametrize(("name", "command"), [pytest.param(*each, id=each[0]) for each in commands()])
def test_help_explains_a_command_and_each_of_its_options(name: str, command: click.Command) -> None:
    done = CliRunner().invoke(spendgate, [*name.split(), "--help"])

    assert done.exit_code == 0
    assert command.get_short_help_str() in " ".join(done.output.split()) or command.help
    assert all(word in done.output for each in command.params for word in each.opts if word.startswith("-"))
