"""Forms are read as one reader only could read them; whatever two could read differently is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects import BadBody
from proxy.dialects.multipart import (
    FIELD_BYTES_MAX,
    HEADER_BYTES_MAX,
    PARTS_MAX,
    Form,
    boundary_of,
    form_count,
    form_flag,
    head_of,
    read_form,
)

TYPE = "multipart/form-data; boundary=XX"
WANTED = ("model", "n", "stream")


def part(name: str, value: bytes, *, more: str = "", headers: str = "") -> bytes:
    return (
        f'--XX\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{headers}\r\n'.encode()
        + value
        + b"\r\n"
    )


def form(*parts: bytes, end: bytes = b"--XX--\r\n") -> bytes:
    return b"".join(parts) + end


def fields(body: bytes, content_type: str = TYPE) -> dict[str, str]:
    return read_form(body, content_type, WANTED).fields


def refused(body: bytes, content_type: str = TYPE) -> BadBody:
    with pytest.raises(BadBody) as raised:
        read_form(body, content_type, WANTED)
    return raised.value


MODEL = part("model", b"whisper-1")
FILE = part("file", b"\x00\xff\r\n--X\r\n", more='; filename="a.mp3"', headers="Content-Type: audio/mpeg\r\n")


# -- what is read -----------------------------------------------------------------------------------------------------


def test_wanted_fields_are_read_and_files_keep_their_place() -> None:
    body = form(MODEL, FILE, part("n", b"2"))

    found = read_form(body, TYPE, WANTED)

    assert found.fields == {"model": "whisper-1", "n": "2"}
    assert [(each.name, body[each.start : each.end]) for each in found.files] == [
        ("file", b"\x00\xff\r\n--X\r\n")
    ]
    assert head_of(body, found.files[0]) == b"\x00\xff\r\n--X\r\n"


@pytest.mark.parametrize("end", [b"--XX--", b"--XX--\r\n"])
def test_the_last_line_may_have_an_end_or_none(end: bytes) -> None:
    assert fields(form(MODEL, end=end)) == {"model": "whisper-1"}


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Type: text/plain\r\n",
        "Content-Type: text/plain; charset=UTF-8\r\n",
        'Content-Type: text/plain; charset="us-ascii"\r\nContent-Transfer-Encoding: 8bit\r\n',
        "Content-Length: 9\r\n",
        "content-transfer-encoding: binary\r\n",
    ],
)
def test_what_other_clients_add_to_a_field_changes_nothing(headers: str) -> None:
    assert fields(form(part("model", b"whisper-1", headers=headers))) == {"model": "whisper-1"}


def test_an_empty_field_is_an_empty_text() -> None:
    assert fields(form(part("model", b""))) == {"model": ""}


def test_a_field_may_hold_line_ends_and_characters_of_any_script() -> None:
    assert fields(form(part("model", "π\r\n\r\n--X".encode()))) == {"model": "π\r\n\r\n--X"}


def test_other_fields_may_repeat_and_are_left_alone() -> None:
    twice = part("timestamp_granularities[]", b"word") + part("timestamp_granularities[]", b"\xff")

    assert fields(form(twice, MODEL)) == {"model": "whisper-1"}


def test_files_of_one_name_are_found_with_and_without_brackets() -> None:
    parts = [part(name, b"x", more='; filename="a\\\\b.png"') for name in ("image[]", "image", "mask")]

    found = read_form(form(*parts), TYPE, WANTED)

    assert len(found.files_of("image")) == 2
    assert len(found.files_of("image", "mask")) == 3


# -- the boundary -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=XX", b"XX"),
        ('Multipart/Form-Data;boundary="X X"', b"X X"),
        ("multipart/form-data; charset=utf-8; BOUNDARY=----abc123", b"----abc123"),
        (f"multipart/form-data; boundary={'x' * 70}", b"x" * 70),
    ],
)
def test_a_plain_boundary_is_found(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/mixed; boundary=XX",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="XX "',
        "multipart/form-data; boundary=XX; boundary=YY",
        "multipart/form-data; boundary=XX; Boundary=XX",
        "multipart/form-data; boundary*=utf-8''XX; boundary=XX",
        "multipart/form-data; boundary*0=X; boundary*1=X",
        "multipart/form-data; boundary=XX, multipart/form-data; boundary=YY",
        "multipart/form-data boundary=XX",
        'multipart/form-data; boundary="X\\X"',
        'multipart/form-data; boundary="XX',
        "multipart/form-data; boundary=X\u00e9",
        "multipart/form-data; boundary = XX",
        f"multipart/form-data; boundary={'x' * 71}",
    ],
)
def test_a_boundary_that_two_readers_could_take_differently_is_refused(content_type: str) -> None:
    assert refused(form(MODEL), content_type).code == "invalid_form"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(MODEL, id="no end"),
        pytest.param(form(MODEL, end=b"--XX"), id="half an end"),
        pytest.param(form(MODEL, end=b"--XX-"), id="three quarters of an end"),
        pytest.param(form(MODEL, end=b""), id="no closing boundary"),
        pytest.param(form(MODEL)[:-8] + b"--YY--\r\n", id="another end"),
        pytest.param(b"preamble\r\n" + form(MODEL), id="something before"),
        pytest.param(b"\r\n" + form(MODEL), id="a line end before"),
        pytest.param(form(MODEL) + b"after", id="something after"),
        pytest.param(form(MODEL) + form(part("model", b"gpt-4o")), id="a second form after the first"),
        pytest.param(form(MODEL).replace(b"\r\n", b"\n"), id="bare line feeds"),
        pytest.param(form(MODEL).replace(b"--XX\r\n", b"--XX \r\n"), id="a space after the boundary"),
        pytest.param(form(part("file", b"a\n--XX\nb")), id="a boundary after a bare line feed"),
        pytest.param(form(part("file", b"a--XXb")), id="a boundary within a line"),
        pytest.param(form(part("file", b"a\r\n--XXY\r\nb")), id="a boundary that goes on"),
        pytest.param(b"--XX--\r\n" + form(MODEL), id="an end at the beginning"),
        pytest.param(b"--XX\r\n" + form(MODEL), id="a part of nothing"),
    ],
)
def test_a_form_that_is_not_framed_to_the_byte_is_refused(body: bytes) -> None:
    assert refused(body).code == "invalid_form"


# -- the parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (part("model", b"gpt-4o"), "duplicate_key"),
        (part("model", b"whisper-1"), "duplicate_key"),
        (part("Model", b"gpt-4o"), "invalid_form"),
        (part("model ", b"gpt-4o"), "invalid_form"),
        (part("model[]", b"gpt-4o"), "invalid_form"),
        (part("model[0]", b"gpt-4o"), "invalid_form"),
        (part("model", b"gpt-4o", more='; filename="m"'), "invalid_form"),
        (part("model", b"gpt-4o", more="; filename*=utf-8''m"), "invalid_form"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_second_model_is_refused_however_it_is_written(second: bytes, code: str, swapped: bool) -> None:
    bad = refused(form(second, MODEL) if swapped else form(MODEL, second))

    assert (bad.code, bad.param) == (code, "model")


@pytest.mark.parametrize(
    "disposition",
    [
        "form-data",
        'form-data; name=""',
        'attachment; name="model"',
        'form-data; name="model"; name="n"',
        'form-data; name="x"; NAME="model"',
        "form-data; name=\"x\"; name*=utf-8''model",
        'form-data; name="mo\\del"',
        'form-data; name="x\\"; name=\\"model"',
        'form-data; filename="a\\"; name="model"',
        'form-data; name="mod%65l"',
        'form-data; name="model',
        'form-data; name = "model"',
        'form-data, name="model"',
        'form-data; name="mo\x7fdel"',
    ],
)
def test_a_name_that_two_readers_could_take_differently_is_refused(disposition: str) -> None:
    body = f"--XX\r\nContent-Disposition: {disposition}\r\n\r\nwhisper-1\r\n--XX--".encode()

    assert refused(body).code == "invalid_form"


@pytest.mark.parametrize(
    "headers",
    [
        'Content-Disposition: form-data; name="n"\r\n',
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\n",
        "Content-Type: text/plain; charset=utf-16\r\n",
        "Content-Type: text/plain; charset=utf-7\r\n",
        "Content-Type: application/json\r\n",
        "X-Folded: a\r\n b\r\n",
        "X-Bare: a\nb\r\n",
        "X-Bare: a\rb\r\n",
        "X Name: a\r\n",
        "no colon\r\n",
        ": no name\r\n",
        "X-Name : a\r\n",
    ],
)
def test_headers_that_change_the_meaning_or_the_framing_of_a_field_are_refused(headers: str) -> None:
    assert refused(form(part("model", b"whisper-1", headers=headers))).code == "invalid_form"


def test_a_field_that_is_not_utf_8_is_refused() -> None:
    assert refused(form(part("model", b"gpt\xff"))).param == "model"


def test_everything_has_a_limit() -> None:
    assert len(fields(form(part("model", b"x" * FIELD_BYTES_MAX)))["model"]) == FIELD_BYTES_MAX
    assert refused(form(part("model", b"x" * (FIELD_BYTES_MAX + 1)))).param == "model"
    assert refused(form(part("x", b"", headers=f"X: {'y' * HEADER_BYTES_MAX}\r\n"))).code == "invalid_form"
    assert fields(form(*[part("x", b"")] * PARTS_MAX)) == {}
    assert refused(form(*[part("x", b"")] * (PARTS_MAX + 1))).code == "invalid_form"


# -- values -----------------------------------------------------------------------------------------------------------


def test_numbers_are_whole_plain_and_within_bounds() -> None:
    assert form_count(Form({"n": "10"}), "n", least=1, most=10) == 10
    assert form_count(Form(), "n", least=1, most=10) is None
    for value in ("0", "11", "+1", " 1", "1.0", "1e1", "01", "1_0", "\u0661", "", "-1"):
        with pytest.raises(BadBody):
            form_count(Form({"n": value}), "n", least=1, most=10)


def test_flags_are_the_words_that_servers_take_for_one() -> None:
    assert [form_flag(Form({"stream": value}), "stream") for value in ("true", "True", "1", "on")] == [
        True
    ] * 4
    assert [form_flag(Form({"stream": value}), "stream") for value in ("false", "0", "")] == [False] * 3
    assert form_flag(Form(), "stream") is False
    with pytest.raises(BadBody):
        form_flag(Form({"stream": "maybe"}), "stream")


# -- anything at all --------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        b"--XX",
        b"--",
        b"\r\n",
        b"\n",
        b'Content-Disposition: form-data; name="model"',
        b"model",
        b"\r\n\r\n",
        b"\x00",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=8), max_size=14).map(b"".join), st.text(max_size=20))
def test_any_bytes_give_fields_or_our_own_error(body: bytes, boundary: str) -> None:
    for content_type in (TYPE, f"multipart/form-data; boundary={boundary}", boundary):
        try:
            found = read_form(b"--XX\r\n" + body + b"\r\n--XX--", content_type, WANTED)
        except BadBody:
            continue
        assert set(found.fields) <= set(WANTED)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40).filter(lambda text: "--XX" not in text), st.binary(max_size=60))
def test_what_a_plain_client_writes_is_what_is_read(model: str, content: bytes) -> None:
    if b"--XX" in content:
        return
    value = model.encode("utf-8", "replace")
    body = form(part("model", value), part("file", content, more='; filename="f"'))

    found = read_form(body, TYPE, WANTED)

    assert found.fields == {"model": value.decode()}
    assert body[found.files[0].start : found.files[0].end] == content
