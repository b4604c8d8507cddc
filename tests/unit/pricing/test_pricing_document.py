"""A file as a model: all that is wrong at once, in the order of the file, each with what to do, no secret told."""

import hashlib
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict

from pricing.document import Document, DocumentError, Problem, check, content_version, nearest, parse, path_of


def _no_spaces(text: str) -> str:
    if " " in text:
        raise ValueError(f"{text!r} has spaces: take them out")
    return text


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Server(Strict):
    host: str = "here"
    port: int = 80
    token: Annotated[str, AfterValidator(_no_spaces)] = ""


class Model(Strict):
    version: int = 1
    mode: Literal["on", "off"] = "on"
    server: Server = Server()
    servers: list[Server] = []
    named: dict[str, Server] = {}
    either: int | list[int] | Server = 0


class Demanding(Strict):
    version: int = 1
    name: str


def document(text: str, **environ: str) -> Document:
    return parse(f"version: 1\n{text}", file="f.yaml", environ=environ)


def problems(text: str, **environ: str) -> list[Problem]:
    with pytest.raises(DocumentError) as raised:
        check(Model, document(text, **environ))
    return list(raised.value.problems)


def told(text: str, **environ: str) -> str:
    with pytest.raises(DocumentError) as raised:
        check(Model, document(text, **environ))
    assert raised.value.__cause__ is None, "pydantic's own words show the values"
    assert raised.value.__suppress_context__
    return str(raised.value)


def test_a_file_without_fault_is_its_model() -> None:
    made = check(Model, document("mode: 'off'\nserver: {port: 8080}\nnamed: {a: {host: there}}"))

    assert made == Model(mode="off", server=Server(port=8080), named={"a": Server(host="there")})


@pytest.mark.parametrize(
    ("text", "path", "remedy"),
    [
        ("sever: {}", "sever", 'did you mean "server"?'),
        ("server: {prot: 1}", "server.prot", 'did you mean "port"?'),
        ("servers: [{}, {hots: x}]", "servers[1].hots", 'did you mean "host"?'),
        ("named: {a: {tokn: x}}", "named.a.tokn", 'did you mean "token"?'),
        ("zzzzzz: 1", "zzzzzz", "remove it"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_name_of_its_place(
    text: str, path: str, remedy: str
) -> None:
    assert problems(text) == [Problem(path, "unknown key", remedy, 2)]


def test_a_missing_key_is_told() -> None:
    with pytest.raises(DocumentError) as raised:
        check(Demanding, document(""))

    assert raised.value.problems == (Problem("name", "is missing", "add it", None),)


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = "nmode: x\nserver:\n  port: many\n  host: ${NOBODY}\n  host: y\nmode: maybe"

    assert [(problem.line, problem.path) for problem in problems(text)] == [
        (2, "nmode"),
        (4, "server.port"),
        (5, "server.host"),
        (6, "server.host"),
        (7, "mode"),
    ]


def test_a_place_that_reading_told_of_is_not_told_of_twice() -> None:
    (problem,) = problems("server: {port: 0x10}")

    assert problem.message == "0x10 is not a number that is read here"


def test_the_error_reads_as_a_list_for_people() -> None:
    assert told("server: {prot: 1}\nmode: maybe") == (
        "f.yaml: 2 problems\n"
        '  line 2  server.prot: unknown key; did you mean "port"?\n'
        "  line 3  mode: \"maybe\" should be 'on' or 'off'"
    )


def test_a_value_is_shown_only_in_part_when_it_is_long() -> None:
    (problem,) = problems(f"server: {{port: {'x' * 500}}}")

    assert problem.message.startswith('"' + "x" * 60 + '" should be')
    assert len(problem.message) < 160


SECRETS = ["sk-short", "sk-" + "a1B2" * 14, "sk-proj-" + "Zx9_" * 40, "two words", "x" * 61]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "text",
    [
        "server: {port: '${KEY}'}",
        "servers: [{port: '${KEY}'}]",
        "named: {a: {port: '${KEY}'}}",
        "mode: ${KEY}",
        "server: ${KEY}",
        "either: ${KEY}",
        "either: ['${KEY}']",
        "server: {port: 'Bearer ${KEY}'}",
        "server: {token: 'Bearer ${KEY}'}",
        "server: {token: '${KEY} ${KEY}'}",
    ],
)
def test_what_a_variable_holds_is_never_shown_in_a_problem(secret: str, text: str) -> None:
    words = told(text, KEY=secret)

    for part in {secret, secret[:20], secret[-20:]}:
        assert part not in words


def test_a_default_that_is_wrong_is_shown_as_it_was_written() -> None:
    (problem,) = problems("server: {port: '${PORT:-many}'}")

    assert problem.message.startswith('"${PORT:-many}" should be a valid integer')


def test_a_variable_of_one_letter_does_not_garble_the_words_around_it() -> None:
    (problem,) = problems("server: {port: '${X}'}", X="a")

    assert problem.message == '"${X}" should be a valid integer, unable to parse string as an integer'


@pytest.mark.parametrize("version", [2, 999])
def test_a_file_of_a_newer_version_is_refused(version: int) -> None:
    with pytest.raises(DocumentError) as raised:
        check(Model, parse(f"mode: 'on'\nversion: {version}", file="f.yaml", environ={}))

    assert raised.value.problems == (
        Problem(
            "version",
            f"{version} is not a version that is read here",
            "write 1, or use a newer Spendgate",
            2,
        ),
    )


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("version: 1", ()),
        ("mode: 'on'", ("f.yaml: has no version; write `version: 1` as its first line",)),
        ("version: 0", ("f.yaml: version 0 is old and read as 1; write `version: 1`",)),
    ],
)
def test_an_older_file_is_read_and_its_owner_told(text: str, warning: tuple[str, ...]) -> None:
    read = parse(text, file="f.yaml", environ={})

    assert read.warnings == warning
    assert check(Model, read).version == 1


@pytest.mark.parametrize("version", ["one", "1.5", "[1]"])
def test_a_version_that_is_no_number_is_a_problem(version: str) -> None:
    with pytest.raises(DocumentError) as raised:
        check(Model, parse(f"version: {version}", file="f.yaml", environ={}))

    assert [problem.path for problem in raised.value.problems] == ["version"]


def test_the_content_names_its_version() -> None:
    text = "version: 1\n"

    assert content_version(text) == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert content_version(text) != content_version(text + " ")
    assert len(content_version("\ud800")) == 12


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ((), ""),
        (("budgets", 2, "limit_usd"), "budgets[2].limit_usd"),
        ((0, 1, "a"), "[0][1].a"),
    ],
)
def test_a_place_is_written_as_people_would(place: tuple[str | int, ...], path: str) -> None:
    assert path_of(place) == path


def test_a_problem_tells_only_what_is_known() -> None:
    assert str(Problem("a.b", "is wrong", "mend it", 7)) == "line 7  a.b: is wrong; mend it"
    assert str(Problem("a.b", "is wrong")) == "a.b: is wrong"
    assert str(Problem("", "is wrong")) == "is wrong"


def test_the_nearest_word_is_near() -> None:
    assert nearest("limt", ["limit", "period"]) == "limit"
    assert nearest("zebra", ["limit", "period"]) is None
