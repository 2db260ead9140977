"""Server-sent events: the data of each event in a stream of bytes.

Not httpx's iter_lines, which also breaks lines at U+2028 and its like: JSON carries those inside strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

LONGEST_EVENT = 16 * 1024 * 1024

_LINE_END = re.compile(rb"\r\n|\n|\r")


def events(chunks: Iterable[bytes]) -> Iterator[str]:
    """The data of every complete event, its lines joined; comments and other fields are skipped.

    ValueError for bytes that are not UTF-8, or an event longer than 16 MiB.
    """
    data: list[str] = []
    size = 0
    for line in _lines(chunks):
        if line == b"":
            if data:
                yield "\n".join(data)
            data, size = [], 0
        elif line == b"data" or line.startswith(b"data:"):
            value = line[5:].removeprefix(b" ")
            size += len(value)
            if size > LONGEST_EVENT:
                raise ValueError("an event is too long")
            data.append(value.decode())


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    first = True
    for chunk in chunks:
        buffer = rest + chunk
        if first and len(buffer) >= 3:
            buffer, first = buffer.removeprefix(b"\xef\xbb\xbf"), False
        start = 0
        for match in _LINE_END.finditer(buffer):
            # A CR at the very end may be half of a CRLF.
            if match.group() == b"\r" and match.end() == len(buffer):
                break
            yield buffer[start : match.start()]
            start = match.end()
        rest = buffer[start:]
        if len(rest) > LONGEST_EVENT:
            raise ValueError("a line is too long")
    if rest.endswith(b"\r"):
        yield rest[:-1]
