"""Reads and writes server-sent events, for client, platform, engine and bench.

Works on bytes: str.splitlines also breaks at U+2028 and the like, which JSON strings may contain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

CONTENT_TYPE = "text/event-stream"
HEADERS: Mapping[str, str] = {"content-type": CONTENT_TYPE, "cache-control": "no-cache", "x-accel-buffering": "no"}
"""Headers of an answer with events. `x-accel-buffering` makes nginx send each event at once."""
DONE = b"[DONE]"
"""The data of the last event in a stream of the inference API."""
LONGEST_EVENT = 16 << 20

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r){2}")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def event(data: bytes) -> bytes:
    """Return `data`, which must be one line, as the bytes of an event."""
    return b"data: " + data + b"\n\n"


class Reader:
    """Assembles the events of a stream from chunks of any size."""

    def __init__(self) -> None:
        self.rest = b""
        """The bytes after the last complete event."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add `chunk`, and return the events that it completes. ValueError if unread bytes exceed 16 MiB."""
        came = self.rest + chunk
        if len(came) > LONGEST_EVENT:
            raise ValueError(f"expected an event of at most {LONGEST_EVENT >> 20} MiB, got more")
        *events, self.rest = _BLANK_LINE.split(came) if b"\r" in came else came.split(b"\n\n")
        return events


def data_of(event: bytes) -> bytes | None:
    """Return the data lines of an event, joined by line breaks; None if it has no data line."""
    if event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event:
        return event[6:]
    lines = [
        line[5:].removeprefix(b" ")
        for line in _LINE_END.split(event.removeprefix(_BYTE_ORDER_MARK))
        if line == b"data" or line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None


def data(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the data of each complete event in a stream of bytes. ValueError for an event longer than 16 MiB."""
    reader = Reader()
    for chunk in chunks:
        for event in reader.feed(chunk):
            found = data_of(event)
            if found is not None:
                yield found
