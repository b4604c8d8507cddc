"""YAML that people write, as plain values with their lines: nothing built, nothing run, nothing without a bound."""

from decimal import Decimal

import pytest

from pricing.document import BYTES_MAX, Document, DocumentError, parse
from pricing.problem import Problem
from pricing.yamltext import DEPTH_MAX, NODES_MAX


def read(text: str, **environ: str) -> Document:
    return parse(f"version: 1\n{text}", file="f.yaml", environ=environ)


def value(text: str, **environ: str) -> object:
    """Of the one key `x`; whatever the reader noted is a failure."""
    document = read(f"x: {text}", **environ)
    assert document.problems == ()
    return document.data["x"]


def noted(text: str, **environ: str) -> list[Problem]:
    return [problem for _, problem in read(text, **environ).problems]


def refused(text: str) -> Problem:
    with pytest.raises(DocumentError) as raised:
        parse(text, file="f.yaml", environ={})
    (problem,) = raised.value.problems
    return problem


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("1_000", 1_000),
        ("0.10", Decimal("0.10")),
        ("1.0e+5", Decimal("1.0e+5")),
        ("12345678901234567890", Decimal("12345678901234567890")),
        ("true", True),
        ("off", False),
        ("null", None),
        ("", None),
        ("plain words", "plain words"),
        ('"5"', "5"),
        ("2024-01-01", "2024-01-01"),
        ("[1, two, [3]]", [1, "two", [3]]),
        ("{a: {b: c}}", {"a": {"b": "c"}}),
    ],
)
def test_values_are_plain_and_numbers_with_a_point_are_decimals(written: str, expected: object) -> None:
    found = value(written)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "written", [".nan", ".inf", "-.inf", "0x10", "12:30", "1.0e+999999999", "1.0e-999999999", "9" * 41]
)
def test_what_is_no_finite_decimal_number_is_noted(written: str) -> None:
    (problem,) = noted(f"x: {written}")

    assert (problem.path, problem.line) == ("x", 2)
    assert problem.message == f"{written[:40]} is not a number that is read here"
    assert problem.remedy == "write a decimal number, or quote it"


@pytest.mark.parametrize(
    ("written", "environ", "expected"),
    [
        ("${A}", {"A": "secret"}, "secret"),
        ("<${A}-${B}>", {"A": "1", "B": "2"}, "<1-2>"),
        ("${A}", {"A": ""}, ""),  # set, to nothing
        ("${A:-plan b}", {}, "plan b"),
        ("${A:-plan b}", {"A": ""}, "plan b"),
        ("${A:-plan b}", {"A": "plan a"}, "plan a"),
        ("${A:-}", {}, ""),
        ("$${A}", {"A": "secret"}, "${A}"),
        ("$$", {}, "$"),
        ("$A $ {A} ${1}", {"A": "secret"}, "$A $ {A} ${1}"),
        ("${A}", {"A": "${B}", "B": "deep"}, "${B}"),  # what a variable holds is not read again
        ("${A}", {"A": "x: [1, 2]"}, "x: [1, 2]"),  # nor is it YAML
    ],
)
def test_variables_are_replaced_in_strings(written: str, environ: dict[str, str], expected: str) -> None:
    assert value(f"'{written}'", **environ) == expected


def test_a_variable_that_is_not_set_is_named_with_its_line_and_what_to_do() -> None:
    (problem,) = noted("a:\n  - fine\n  - https://${HOST}/")

    assert (problem.path, problem.line) == ("a[1]", 4)
    assert problem.message == "${HOST} is not set"
    assert problem.remedy == "export HOST, or write ${HOST:-default}"


def test_every_unset_variable_is_told() -> None:
    assert [problem.message for problem in noted("a: ${A}\nb: ${B}${C}")] == [
        "${A} is not set",
        "${B} is not set",
        "${C} is not set",
    ]


def test_a_key_that_stands_twice_is_told_with_both_lines() -> None:
    document = read("a:\n  b: 1\n  c: 2\n  b: 3")

    (problem,) = [problem for _, problem in document.problems]
    assert (problem.path, problem.line) == ("a.b", 5)
    assert problem.message == "stands twice, first in line 3"
    assert document.data["a"]["b"] == 1


@pytest.mark.parametrize(
    ("text", "path", "word"),
    [
        ("a: {<<: {b: 1}}", "a", "merge keys"),
        ("a: {? [b] : 1}", "a", "plain word"),
        ("a: !!python/object/apply:os.system [x]", None, None),
        ("a: !!python/name:os.system x", "a", "tag"),
        ("a: !!binary aGk=", "a", "tag"),
        ("a: !mine x", "a", "tag"),
    ],
)
def test_tricks_of_yaml_are_not_played(text: str, path: str | None, word: str | None) -> None:
    document = read(text)

    if path is None:  # a tag on a list is not looked at: nothing is ever built from it
        assert document.data["a"] == ["x"]
        return
    (problem,) = [problem for _, problem in document.problems]
    assert problem.path == path
    assert word is not None
    assert word in problem.message


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: [1, 2", 1, "not YAML"),
        ("a: 1\n b: 2", 2, "not YAML"),
        ("a: *nobody", 1, "undefined alias"),
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("- a\n- b", 1, "mapping"),
        ("just words", 1, "mapping"),
        ("a: \x00", None, "not YAML"),
        ("a: \ud800", None, "not YAML"),
        ("a: \t@", 1, "not YAML"),
    ],
)
def test_what_is_not_one_mapping_is_refused_with_its_line(text: str, line: int | None, word: str) -> None:
    problem = refused(text)

    assert problem.line == line
    assert word in problem.message


def test_an_empty_text_is_an_empty_mapping() -> None:
    assert parse("", file="f.yaml", environ={}).data == {"version": 1}


def nested(depth: int) -> str:
    return "a: " + "[" * depth + "]" * depth


def test_a_character_written_as_two_halves_is_one_as_in_json() -> None:
    assert value(r'"\ud83d\ude00 \u00e9"') == "😀 é"


@pytest.mark.parametrize("text", [r'x: "a\ud800"', r'"\udc00": 1', r'x: {y: ["\ude00\ud83d"]}'])
def test_half_a_character_is_told_and_goes_no_further(text: str) -> None:
    (problem,) = noted(text)

    assert "holds half a character" in problem.message
    str(read(text)).encode()


def test_depth_has_a_limit() -> None:
    assert parse(nested(DEPTH_MAX), file="f.yaml", environ={}).problems == ()
    assert f"deeper than {DEPTH_MAX}" in refused(nested(DEPTH_MAX + 1)).message


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "a: &x [*x]", nested(5_000)]
)
def test_depth_without_end_is_refused_not_died_of(text: str) -> None:
    assert "nested deeper" in refused(text).message


@pytest.mark.timeout(30)
def test_aliases_that_multiply_are_refused() -> None:
    """Nine levels of nine: 387 million values from 300 characters."""
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]

    problem = refused("\n".join(["l0: &l0 boom", *levels]))

    assert f"more than {NODES_MAX} values" in problem.message


def test_an_alias_in_measure_is_followed() -> None:
    assert read("a: &a {b: 1}\nc: *a").data["c"] == {"b": 1}


def test_a_text_longer_than_any_file_that_people_edit_is_refused_unread() -> None:
    assert f"longer than {BYTES_MAX}" in refused("#" * (BYTES_MAX + 1)).message


def test_each_value_knows_its_line() -> None:
    document = read("a:\n  - b: 1\n\n    c: 2\n  - d")

    assert document.line_of(("a",)) == 2
    assert document.line_of(("a", 0, "b")) == 3
    assert document.line_of(("a", 0, "c")) == 5
    assert document.line_of(("a", 1)) == 6
    assert document.line_of(("a", 0, "missing", 7)) == 3  # the nearest part around it
    assert document.line_of(("nowhere",)) is None
