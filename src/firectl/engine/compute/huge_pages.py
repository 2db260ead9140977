"""Move a model's memory into pages of 2 MiB on Linux. With pages of 4 KiB, each product has many TLB misses.

Does nothing if the system has no huge pages or forbids them. Must not depend on what the memory holds.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_SIZE = 2 * 2**20
_COLLAPSE = 25
"""The number of MADV_COLLAPSE (Linux 6.1 or later): move a range into huge pages now."""
_LEAST = 8 * _SIZE
"""Least size of a mapping in bytes: smaller ones do not hold a model's weights."""
_FULL = 0.9
"""Least share of a mapping that must be in memory. Otherwise huge pages would allocate memory that nobody used."""


def collapse() -> threading.Thread | None:
    """Start a thread that moves this process's large mappings into huge pages. None if that is not possible."""
    try:
        allowed = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return None
    if not sys.platform.startswith("linux") or "[never]" in allowed:
        return None
    thread = threading.Thread(target=_collapse, name="huge pages", daemon=True)
    thread.start()
    return thread


def _collapse() -> None:
    advise = ctypes.CDLL(None).madvise
    for start, end in list(large_mappings(Path("/proc/self/smaps").read_text())):
        # One page at a time, so that other threads wait less. If a mapping no longer exists, the error does no harm.
        for page in range(-(-start // _SIZE) * _SIZE, end - _SIZE + 1, _SIZE):
            advise(ctypes.c_void_p(page), ctypes.c_size_t(_SIZE), ctypes.c_int(_COLLAPSE))


def large_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of mappings that are private, writable, anonymous, large and in memory; without the heap."""
    start = end = 0
    for line in smaps.splitlines():
        fields = line.split()
        if "-" in fields[0] and not fields[0].endswith(":"):
            plain = len(fields) == 5 and fields[1].startswith("rw") and fields[1].endswith("p")
            start, end = (int(number, 16) for number in fields[0].split("-")) if plain else (0, 0)
        elif fields[0] == "Rss:" and end - start >= _LEAST and 1024 * int(fields[1]) >= _FULL * (end - start):
            yield start, end
