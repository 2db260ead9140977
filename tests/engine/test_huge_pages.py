"""A model's memory is gathered into huge pages, and what was never touched stays untouched."""

from __future__ import annotations

import mmap

import pytest

from firectl.engine.embedded.huge_pages import gather, pieces

MIB = 2**20


def test_only_large_anonymous_memory_that_is_in_use_counts() -> None:
    lines = ("{}-{} {} 00000000 00:00 0 {}", "Size: 1 kB", "Rss: {} kB")

    def mapping(start: int, size: int, rights: str, resident: int, name: str = "") -> str:
        head = lines[0].format(f"{start * MIB:x}", f"{(start + size) * MIB:x}", rights, name).strip()
        return "\n".join((head, lines[1], lines[2].format(resident * 1024)))

    smaps = [
        mapping(100, 64, "rw-p", 63),
        mapping(200, 64, "rw-p", 10),  # kept free for later
        mapping(300, 4, "rw-p", 4),
        mapping(400, 64, "r--p", 64),
        mapping(500, 64, "rw-s", 64),
        mapping(600, 64, "rw-p", 64, "[heap]"),
        mapping(700, 16, "rw-p", 16),
    ]
    assert list(pieces("\n".join(smaps))) == [(100 * MIB, 164 * MIB), (700 * MIB, 716 * MIB)]


def test_memory_in_use_comes_to_lie_in_huge_pages() -> None:
    size = 64 * MIB
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block.write(b"x" * size)
        before = huge()
        thread = gather()
        if thread is None:
            pytest.skip("this system has no huge pages")
        thread.join(60)
        if huge() == before:
            pytest.skip("this system gives none: a Linux before 6.1, or no memory that lies together")
        assert huge() - before >= size // 2
        assert block[:] == b"x" * size


def huge() -> int:
    """Bytes of this process in huge pages."""
    with open("/proc/self/smaps_rollup") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("AnonHugePages:"))
