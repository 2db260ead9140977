"""Memory that every step reads, in pages of 2 MiB where Linux has them: of 4 KiB there are so many that a core spends a
part of each product on finding them.

Best effort: where the system has none, or is told to give none, nothing happens. Must not know what lies there.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_SIZE = 2 * 2**20
_COLLAPSE = 25
"""MADV_COLLAPSE, of Linux 6.1: move what lies there into huge pages now."""
_LEAST = 8 * _SIZE
"""Smaller pieces are not a model's weights."""
_FULL = 0.9
"""The share of a piece that must be in memory already: what was never touched must not be taken for this."""


def gather() -> threading.Thread | None:
    """Begin to gather this process's large pieces of memory, on a thread of its own; None where that cannot be done."""
    try:
        allowed = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return None
    if not sys.platform.startswith("linux") or "[never]" in allowed:
        return None
    thread = threading.Thread(target=_gather, name="huge pages", daemon=True)
    thread.start()
    return thread


def _gather() -> None:
    advise = ctypes.CDLL(None).madvise
    for start, end in list(pieces(Path("/proc/self/smaps").read_text())):
        # A page at a time: the others wait for less of it. A piece that has gone meanwhile is an error, and no harm.
        for page in range(-(-start // _SIZE) * _SIZE, end - _SIZE + 1, _SIZE):
            advise(ctypes.c_void_p(page), ctypes.c_size_t(_SIZE), ctypes.c_int(_COLLAPSE))


def pieces(smaps: str) -> Iterator[tuple[int, int]]:
    """Start and end of what is private, writable, of no file, large and in memory; without the heap of small things."""
    start = end = 0
    for line in smaps.splitlines():
        fields = line.split()
        if "-" in fields[0] and not fields[0].endswith(":"):
            plain = len(fields) == 5 and fields[1].startswith("rw") and fields[1].endswith("p")
            start, end = (int(number, 16) for number in fields[0].split("-")) if plain else (0, 0)
        elif fields[0] == "Rss:" and end - start >= _LEAST and 1024 * int(fields[1]) >= _FULL * (end - start):
            yield start, end
