"""Events come out whole, wherever the bytes were cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_core.upstream.sse import EventTooLargeError, ServerSentEvent, SseDecoder


def _decode(pieces: list[bytes]) -> list[ServerSentEvent]:
    decoder = SseDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.end()


BODY = 'data: {"a": "你好"}\n\n: note\nevent: error\ndata: x\ndata: y\nid: 7\n\ndata: [DONE]\n\n'
EVENTS = [
    ServerSentEvent("", '{"a": "你好"}'.encode()),
    ServerSentEvent("error", b"x\ny"),
    ServerSentEvent("", b"[DONE]"),
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@given(cuts=st.lists(st.integers(0, 90), max_size=6))
def test_events_do_not_depend_on_where_the_bytes_are_cut(line_end: str, cuts: list[int]) -> None:
    body = BODY.replace("\n", line_end).encode()
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(edges)]
    assert _decode(pieces) == EVENTS


def test_an_event_comes_as_soon_as_its_blank_line_is_there() -> None:
    assert SseDecoder().feed(b"data: 1\n\n") == [ServerSentEvent("", b"1")]


def test_the_end_of_the_body_completes_an_event_without_a_blank_line() -> None:
    assert _decode([b"data: [DONE]"]) == [ServerSentEvent("", b"[DONE]")]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    mark = b"\xef\xbb\xbf"
    assert _decode([mark[:1], mark[1:], b"data: 1\n\n"]) == [ServerSentEvent("", b"1")]


@pytest.mark.parametrize("piece", [b"x" * 8, b"\ndata: xxxxxxx", b"data:\n" * 8])
def test_an_event_without_end_is_refused(piece: bytes) -> None:
    decoder = SseDecoder(max_event_bytes=64)
    decoder.feed(b"data: ")
    with pytest.raises(EventTooLargeError):  # noqa: PT012 # it takes several pieces
        for _ in range(20):
            decoder.feed(piece)
