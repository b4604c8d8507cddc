"""What a Gemini body gives away: contents, tools and limits, in either spelling; and what it is refused for."""

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pricing.tokens import Image
from proxy.dialects import BadBody, Reading
from proxy.dialects.gemini_content import GenerateContent
from proxy.dialects.gemini_embeddings import EmbedContent

HELLO = [{"role": "user", "parts": [{"text": "hello"}]}]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 480)).decode()
API = GenerateContent("m")


def read(**body: Any) -> Reading:
    return API.read(json.dumps({"contents": HELLO, **body}).encode())


def part(**given: Any) -> Reading:
    return read(contents=[{"role": "user", "parts": [given]}])


def refused(body: Any, api: GenerateContent | EmbedContent = API, *, strict: bool = False) -> BadBody:
    with pytest.raises(BadBody) as bad:
        api.read(body if isinstance(body, bytes) else json.dumps(body).encode(), strict=strict)
    return bad.value


# -- contents -------------------------------------------------------------------------------------------------------


def test_a_plain_call_gives_its_model_and_its_words() -> None:
    reading = read()

    assert (reading.model, reading.choices, reading.output_tokens_max, reading.stream) == (
        "m",
        1,
        None,
        False,
    )
    assert (reading.prompt.texts, reading.prompt.messages, reading.prompt.hidden) == (
        ("user", "hello"),
        1,
        False,
    )


@pytest.mark.parametrize("name", ["systemInstruction", "system_instruction"])
@pytest.mark.parametrize(
    "value", [{"parts": [{"text": "be brief"}]}, {"parts": {"text": "be brief"}}, "be brief"]
)
def test_the_systems_instruction_is_a_turn_of_its_own(name: str, value: Any) -> None:
    prompt = read(**{name: value}).prompt

    assert (prompt.texts, prompt.messages) == (("be brief", "user", "hello"), 2)


def test_one_object_stands_for_a_list_of_one() -> None:
    assert read(contents=HELLO[0]).prompt.texts == ("user", "hello")


@pytest.mark.parametrize("kind", ["mimeType", "mime_type"])
@pytest.mark.parametrize("name", ["inlineData", "inline_data"])
def test_a_picture_in_the_body_tells_its_size(name: str, kind: str) -> None:
    reading = part(**{name: {kind: "image/png", "data": PNG}})

    assert reading.prompt.images == (Image("auto", 640, 480),)


def test_sound_in_the_body_is_bounded_by_its_bytes() -> None:
    reading = part(inlineData={"mimeType": "audio/wav", "data": "AAAA" * 100})

    assert (reading.prompt.attachment_bytes, reading.prompt.images) == (300, ())


@pytest.mark.parametrize("kind", ["application/pdf", "video/mp4", "", None, 5])
def test_a_document_or_a_film_may_hold_more_than_its_bytes_tell(kind: Any) -> None:
    prompt = part(inlineData={"mimeType": kind, "data": "AAAA" * 1000}).prompt

    assert (prompt.hidden, prompt.tokens, prompt.attachment_bytes) == (True, 15, 0)


@pytest.mark.parametrize("name", ["fileData", "file_data"])
def test_a_files_address_is_hidden_input(name: str) -> None:
    assert part(**{name: {"fileUri": "https://example.org/f"}}).prompt.hidden


@pytest.mark.parametrize("name", ["cachedContent", "cached_content"])
def test_cached_content_is_hidden_input(name: str) -> None:
    assert read(**{name: "cachedContents/c-1"}).prompt.hidden
    assert not read(**{name: ""}).prompt.hidden


@pytest.mark.parametrize(
    ("given_part", "words"),
    [
        ({"functionCall": {"name": "f", "args": {"a": 1}}}, '{"name":"f","args":{"a":1}}'),
        ({"function_response": {"name": "f"}}, '{"name":"f"}'),
        ({"executableCode": {"code": "1+1"}}, '{"code":"1+1"}'),
        ({"newKind": {"x": 1}}, '{"newKind":{"x":1}}'),
    ],
)
def test_calls_their_results_and_what_is_not_known_count_as_their_json(
    given_part: dict[str, Any], words: str
) -> None:
    assert part(**given_part).prompt.texts == ("user", words)


def test_the_signature_of_a_thought_is_input_too() -> None:
    assert part(text="so", thoughtSignature="c2ln").prompt.texts == ("user", "so", "c2ln")


# -- tools and settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["functionDeclarations", "function_declarations"])
def test_functions_are_counted_one_by_one_and_hide_nothing(name: str) -> None:
    prompt = read(tools=[{name: [{"name": "a"}, {"name": "b"}]}]).prompt

    assert (len(prompt.tools), prompt.hidden) == (2, False)


@pytest.mark.parametrize(
    "tool",
    [
        {"googleSearch": {}},
        {"google_search": {}},
        {"googleSearchRetrieval": {}},
        {"codeExecution": {}},
        {"urlContext": {}},
        {"fileSearch": {}},
        {"functionDeclarations": [{"name": "a"}], "googleSearch": {}},
        {"somethingNew": {}},
    ],
)
def test_a_tool_that_runs_at_the_provider_is_hidden_input(tool: dict[str, Any]) -> None:
    assert read(tools=[tool]).prompt.hidden
    assert read(tools=tool).prompt.hidden


@pytest.mark.parametrize("name", ["responseSchema", "response_schema", "responseJsonSchema"])
def test_the_schema_of_the_answer_is_input(name: str) -> None:
    assert read(generationConfig={name: {"type": "OBJECT"}}).prompt.schema == '{"type":"OBJECT"}'


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"maxOutputTokens": 9}, 9),
        ({"max_output_tokens": 9}, 9),
        ({"maxOutputTokens": "9"}, 9),
        ({"maxOutputTokens": 9.0}, 9),
        ({"maxOutputTokens": 0}, None),
        ({"maxOutputTokens": None}, None),
        ({}, None),
        (None, None),
    ],
)
@pytest.mark.parametrize("name", ["generationConfig", "generation_config"])
def test_the_limit_of_the_output_is_read_in_every_form_that_the_api_takes(
    name: str, config: Any, limit: int | None
) -> None:
    assert read(**{name: config}).output_tokens_max == limit


@pytest.mark.parametrize("name", ["candidateCount", "candidate_count"])
def test_every_candidate_is_a_choice(name: str) -> None:
    assert read(generationConfig={name: 3}).choices == 3


@pytest.mark.parametrize("tier", ["flex", "FLEX", "SERVICE_TIER_FLEX"])
@pytest.mark.parametrize("name", ["serviceTier", "service_tier"])
def test_the_service_tier_is_read_in_the_words_of_the_catalogue(name: str, tier: str) -> None:
    assert read(**{name: tier}).service_tier == "flex"


@pytest.mark.parametrize("model", ["m", "models/m", "publishers/google/models/m"])
def test_a_body_may_repeat_the_model_of_the_path(model: str) -> None:
    assert read(model=model).model == "m"


# -- a lower limit --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"contents":[]}', '{"generationConfig":{"maxOutputTokens":20},"contents":[]}'),
        (
            '{"contents":[],"generationConfig":null}',
            '{"contents":[],"generationConfig":{"maxOutputTokens":20}}',
        ),
        (
            '{"contents":[], "generation_config" : {"topK": 1, "max_output_tokens" : 90}}',
            '{"contents":[], "generation_config" : {"topK": 1, "max_output_tokens" : 20}}',
        ),
        (
            '{"contents":[],"generationConfig":{"maxOutputTokens":"90"}}',
            '{"contents":[],"generationConfig":{"maxOutputTokens":20}}',
        ),
        (
            '{"contents":[],"generationConfig":{"maxOutputTokens":0}}',
            '{"contents":[],"generationConfig":{"maxOutputTokens":20}}',
        ),
        (
            '{"contents":[],"generationConfig":{"maxOutputTokens":null}}',
            '{"contents":[],"generationConfig":{"maxOutputTokens":20}}',
        ),
    ],
)
def test_a_lower_limit_is_spliced_in_and_every_other_byte_stays(before: str, after: str) -> None:
    body = before.encode()

    capped = API.with_output_cap(body, API.read(body), 20)

    assert capped.decode() == after
    assert API.read(capped).output_tokens_max == 20


@pytest.mark.parametrize("limit", [b"20", b"3", b'"3"', b"3.0"])
def test_a_limit_that_is_low_enough_stays(limit: bytes) -> None:
    body = b'{"contents":[],"generationConfig":{"maxOutputTokens":' + limit + b"}}"

    assert API.with_output_cap(body, API.read(body), 20) is body


# -- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"contents": HELLO, "systemInstruction": {}, "system_instruction": {}}, "systemInstruction"),
        ({"contents": HELLO, "generationConfig": {}, "generation_config": None}, "generationConfig"),
        (
            {"contents": HELLO, "generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 9}},
            "maxOutputTokens",
        ),
        ({"contents": HELLO, "cachedContent": None, "cached_content": "c"}, "cachedContent"),
        (
            {"contents": [{"parts": [{"inlineData": {}, "inline_data": {}}]}]},
            "inlineData",
        ),
        (
            {"contents": HELLO, "tools": [{"functionDeclarations": [], "function_declarations": []}]},
            "functionDeclarations",
        ),
    ],
)
@pytest.mark.parametrize("padding", [0, 20_000])
def test_a_key_in_both_spellings_is_refused_however_long_the_body(
    body: dict[str, Any], param: str, padding: int
) -> None:
    bad = refused({**body, "pad": "x" * padding})

    assert (bad.code, bad.param) == ("duplicate_key", param)


@pytest.mark.parametrize("body", [b'{"contents":[],"contents":[]}', b'{"contents":[],"Contents":[]}'])
def test_a_key_that_stands_twice_is_refused(body: bytes) -> None:
    assert refused(body).code == "duplicate_key"


def test_the_arguments_of_a_function_are_the_callers_own_words() -> None:
    assert part(functionCall={"name": "f", "args": {"id": 1, "ID": 2}}).prompt.messages == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": None}, "contents"),
        ({"contents": "hi"}, "contents"),
        ({"contents": HELLO, "tools": "all"}, "tools"),
        ({"contents": [{"parts": 5}]}, "parts"),
        ({"contents": HELLO, "generationConfig": []}, "generationConfig"),
        ({"contents": HELLO, "generationConfig": {"maxOutputTokens": -1}}, "maxOutputTokens"),
        ({"contents": HELLO, "generationConfig": {"maxOutputTokens": True}}, "maxOutputTokens"),
        ({"contents": HELLO, "generationConfig": {"maxOutputTokens": "9e9"}}, "maxOutputTokens"),
        ({"contents": HELLO, "generationConfig": {"maxOutputTokens": 1.5}}, "maxOutputTokens"),
        ({"contents": HELLO, "generationConfig": {"candidateCount": 1000}}, "candidateCount"),
        ({"contents": HELLO, "serviceTier": 1}, "serviceTier"),
        ({"contents": HELLO, "model": "other"}, "model"),
        ({"contents": HELLO, "model": 5}, "model"),
    ],
)
def test_a_value_of_the_wrong_kind_names_its_parameter(body: dict[str, Any], param: str) -> None:
    assert refused(body).param == param


# -- embeddings -----------------------------------------------------------------------------------------------------


def test_one_content_to_embed_is_a_batch_of_one() -> None:
    reading = EmbedContent("m").read(b'{"model":"models/m","content":{"parts":[{"text":"a b"}]},"title":"t"}')

    assert (reading.batch_size, reading.has_output, reading.stream) == (1, False, False)
    assert (reading.prompt.texts, reading.prompt.messages) == (("a b", "t"), 0)


def test_every_request_of_a_batch_is_read() -> None:
    one = {"model": "models/m", "content": {"parts": [{"text": "a"}]}}

    reading = EmbedContent("m").read(json.dumps({"requests": [one, one, one]}).encode())

    assert (reading.batch_size, reading.prompt.texts) == (3, ("a", "a", "a"))


def test_a_batch_cannot_smuggle_in_another_model() -> None:
    dear = {"model": "models/dear", "content": {"parts": [{"text": "a"}]}}

    assert refused({"requests": [dear]}, EmbedContent("m")).param == "model"


# -- anything at all ------------------------------------------------------------------------------------------------

NAMES = [
    *(
        "contents",
        "content",
        "parts",
        "role",
        "text",
        "inlineData",
        "inline_data",
        "mimeType",
        "data",
        "fileData",
    ),
    *("functionCall", "args", "tools", "functionDeclarations", "googleSearch", "generationConfig"),
    *("generation_config", "maxOutputTokens", "max_output_tokens", "candidateCount", "responseSchema"),
    *("systemInstruction", "cachedContent", "serviceTier", "model", "requests", "title", "thoughtSignature"),
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "image/png", PNG, "image/jpeg", "/9j/", "m", "9" * 5000])
)
KEYS = st.sampled_from(NAMES) | st.sampled_from(["Contents", "\udfff", ""])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
APIS = st.sampled_from([API, GenerateContent("m", stream=True), EmbedContent("m")])
relaxed = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@relaxed
@given(st.dictionaries(KEYS, VALUES, max_size=6), APIS, st.booleans())
def test_no_body_breaks_the_reading_and_what_is_read_can_be_capped(
    body: dict[str, Any], api: GenerateContent | EmbedContent, contents: bool
) -> None:
    data = json.dumps({"contents": HELLO, **body} if contents else body).encode()
    try:
        reading = api.read(data)
    except BadBody as refusal:
        refusal.message.encode()
        return

    capped = api.with_output_cap(data, reading, 7)

    assert reading.model == "m"
    if isinstance(api, GenerateContent):
        again = api.read(capped).output_tokens_max
        assert again is not None
        assert again <= 7


@relaxed
@given(st.binary(max_size=60), APIS)
def test_no_bytes_break_the_reading(body: bytes, api: GenerateContent | EmbedContent) -> None:
    try:
        told = api.read(body).model
    except BadBody as bad:
        told = bad.message

    assert told != ""


@pytest.mark.parametrize("depth", [250, 990, 3000, 100_000])
def test_a_body_deeper_than_a_parser_goes_is_read_or_refused(depth: int) -> None:
    for name in ("tools", "contents", "pad"):
        nested = f'{{"contents":[],"{name}x":{"[" * depth}{"]" * depth}}}'
        deep = f'{{"contents":[{{"parts":[{{"new":{"[" * depth}{"]" * depth}}}]}}]}}'
        for body in (nested, deep):
            try:
                told = API.read(body.encode()).model
            except BadBody as bad:
                told = bad.message
            assert told == "m" or "nested too deeply" in told or "not JSON" in told
