from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.client.sse import events

STREAM = (
    "\ufeffdata: one\n\n: a comment\nevent: x\nid: 7\ndata: two\ndata:  three\n\n\n"
    "data:four\r\n\r\ndata: fi\u2028ve\x0b\x85\r\rdata\n\nretry: 1\n\ndata: lost"
).encode()
EVENTS = ["one", "two\n three", "four", "fi\u2028ve\x0b\x85", ""]


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    yield from (data[start:end] for start, end in pairwise(edges))


def test_events_are_read_as_the_standard_has_them() -> None:
    assert list(events([STREAM])) == EVENTS


@given(st.lists(st.integers(min_value=0)))
def test_where_the_bytes_are_cut_does_not_matter(places: list[int]) -> None:
    assert list(events(cut(STREAM, places))) == EVENTS


def test_byte_by_byte() -> None:
    assert list(events(bytes([byte]) for byte in STREAM)) == EVENTS


@pytest.mark.parametrize("data", [b"data: \xff\xfe\n\n", b"data: " + b"x" * (17 * 1024 * 1024) + b"\n\n"])
def test_what_is_no_stream_of_events_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"decode|too long"):
        list(events([data[:1024], data[1024:]]))
