"""Writing behind the computation, flushing and hashing on other threads, and how their errors come back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from io import FileIO
from pathlib import Path

import pytest

from firectl.lora.merge.threads import AHEAD, FLUSH, BackgroundCalls, Flusher, Hasher, write_behind
from firectl.lora.read.hashing import file_hash


def test_a_disk_that_does_not_take_what_was_written_fails_the_merge(tmp_path: Path) -> None:
    """A descriptor of no file: the kernel refuses to flush it, as it does after a write that failed."""
    reader, writer = os.pipe()

    def write_on() -> None:
        with open(writer, "wb", buffering=0) as file, Flusher() as flusher:
            while True:
                flusher.wrote(file, FLUSH)

    with pytest.raises(OSError, match="Invalid argument"):
        write_on()
    os.close(reader)


def test_pieces_are_called_in_order_and_few_wait() -> None:
    called: list[int] = []
    waiting: list[int] = []

    def call(number: int) -> int:
        called.append(number)
        return number

    def pieces() -> Iterator[Callable[[], int]]:
        for number in range(20):
            waiting.append(number - len(called))
            yield partial(call, number)

    assert list(write_behind(pieces())) == called == list(range(20))
    assert max(waiting) <= AHEAD


def test_the_first_error_ends_it_and_few_pieces_are_made_after_it() -> None:
    made: list[int] = []

    def fail() -> int:
        raise OSError("no space")

    def pieces() -> Iterator[Callable[[], int]]:
        yield fail
        for number in range(1000):
            made.append(number)
            yield lambda: 0

    with pytest.raises(OSError, match="no space"):
        list(write_behind(pieces()))
    assert len(made) <= AHEAD


def test_calls_after_an_error_are_dropped_and_the_block_raises_it() -> None:
    called: list[str] = []

    def fail() -> None:
        raise OSError("no space")

    def call_on(background: BackgroundCalls) -> None:
        while True:
            background.call(lambda: called.append("after"))

    def block() -> None:
        with BackgroundCalls("test") as background:
            background.call(lambda: called.append("before"))
            background.call(fail)
            with pytest.raises(OSError, match="no space"):
                call_on(background)

    with pytest.raises(OSError, match="no space"):
        block()
    assert called == ["before"]


def test_a_block_that_fails_drops_the_calls_that_wait(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(40 << 30)  # a hole that takes half a minute to hash

    def fail() -> None:
        with Hasher() as hasher:
            for _ in range(10_000):
                hasher.wrote(tmp_path / "a", 4 << 20)
            raise ZeroDivisionError

    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert time.monotonic() - began < 10


def test_a_file_is_hashed_while_it_grows(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    other.write_bytes(b"")
    with Hasher() as hasher, FileIO(path, "x") as file:
        for size in (5, 2**20 + 3, 1):
            file.write(os.urandom(size))
            hasher.wrote(path, size)
        hasher.wrote(other, 0)
    assert hasher.hashes == {"a": file_hash(path), "b": file_hash(other)}


def test_a_file_that_is_shorter_than_what_was_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"short")

    def hash_more() -> None:
        with Hasher() as hasher:
            hasher.wrote(tmp_path / "a", 6)

    with pytest.raises(OSError, match="a is shorter than what was written to it"):
        hash_more()


def test_a_file_is_closed_after_it_is_flushed(tmp_path: Path) -> None:
    target = FileIO(tmp_path / "a", "x")
    with Flusher() as flusher:
        flusher.wrote(target, target.write(b"x"))
        flusher.close(target)
    assert target.closed
