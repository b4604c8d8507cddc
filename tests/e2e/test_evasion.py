"""Bodies that two parties could read in two ways: none of them is a way past a budget."""

import gzip
import json
import zlib

import pytest

from tests.support.client import Headers
from tests.support.evasion import Attempt, check_held, outcome
from tests.support.process import ScriptedProvider, Spendgate
from tests.support.script import Script

MESSAGES = '"messages":[{"role":"user","content":"hi"}]'
PLAIN = f'{{"model":"gpt-4o-mini","max_tokens":5,{MESSAGES}}}'
LONG_PAD = ',"pad":"' + "x" * 20_000 + '"'


# -- bodies ---------------------------------------------------------------------------------------------------------

DOUBLED = [
    ',"model":"gpt-4o"',
    ',"Model":"gpt-4o"',
    ',"mod\\u0065l":"gpt-4o"',
    ',"\\u004dODEL":"gpt-4o"',
    ',"max_tokens":9000',
    ',"MAX_TOKENS":9000',
    ',"\\u006dax_tokens":9000',
    ',"max_to\\u212aens":9000',  # the sign for Kelvin folds to k
    ',"n":1,"N":9',
    ',"stream":false,"\u017ftream":true',
    ',"stream_options":{"include_usage":true,"include_usage":false}',
    ',"stream_options":{"include_usage":true,"Include_Usage":false}',
    ',"tools":[{"type":"function","type":"web_search"}]',
    ',"tools":[{"type":"function","Type":"web_search"}]',
    ',"metadata":{"a":"1","a":"2"}',
    ',"x":[[{"y":{"a":1,"\\u0061":2}}]]',
    "," + MESSAGES.replace("hi", "x " * 500),
]


@pytest.mark.parametrize("more", DOUBLED, ids=lambda more: more[:60])
@pytest.mark.parametrize("pad", ["", LONG_PAD], ids=["short", "long"])
async def test_a_key_that_stands_twice_is_refused_and_in_long_bodies_only_where_it_is_enforced(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, more: str, pad: str
) -> None:
    """The provider takes the dearer of the two."""
    body = f"{PLAIN[:-1]}{pad}{more}}}".encode()
    dear = Script(model="gpt-4o", input_tokens=507, output_tokens=50)

    passed = await check_held(spendgate, provider, (poor, key), tag, Attempt(body, script=dear))

    assert passed.status == (200 if pad else 400)
    assert (await outcome(spendgate, provider, poor, f"{tag}-code", Attempt(body))).code == "duplicate_key"


NO_JSON = {
    "nothing": b"",
    "two objects": f"{PLAIN}{PLAIN}".encode(),
    "two lines": f"{PLAIN}\n{PLAIN}".encode(),
    "a comma behind": f"{PLAIN},".encode(),
    "a null byte behind": f"{PLAIN}\0".encode(),
    "a comma too many": f"{PLAIN[:-1]},}}".encode(),
    "a comment": f'{PLAIN[:-1]}/*,"model":"gpt-4o"*/}}'.encode(),
    "a line comment": f"{PLAIN}//".encode(),
    "single quotes": PLAIN.replace('"', "'").encode(),
    "bare keys": f"{{model:{PLAIN[9:]}".encode(),
    "NaN": f'{PLAIN[:-1]},"temperature":NaN}}'.encode(),
    "Infinity": f'{PLAIN[:-1]},"temperature":-Infinity}}'.encode(),
    "too large": f'{PLAIN[:-1]},"temperature":1e999}}'.encode(),
    "hexadecimal": f'{PLAIN[:-1]},"n":0x1}}'.encode(),
    "a leading zero": f'{PLAIN[:-1]},"n":01}}'.encode(),
    "a raw line feed": f'{PLAIN[:-1]},"x":"\n"}}'.encode(),
    "a byte order mark": PLAIN.encode("utf-8-sig"),
    "utf-16": PLAIN.encode("utf-16"),
    "utf-16 without mark": PLAIN.encode("utf-16-le"),
    "utf-32": PLAIN.encode("utf-32"),
    "latin-1": f'{PLAIN[:-1]},"x":"é"}}'.encode("latin-1"),
    "overlong": PLAIN.encode().replace(b"hi", b"\xc1\xa8i"),
    "a list": f"[{PLAIN}]".encode(),
    "a string": json.dumps(PLAIN).encode(),
    "null": b"null",
    "a form": b"model=gpt-4o-mini&max_tokens=5",
    "too deep": f'{PLAIN[:-1]},"x":{"[" * 100_000}{"]" * 100_000}}}'.encode(),
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
async def test_what_is_not_one_json_object_in_utf_8_goes_nowhere(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, body: bytes
) -> None:
    passed = await check_held(spendgate, provider, (poor, key), tag, Attempt(body))

    assert (passed.status, passed.billed) == (400, None)


UTF_7 = f'{PLAIN[:-1]},"x":"+ACI-,+ACI-max_completion_tokens+ACI-:900,+ACI-y+ACI-:+ACI-"}}'.encode()
ESCAPED = (
    f'{PLAIN[:-1]},"x":"\\u0022,\\u0022max_completion_tokens\\u0022:900,\\u0022y\\u0022:\\u0022"}}'.encode()
)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("", PLAIN.encode(), 200),
        ("text/plain", PLAIN.encode(), 200),
        ("application/x-www-form-urlencoded", PLAIN.encode(), 200),
        ("multipart/form-data; boundary=x", PLAIN.encode(), 200),
        ("application/json; charset=UTF-8", PLAIN.encode(), 200),
        ('application/json;charset="utf8"', PLAIN.encode(), 200),
        ("application/json; charset=ISO-8859-1", PLAIN.encode(), 200),
        ("application/json; charset=utf-16", PLAIN.encode(), 415),
        ("application/json; charset=utf-7", UTF_7, 415),
        ("application/json; Charset = utf-7", UTF_7, 415),
        ("application/json; charset=utf-8; charset=utf-7", UTF_7, 415),
        ("application/json; charset*=utf-7", UTF_7, 415),
        ("application/json; charset=unicode_escape", ESCAPED, 415),
    ],
)
async def test_a_content_type_does_not_change_what_a_body_says(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, kind: str, body: bytes, status: int
) -> None:
    """Some providers read a body in the charset that is named; in these, the same bytes are another call."""
    passed = await outcome(
        spendgate, provider, key, tag, Attempt(body, script=Script(), headers=[("Content-Type", kind)])
    )

    assert passed.status == status
    assert passed.billed is None if status == 415 else passed.billed and passed.nanos == passed.billed.nanos


CODED: list[tuple[Headers, bytes, int]] = [
    ([("Content-Encoding", "gzip")], PLAIN.encode(), 415),
    ([("Content-Encoding", "deflate")], PLAIN.encode(), 415),
    ([("Content-Encoding", "br")], PLAIN.encode(), 415),
    ([("Content-Encoding", "zstd")], PLAIN.encode(), 415),
    ([("Content-Encoding", "aws-chunked")], PLAIN.encode(), 415),
    ([("Content-Encoding", "gzip, gzip")], gzip.compress(gzip.compress(PLAIN.encode())), 415),
    ([("Content-Encoding", "identity, gzip")], gzip.compress(PLAIN.encode()), 415),
    ([("Content-Encoding", "identity"), ("Content-Encoding", "deflate")], PLAIN.encode(), 415),
    ([("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")], gzip.compress(PLAIN.encode()), 415),
    ([("Content-Encoding", "gzip")], gzip.compress(PLAIN.encode()) + b"more", 415),
    ([("Content-Encoding", "gzip")], gzip.compress(PLAIN.encode())[:-9], 415),
    ([], gzip.compress(PLAIN.encode()), 400),
    ([("Content-Encoding", "gzip")], gzip.compress(PLAIN.encode()) + gzip.compress(PLAIN.encode()), 400),
    ([("Content-Encoding", "gzip")], gzip.compress(PLAIN.encode()), 200),
    (
        [("Content-Encoding", "GZip")],
        gzip.compress(PLAIN[:40].encode()) + gzip.compress(PLAIN[40:].encode()),
        200,
    ),
    ([("Content-Encoding", "deflate")], zlib.compress(PLAIN.encode()), 200),
    ([("Content-Encoding", "identity")], PLAIN.encode(), 200),
    ([("Content-Encoding", "")], PLAIN.encode(), 200),
]


@pytest.mark.parametrize(("headers", "body", "status"), CODED, ids=[f"{h} {s}" for h, _, s in CODED])
async def test_a_coding_is_read_as_the_provider_reads_it_or_refused(
    spendgate: Spendgate,
    provider: ScriptedProvider,
    key: str,
    tag: str,
    headers: Headers,
    body: bytes,
    status: int,
) -> None:
    passed = await outcome(
        spendgate, provider, key, tag, Attempt(body, script=Script(input_tokens=8), headers=headers)
    )

    assert passed.status == status
    assert passed.billed is None if status != 200 else passed.billed and passed.nanos == passed.billed.nanos


# -- streams --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    ['"stream":"true"', '"stream":1', '"stream":"1"', '"stream":[true]', '"stream":{}',
     '"stream":true,"stream_options":"x"', '"stream":true,"stream_options":[]', '"stream":true,"stream_options":true'],
)  # fmt: skip
async def test_a_stream_that_is_neither_true_nor_false_goes_nowhere(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, more: str
) -> None:
    attempt = Attempt(f"{PLAIN[:-1]},{more}}}".encode())

    assert (await check_held(spendgate, provider, (poor, key), tag, attempt)).status == 400


@pytest.mark.parametrize("pad", ["", LONG_PAD], ids=["short", "long"])
@pytest.mark.parametrize(
    "options",
    ["null", "{}", '{"include_usage":false}', '{"include_usage":null}', '{"include_usage":"true"}',
     '{"include_usage":1}', '{"include_obfuscation":true}', '{"include_usag\\u0065":false}'],
)  # fmt: skip
async def test_a_stream_tells_its_cost_whether_or_not_the_client_wants_to_hear_it(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, options: str, pad: str
) -> None:
    body = f'{PLAIN[:-1]}{pad},"store":true,"stream":true,"stream_options":{options}}}'.encode()

    passed = await check_held(
        spendgate, provider, (poor, key), tag, Attempt(body, script=Script(input_tokens=8))
    )

    assert passed.row is not None
    assert passed.billed is not None
    assert (passed.row["basis"], passed.nanos) == ("reported", passed.billed.nanos)
