"""Coded bodies: a bounded plain copy of what decodes whole, and nothing of anything else."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects import BadBody
from proxy.dialects.body import decoded

BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"word " * 200 + b'"}]}'


def bare_deflate(body: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(body) + squeezer.flush()


CODED = [
    ("gzip", gzip.compress(BODY)),
    ("x-gzip", gzip.compress(BODY)),
    ("deflate", zlib.compress(BODY)),
    ("deflate", bare_deflate(BODY)),
]
IDS = ["gzip", "x-gzip", "deflate", "bare deflate"]


def plain(body: bytes, coding: str, limit_bytes: int = 1 << 20) -> bytes | None:
    return decoded(body, coding, limit_bytes=limit_bytes)


def test_gzip_of_several_members_is_read_whole_and_bounded_as_a_whole() -> None:
    twice = gzip.compress(BODY) * 2

    assert plain(twice, "gzip") == BODY * 2
    with pytest.raises(BadBody):
        plain(twice, "gzip", 2 * len(BODY) - 1)


@pytest.mark.parametrize("coding", ["", "identity"])
def test_a_plain_body_is_the_very_same_object(coding: str) -> None:
    assert plain(BODY, coding, 1) is BODY


@pytest.mark.parametrize(("coding", "body"), CODED, ids=IDS)
def test_what_is_read_decodes(coding: str, body: bytes) -> None:
    assert plain(body, coding) == BODY


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "GZIP ", "nonsense"])
def test_a_coding_that_is_not_read_gives_nothing(coding: str) -> None:
    assert plain(gzip.compress(BODY), coding) is None


@pytest.mark.parametrize(("coding", "body"), CODED, ids=IDS)
def test_a_body_cut_anywhere_gives_nothing_rather_than_a_part(coding: str, body: bytes) -> None:
    assert [plain(body[:at], coding) for at in range(len(body))] == [None] * len(body)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("body", [b"", b"plain text", BODY, b"\x1f\x8b\x08", b"\x1f\x8b\xff" + bytes(40)])
def test_what_does_not_decode_gives_nothing(coding: str, body: bytes) -> None:
    assert plain(body, coding) is None


def test_a_wrong_checksum_gives_nothing() -> None:
    whole = bytearray(gzip.compress(BODY))
    whole[-8] ^= 1

    assert plain(bytes(whole), "gzip") is None


@pytest.mark.parametrize(("coding", "body"), CODED, ids=IDS)
def test_the_limit_is_of_the_plain_bytes_and_may_be_met(coding: str, body: bytes) -> None:
    assert plain(body, coding, len(BODY)) == BODY

    with pytest.raises(BadBody, match="larger than the limit once it is decoded") as bad:
        plain(body, coding, len(BODY) - 1)
    assert bad.value.code == "body_too_large"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_refused_before_it_is_large(coding: str) -> None:
    squeezer = zlib.compressobj(9, wbits=31 if coding == "gzip" else 15)
    bomb = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(64)) + squeezer.flush()

    tracemalloc.start()
    with pytest.raises(BadBody):
        plain(bomb, coding, 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2_000_000


@given(st.binary(max_size=200), st.sampled_from(["gzip", "x-gzip", "deflate"]), st.booleans())
def test_no_bytes_break_the_decoder(body: bytes, coding: str, behind_a_head: bool) -> None:
    found = plain(b"\x1f\x8b\x08\x00\0\0\0\0\0\x03" + body if behind_a_head else body, coding)

    assert found is None or isinstance(found, bytes)


@given(st.binary(max_size=500), st.integers(0, 600))
def test_what_comes_back_is_what_went_in_or_is_refused_for_its_size(body: bytes, limit_bytes: int) -> None:
    if len(body) <= limit_bytes:
        assert plain(gzip.compress(body), "gzip", limit_bytes) == body
        return
    with pytest.raises(BadBody):
        plain(gzip.compress(body), "gzip", limit_bytes)
