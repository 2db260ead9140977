from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl import sse

STREAM = (
    "\ufeffdata: one\n\n: a comment\nevent: x\nid: 7\ndata: two\ndata:  three\n\n\n"
    "data:four\r\n\r\ndata: fi\u2028ve\x0b\x85\r\rdata\n\nretry: 1\n\ndata: lost"
).encode()
EVENTS = [text.encode() for text in ("one", "two\n three", "four", "fi\u2028ve\x0b\x85", "")]


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    yield from (data[start:end] for start, end in pairwise(edges))


def test_events_are_read_as_the_standard_has_them() -> None:
    assert list(sse.data([STREAM])) == EVENTS


@given(st.lists(st.integers(min_value=0)))
def test_where_the_bytes_are_cut_does_not_matter(places: list[int]) -> None:
    assert list(sse.data(cut(STREAM, places))) == EVENTS


def test_byte_by_byte() -> None:
    assert list(sse.data(bytes([byte]) for byte in STREAM)) == EVENTS


def test_an_event_that_does_not_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="at most 16 MiB, got more"):
        list(sse.data([b"data: ", *[b"x" * (1 << 20)] * 17]))


@given(st.sampled_from(["\n", "\r", "\r\n"]), st.lists(st.integers(min_value=0)))
def test_what_is_written_is_read_with_any_line_end_of_the_standard(end: str, places: list[int]) -> None:
    sent = b"".join(map(sse.event, [b'{"a": 1}', sse.DONE])).replace(b"\n", end.encode())
    assert list(sse.data(cut(sent, places))) == [b'{"a": 1}', sse.DONE]
