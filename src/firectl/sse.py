"""Server-sent events, read and written, for client, platform, engine and bench alike.

Works on bytes, not on lines of text: str.splitlines also breaks at U+2028 and its like, which JSON carries in strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

DONE = b"[DONE]"
"""The data of the last event of a stream of the inference API."""
LONGEST_EVENT = 16 << 20

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r){2}")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def event(data: bytes) -> bytes:
    """An event as it is sent; `data` is one line."""
    return b"data: " + data + b"\n\n"


class Reader:
    """Puts the events of a stream together, wherever its chunks are cut."""

    def __init__(self) -> None:
        self.rest = b""
        """What came after the last complete event."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are complete now, each without the blank line that ends it; ValueError for one too long."""
        came = self.rest + chunk
        if len(came) > LONGEST_EVENT:
            raise ValueError("an event is too long")
        *events, self.rest = _BLANK_LINE.split(came) if b"\r" in came else came.split(b"\n\n")
        return events


def data_of(event: bytes) -> bytes | None:
    """The data lines of an event, joined; comments and other fields are skipped. None where it has no data."""
    if event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event:
        return event[6:]
    lines = [
        line[5:].removeprefix(b" ")
        for line in _LINE_END.split(event.removeprefix(_BYTE_ORDER_MARK))
        if line == b"data" or line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None


def data(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each complete event in a stream of bytes. ValueError for an event longer than 16 MiB."""
    reader = Reader()
    for chunk in chunks:
        for event in reader.feed(chunk):
            found = data_of(event)
            if found is not None:
                yield found
