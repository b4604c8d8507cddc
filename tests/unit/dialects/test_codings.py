"""Coded bodies: a bounded plain copy of what decodes whole, and nothing of anything else."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects import BadBody
from proxy.dialects.codings import (
    ANSWER_CODINGS,
    FRAMES_MAX,
    PIECE_BYTES,
    REQUEST_CODINGS,
    ZSTD_WINDOW_BYTES,
    decoded,
    decoded_request,
    offered,
    partly_decoded,
)

BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"word " * 200 + b'"}]}'
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0note"  # a zstd frame without content

Squeeze = Callable[[bytes], bytes]


def bare_deflate(body: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(body) + squeezer.flush()


def quick_brotli(body: bytes) -> bytes:
    return bytes(brotli.compress(body, quality=1))


def checked_zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(body)


SQUEEZES: dict[str, tuple[str, Squeeze]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare_deflate),
    "br": ("br", quick_brotli),
    "zstd": ("zstd", zstandard.compress),
    "zstd with a checksum": ("zstd", checked_zstd),
}
CODED = [(coding, squeeze(BODY)) for coding, squeeze in SQUEEZES.values()]
IDS = list(SQUEEZES)


def plain(body: bytes, coding: str, limit_bytes: int = 1 << 20) -> bytes | None:
    return decoded(body, coding, limit_bytes=limit_bytes)


@pytest.mark.parametrize(("coding", "squeeze"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_body_of_several_frames_is_read_whole_and_bounded_as_a_whole(coding: str, squeeze: Squeeze) -> None:
    twice = squeeze(BODY) * 2

    assert plain(twice, coding) == BODY * 2
    with pytest.raises(BadBody):
        plain(twice, coding, 2 * len(BODY) - 1)


def test_frames_that_hold_nothing_are_skipped() -> None:
    whole = zstandard.compress(BODY)

    assert plain(SKIPPABLE + whole + SKIPPABLE + whole, "zstd") == BODY * 2


@pytest.mark.parametrize(("coding", "squeeze"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_more_empty_frames_than_anyone_sends_are_not_read(coding: str, squeeze: Squeeze) -> None:
    empty = squeeze(b"")

    assert plain(empty * FRAMES_MAX, coding) == b""
    assert plain(empty * (FRAMES_MAX + 1), coding) is None


@pytest.mark.parametrize("coding", ["", "identity"])
def test_a_plain_body_is_the_very_same_object(coding: str) -> None:
    assert plain(BODY, coding, 1) is BODY


@pytest.mark.parametrize(("coding", "body"), CODED, ids=IDS)
def test_what_is_read_decodes(coding: str, body: bytes) -> None:
    assert plain(body, coding) == BODY


@pytest.mark.parametrize(("coding", "squeeze"), SQUEEZES.values(), ids=IDS)
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 300_000])
def test_what_does_not_shrink_is_read_over_many_pieces(coding: str, squeeze: Squeeze, size: int) -> None:
    noise = zlib.compress(bytes(range(256)) * 3_000, 0)[-size:] if size else b""
    body = bytes((byte * 167 + at * at) % 256 for at, byte in enumerate(noise))

    assert plain(squeeze(body), coding) == body


@pytest.mark.parametrize(
    "coding", ["compress", "gzip, gzip", "gzip, br", "br, gzip", "snappy", "BR", "GZIP ", "nonsense"]
)
def test_a_coding_that_is_not_read_gives_nothing(coding: str) -> None:
    assert plain(gzip.compress(BODY), coding) is None
    assert partly_decoded(gzip.compress(BODY), coding, limit_bytes=100) == b""


@pytest.mark.parametrize(("coding", "body"), CODED, ids=IDS)
def test_requests_are_read_in_fewer_codings_than_answers(coding: str, body: bytes) -> None:
    expected = BODY if coding in REQUEST_CODINGS else None

    assert decoded_request(body, coding, limit_bytes=1 << 20) == expected
    assert {"br", "zstd"} == ANSWER_CODINGS - REQUEST_CODINGS


@pytest.mark.parametrize(("coding", "body"), CODED, ids=IDS)
def test_a_body_cut_anywhere_gives_nothing_rather_than_a_part(coding: str, body: bytes) -> None:
    assert [plain(body[:at], coding) for at in range(len(body))] == [None] * len(body)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_bytes_behind_the_end_are_no_part_of_it(coding: str) -> None:
    whole = SQUEEZES[coding][1](BODY)

    assert plain(whole + b"more", coding) is None


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("body", [b"", b"plain text", BODY, b"\x1f\x8b\x08", b"\x1f\x8b\xff" + bytes(40)])
def test_what_does_not_decode_gives_nothing(coding: str, body: bytes) -> None:
    assert plain(body, coding) is None


@pytest.mark.parametrize(("name", "at"), [("gzip", -8), ("zstd with a checksum", -1)])
def test_a_wrong_checksum_gives_nothing(name: str, at: int) -> None:
    coding, squeeze = SQUEEZES[name]
    whole = bytearray(squeeze(BODY))
    whole[at] ^= 1

    assert plain(bytes(whole), coding) is None


def test_a_window_larger_than_http_allows_is_not_opened() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=24, write_content_size=False)
    squeezer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = squeezer.compress(BODY) + squeezer.flush()

    assert ZSTD_WINDOW_BYTES < 1 << 24
    assert plain(body, "zstd") is None


@pytest.mark.parametrize(("coding", "body"), CODED, ids=IDS)
def test_the_limit_is_of_the_plain_bytes_and_may_be_met(coding: str, body: bytes) -> None:
    assert plain(body, coding, len(BODY)) == BODY

    with pytest.raises(BadBody, match="larger than the limit once it is decoded") as bad:
        plain(body, coding, len(BODY) - 1)
    assert bad.value.code == "body_too_large"


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_is_refused_before_it_is_large(name: str) -> None:
    coding, squeeze = SQUEEZES[name]
    bomb = squeeze(bytes(64 << 20))

    tracemalloc.start()
    with pytest.raises(BadBody):
        plain(bomb, coding, 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2_000_000


@pytest.mark.parametrize(("coding", "squeeze"), SQUEEZES.values(), ids=IDS)
def test_of_a_body_that_was_cut_the_part_that_decodes_is_told_up_to_a_limit(
    coding: str, squeeze: Squeeze
) -> None:
    text = b"".join(b"word %d " % at for at in range(50_000))
    body = squeeze(text)

    part = partly_decoded(body[: len(body) * 9 // 10], coding, limit_bytes=1 << 20)

    assert len(part) > 100_000
    assert text.startswith(part)
    assert partly_decoded(body, coding, limit_bytes=1_000) == text[:1_000]


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
        ("br;q=1.0, snappy, *;q=0.1", "br;q=1.0"),
        ("GZIP;q=0.5,ZSTD", "GZIP;q=0.5, ZSTD"),
        ("identity", "identity"),
        ("snappy", "identity"),
        ("*", "identity"),
        ("", "identity"),
    ],
)
def test_only_codings_that_can_be_metered_are_offered_and_for_streams_none(
    accepted: str, expected: str
) -> None:
    assert offered(accepted, stream=False) == expected
    assert offered(accepted, stream=True) == "identity"


@given(
    st.binary(max_size=200),
    st.sampled_from(["gzip", "x-gzip", "deflate", "br", "zstd"]),
    st.sampled_from(
        [b"", b"\x1f\x8b\x08\x00\0\0\0\0\0\x03", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\x00\x58"]
    ),
)
def test_no_bytes_break_the_decoder(body: bytes, coding: str, head: bytes) -> None:
    try:
        found = plain(head + body, coding)
    except BadBody:
        return

    assert found is None or isinstance(found, bytes)


@given(st.binary(max_size=500), st.integers(0, 600), st.sampled_from(list(SQUEEZES.values())))
def test_what_comes_back_is_what_went_in_or_is_refused_for_its_size(
    body: bytes, limit_bytes: int, way: tuple[str, Squeeze]
) -> None:
    coding, squeeze = way
    if len(body) <= limit_bytes:
        assert plain(squeeze(body), coding, limit_bytes) == body
        return
    with pytest.raises(BadBody):
        plain(squeeze(body), coding, limit_bytes)
