"""A model's memory moves into huge pages, and untouched memory stays untouched."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firectl.engine.compute.huge_pages import collapse, large_mappings
from tests.engine.process import EngineProcess
from tests.tiny import make_base

MIB = 2**20
SIZE = 64 * MIB
COLLAPSE = 25
"""MADV_COLLAPSE, since Linux 6.1."""
ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


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
    assert list(large_mappings("\n".join(smaps))) == [(100 * MIB, 164 * MIB), (700 * MIB, 716 * MIB)]


def test_memory_in_use_moves_into_huge_pages(collapsing: None) -> None:
    before = huge("self")
    with block() as mine:
        thread = collapse()
        assert thread is not None
        thread.join(60)
        assert not thread.is_alive()
        assert huge("self") - before >= SIZE // 2
        assert mine[:] == b"x" * SIZE


def test_an_engine_collapses_a_large_models_memory_and_not_a_small_ones(
    collapsing: None, engine: EngineProcess, tmp_path: Path
) -> None:
    if "[always]" in ENABLED.read_text():
        pytest.skip("this system gives huge pages without being asked")
    large = make_base(tmp_path / "base", layers=3, hidden=512, intermediate=1536)
    assert (large / "model.safetensors").stat().st_size > 32 * MIB
    with EngineProcess(large) as other:
        other.wait_ready()
        other.wait_for(lambda: huge(other.process.pid) >= 16 * MIB)
        assert other.complete()["choices"]
    assert engine.complete()["choices"]
    assert huge(engine.process.pid) == 0


@pytest.fixture
def collapsing() -> None:
    """Skips where the system refuses a direct request for as much memory."""
    if not sys.platform.startswith("linux") or not ENABLED.exists() or "[never]" in ENABLED.read_text():
        pytest.skip("this system has no huge pages, or forbids them")
    with block() as probe:
        try:
            probe.madvise(COLLAPSE)
        except OSError as error:
            pytest.skip(f"this system gives none: a Linux before 6.1, or no memory that lies together ({error})")


@contextmanager
def block() -> Iterator[mmap.mmap]:
    """Memory of this process, all touched."""
    with mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(b"x" * SIZE)
        yield memory


def huge(pid: int | str) -> int:
    """Bytes of a process in huge pages."""
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("AnonHugePages:"))
