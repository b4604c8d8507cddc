"""Bodies that are not what their path says: refused with the parameter and in plain words, and never with a crash."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.dialects import Api, BadBody, Reading
from proxy.dialects.body import STRICT_BYTES_ALWAYS, json_object
from proxy.dialects.openai import DIALECT

PATHS = ["chat/completions", "completions", "embeddings", "responses"]
GOOD = '"model":"m","messages":[]'
PAD = ',"pad":"' + "x" * STRICT_BYTES_ALWAYS + '"'
HALF = "\\ud83d"  # of a surrogate pair, as JSON writes it


def api(path: str) -> Api:
    found = DIALECT.surface("POST", f"/v1/{path}").api
    assert found is not None
    return found


def read(more: str, path: str = "chat/completions", *, strict: bool = False) -> Reading:
    return api(path).read(f"{{{GOOD}{more}}}".encode(), strict=strict)


def refused(body: bytes, path: str = "chat/completions", *, strict: bool = False) -> BadBody:
    with pytest.raises(BadBody) as bad:
        api(path).read(body, strict=strict)
    told = json.loads(
        DIALECT.refusal(
            status=400,
            message=bad.value.message,
            kind="x",
            code=bad.value.code,
            param=bad.value.param,
            extra={},
        )
    )
    assert told["error"]["message"] == str(bad.value) != ""
    return bad.value


# -- not JSON -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"model":"m"',
        b'{"model":"m",}',
        b"{'model':'m'}",
        b'{"model":"m"}{"model":"n"}',
        b'{"model":"\xff"}',
        b"\xef\xbb\xbf{}",
        '{"model":"m"}'.encode("utf-16"),
        b'{"temperature":NaN}',
        b'{"temperature":-Infinity}',
        b'{"temperature":1e400}',
        b'{"temperature":-1e400}',
        b'{"n":' + b"9" * 5000 + b"}",
        b'{"a":' * 100_000,
        b'{"tools":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: repr(body[:24]),
)
@pytest.mark.parametrize("path", PATHS)
def test_what_is_not_json_is_told_so(path: str, body: bytes) -> None:
    bad = refused(body, path)

    assert (bad.code, bad.param) == ("invalid_json", None)
    assert bad.message.startswith(("the body is not JSON: ", "the body is nested too deeply"))


@pytest.mark.parametrize("body", [b"null", b"[]", b'"text"', b"7", b"true", b'[{"model":"m"}]'])
@pytest.mark.parametrize("path", PATHS)
def test_json_that_is_no_object_is_told_so(path: str, body: bytes) -> None:
    assert refused(body, path).message == "the body must be a JSON object"


@pytest.mark.parametrize("depth", [250, 900, 1000, 1020, 3000])
@pytest.mark.parametrize("pad", ["", PAD], ids=["short", "long"])
def test_a_body_deeper_than_a_parser_goes_is_read_or_refused_as_too_deep(depth: int, pad: str) -> None:
    """How deep each parser goes differs between versions of Python."""
    more = f',"tools":[{"[" * depth}{"]" * depth}]{pad}'

    try:
        told = read(more).model
    except BadBody as bad:
        told = bad.message

    assert told in ("m", "the body is nested too deeply")


# -- one key twice --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "key"),
    [
        (',"model":"n"', "model"),
        (',"Model":"n"', "Model"),
        (',"MODEL":"n"', "MODEL"),
        (',"\\u006dodel":"n"', "model"),
        (',"\\u004dodel":"n"', "Model"),
        (',"stream":false,"\u017ftream":true', "\u017ftream"),
        (',"max_tokens":1,"max_tokens":9', "max_tokens"),
        (',"stream_options":{"include_usage":true,"include_usage":false}', "include_usage"),
        (',"tools":[[{"a":[{"b":1,"b":2}]}]]', "b"),
    ],
)
def test_a_key_that_two_parsers_could_read_differently_is_refused(more: str, key: str) -> None:
    bad = refused(f"{{{GOOD}{more}}}".encode())

    assert (bad.code, bad.param) == ("duplicate_key", key)
    assert bad.message == f'the key "{key}" stands twice in one object'


@pytest.mark.parametrize(
    "more",
    [
        ',"tools":[{"function":{"parameters":{"properties":{"id":{},"ID":{}}}}}]',
        ',"metadata":{"team":"a","Team":"b"}',
        ',"response_format":{"schema":{"properties":{"a":{},"A":{}}}}',
    ],
)
def test_in_schemas_and_metadata_case_makes_a_difference(more: str) -> None:
    assert read(more).model == "m"


def test_case_makes_none_in_messages() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"short","Content":"long"}]}'

    assert (refused(body).code, refused(body).param) == ("duplicate_key", "Content")


def test_the_same_key_in_two_objects_is_fine() -> None:
    assert read(',"metadata":{"model":"n"},"tools":[{"model":1},{"model":2}]').model == "m"


def test_long_bodies_are_searched_for_doubled_keys_only_when_it_matters() -> None:
    doubled = f',"model":"n"{PAD}'

    assert read(doubled).model == "n"
    assert refused(f"{{{GOOD}{doubled}}}".encode(), strict=True).code == "duplicate_key"


def test_a_doubled_key_of_half_a_character_can_be_told() -> None:
    assert refused(f'{{{GOOD},"{HALF}":1,"{HALF}":2}}'.encode()).code == "duplicate_key"


def test_a_very_long_doubled_key_is_cut_in_the_message() -> None:
    bad = refused(f'{{{GOOD},"{"k" * 5000}":1,"{"k" * 5000}":2}}'.encode())

    assert bad.param == "k" * 60


# -- half characters, which providers take ------------------------------------------------------------------------


def test_half_a_character_in_a_prompt_is_read() -> None:
    reading = api("chat/completions").read(
        f'{{"model":"m","messages":[{{"role":"user","content":"{HALF}"}}]}}'.encode()
    )

    assert reading.prompt.texts == ("user", "\ud83d")


def test_half_a_character_in_a_tool_is_read() -> None:
    assert len(read(f',"tools":[{{"function":{{"name":"{HALF}"}}}}]').prompt.tools) == 1


@pytest.mark.parametrize("name", ["model", "service_tier"])
def test_half_a_character_in_what_we_write_down_is_refused(name: str) -> None:
    bad = refused(json.dumps({"model": "m", "messages": [], name: "a\ud83d"}).encode())

    assert (bad.param, bad.message) == (name, f'"{name}" holds half of a character')


def test_half_a_character_in_the_users_name_is_replaced() -> None:
    assert read(f',"user":"a{HALF}"').user == "a?"


# -- wrong types ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("messages", [None, "hi", {}, 1], '"messages" must be a list'),
        ("tools", ["all", {}, 1, True], '"tools" must be a list'),
        ("functions", ["all", {}, 1.5], '"functions" must be a list'),
        ("stream", [0, 1, "true", []], '"stream" must be true or false'),
        ("n", [0, -1, 129, 1.0, "2", True, 10**30, [1]], '"n" must be a whole number from 1 to 128'),
        (
            "max_tokens",
            [-1, 1.5, "9", False, 2**40],
            '"max_tokens" must be a whole number from 0 to 2147483648',
        ),
        ("stream_options", ["usage", [], 1, True], '"stream_options" must be an object'),
        ("service_tier", [1, [], {}], '"service_tier" must be a string'),
    ],
)
def test_a_value_of_the_wrong_type_names_its_parameter_and_what_it_must_be(
    name: str, values: list[Any], message: str
) -> None:
    for value in values:
        bad = refused(json.dumps({"model": "m", "messages": [], name: value}).encode())

        assert (bad.param, bad.code, bad.message) == (name, "invalid_value", message)


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("responses", "tools", 7),
        ("responses", "max_output_tokens", "9"),
        ("responses", "background", 1),
        ("responses", "user", 5),
        ("completions", "best_of", 0),
        ("completions", "max_tokens", 1e9),
        ("embeddings", "user", []),
    ],
)
def test_the_other_apis_name_their_parameters_too(path: str, name: str, value: Any) -> None:
    assert refused(json.dumps({"model": "m", name: value}).encode(), path).param == name


# -- anything at all ------------------------------------------------------------------------------------------------

NAMES = """model messages stream n best_of max_tokens max_completion_tokens max_output_tokens tools functions text user
    response_format stream_options include_usage input prompt instructions suffix type role content name tool_calls
    function_call audio image_url url detail input_audio data file file_data file_id format json_schema refusal
    service_tier safety_identifier background""".split()  # noqa: SIM905 - a list of them fills a page
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        ["\ud800", "text", "image_url", "input_audio", "file", "message", "json_schema", "x" * 100]
    )
    | st.sampled_from(["data:image/png;base64,iVBORw0KGgo", "data:image/jpeg;base64,/9j/", "item_reference"])
)
KEYS = st.sampled_from(NAMES) | st.sampled_from(["Model", "\udfff", ""])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
relaxed = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@relaxed
@given(st.dictionaries(KEYS, VALUES, max_size=6), st.sampled_from(PATHS), st.booleans(), st.booleans())
def test_no_body_raises_anything_but_a_readable_refusal(
    body: dict[str, Any], path: str, is_likely: bool, strict: bool
) -> None:
    if is_likely:
        messages = body.get("messages")
        body = {**body, "model": "m", "messages": messages if isinstance(messages, list) else []}
    sent = json.dumps(body).encode()

    try:
        reading = api(path).read(sent, strict=strict)
    except BadBody:
        refused(sent, path, strict=strict)
        return

    assert reading.choices >= 1
    assert reading.prompt.body_bytes == len(sent)
    reading.user.encode()


@relaxed
@given(
    st.binary(max_size=60)
    | st.text(alphabet='{}[]",:\\u0123dDeEmodel \n\ud800', max_size=60).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
)
def test_no_bytes_raise_anything_but_a_readable_refusal(body: bytes) -> None:
    try:
        value: object = json_object(body, strict=True)
    except BadBody as bad:
        value = bad.message

    assert isinstance(value, dict) or value
