"""Events cut out of a byte stream: every kind of line end, whatever stands between them, and never without bound."""

import tracemalloc

import pytest

from proxy.sse import EVENT_BYTES_MAX, Events, data_of


def events(*pieces: bytes) -> tuple[list[bytes], bytes]:
    """All whole events of a stream that came in these pieces, and its rest."""
    cutter = Events()
    found = [event for piece in pieces for event in cutter.feed(piece)]
    return found, cutter.rest()


def one_by_one(stream: bytes) -> tuple[list[bytes], bytes]:
    return events(*(stream[at : at + 1] for at in range(len(stream))))


# -- where an event ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\n\n"])
def test_a_blank_line_ends_an_event_whatever_ends_lines(end: bytes) -> None:
    stream = b"data: 1" + end + b": ping" + end + b"data: 2" + end

    assert events(stream) == ([b"data: 1" + end, b": ping" + end, b"data: 2" + end], b"")


def test_lines_that_end_in_cr_alone_wait_for_what_could_still_be_a_crlf() -> None:
    assert events(b"data: 1\r\r", b"data: 2\r\r", b"\n") == ([b"data: 1\r\r", b"data: 2\r\r\n"], b"")


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_the_lines_of_one_event_stay_together(line_end: bytes) -> None:
    """The two halves of one CRLF are not two line ends."""
    event = line_end.join([b"event: a", b"id: 7", b"data: 1", b"", b""])
    stream = event + event + b"x"

    assert events(stream) == ([event, event], b"x")
    assert one_by_one(stream) == ([event, event], b"x")


def test_several_events_in_one_piece_come_at_once_and_a_half_one_waits() -> None:
    cutter = Events()

    assert cutter.feed(b"data: 1\n\ndata: 2\n\ndata: ") == [b"data: 1\n\n", b"data: 2\n\n"]
    assert cutter.feed(b"3\n") == []
    assert cutter.feed(b"\n") == [b"data: 3\n\n"]
    assert cutter.rest() == b""


def test_the_rest_of_a_cut_stream_is_given_out_once() -> None:
    cutter = Events()
    cutter.feed(b"data: 1\n\ndata: 2\n")

    assert (cutter.rest(), cutter.rest()) == (b"data: 2\n", b"")


@pytest.mark.parametrize("stream", [b"", b"\n", b"\r\n", b"\r", b"data: 1\r\n\r"])
def test_without_a_blank_line_there_is_no_event(stream: bytes) -> None:
    assert one_by_one(stream) == ([], stream)


# -- bounds ---------------------------------------------------------------------------------------------------------


def test_a_line_without_end_is_passed_on_in_parts_and_told() -> None:
    cutter, fed, passed, held = Events(), 0, 0, 0
    for _ in range(5 * EVENT_BYTES_MAX // 50_000):
        fed += 50_000
        passed += sum(map(len, cutter.feed(b"x" * 50_000)))
        held = max(held, fed - passed)

    assert cutter.gave_up
    assert held <= EVENT_BYTES_MAX
    assert passed + len(cutter.rest()) == fed


def test_the_memory_of_a_line_without_end_is_bounded() -> None:
    cutter, piece = Events(), b"x" * 65_536
    tracemalloc.start()
    for _ in range(20 * EVENT_BYTES_MAX // len(piece)):
        cutter.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4 * EVENT_BYTES_MAX


def test_an_event_as_large_as_we_keep_is_whole() -> None:
    event = b"data: " + b"x" * (EVENT_BYTES_MAX - 8) + b"\n\n"
    cutter = Events()

    assert [cutter.feed(event[:-1]), cutter.feed(event[-1:])] == [[], [event]]
    assert not cutter.gave_up


def test_after_an_event_that_was_too_large_the_next_ones_are_cut_again() -> None:
    cutter = Events()
    cutter.feed(b"x" * (EVENT_BYTES_MAX + 1))

    assert cutter.feed(b"x\n\ndata: 1\n\n") == [b"x\n\n", b"data: 1\n\n"]


# -- data -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: {}\n\n", b"{}"),
        (b"data:{}\n\n", b"{}"),
        (b"data: {}\r\n\r\n", b"{}"),
        (b"data: {}\r\r", b"{}"),
        (b"data: {}", b"{}"),
        (b"data:\n\n", b""),
        (b"event: a\ndata: {}\n\n", b"{}"),
        (b"data: {}\nid: 5\n\n", b"{}"),
        (b"data: {}\rid: 5\r\r", b"{}"),
        (b"\ndata: {}\n\n", b"{}"),
        (b'data: {"a":\ndata: 1}\n\n', b'{"a":\n1}'),
        (b'data: {"a":\r\ndata: 1}\r\n\r\n', b'{"a":\n1}'),
        (b": ping\n\n", b""),
        (b": data: {}\n\n", b""),
        (b"event: ping\n\n", b""),
        (b"database: {}\n\n", b""),
        (b"data: [DONE]\n\n", b"[DONE]"),
        (b"\n\n", b""),
        (b"", b""),
    ],
)
def test_the_data_of_an_event_is_its_data_lines_joined(event: bytes, data: bytes) -> None:
    assert data_of(event) == data
