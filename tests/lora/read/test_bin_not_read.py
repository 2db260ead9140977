"""A full disk, a time limit or a signal ends the reading of a `.bin`: the error says nothing about the file."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from firectl.errors import Code
from firectl.lora.read.bin_file import NotInspected, SafetensorsCopy, to_safetensors
from firectl.lora.read.safetensors import read_header
from tests.lora.read.test_bin_file import save_as_bin
from tests.server.process import until


def conversion(parent: int) -> psutil.Process:
    """The process that reads a `.bin` for process `parent`, as soon as it runs."""
    found: list[psutil.Process] = []

    def runs() -> bool:
        for child in psutil.Process(parent).children():
            # A child of another test that has ended but was not waited for has no command line any more.
            with suppress(psutil.NoSuchProcess):
                if "firectl.lora.read.bin_file" in child.cmdline():
                    found.append(child)
        return bool(found)

    until(runs)
    return found[0]


@contextmanager
def files_of_at_most(size: int, process: int = 0) -> Iterator[None]:
    """No file of the process or its children can grow beyond `size` bytes: for them the disk is full."""
    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, before)


no_prlimit = pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no prlimit")


def test_a_read_that_takes_too_long_is_ended_and_says_nothing_about_the_file(good: Path) -> None:
    path = save_as_bin(good) / "adapter_model.bin"
    with pytest.raises(NotInspected, match=r"adapter_model\.bin was not inspected within 0\.01 seconds") as caught:
        to_safetensors(path, good / "copy", seconds=0.01)
    assert caught.value.code is Code.DEADLINE_EXCEEDED


@no_prlimit
def test_a_full_disk_says_nothing_about_the_file(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "adapter_model.bin"
    torch.save({"a": torch.zeros(2**20)}, path)
    with (
        files_of_at_most(2**20),
        pytest.raises(NotInspected, match=r"bin was not inspected: its safetensors copy cannot be written") as caught,
    ):
        to_safetensors(path, tmp_path / "copy")
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert caught.value.hint == f"df -h {tempfile.gettempdir()}"
    to_safetensors(path, tmp_path / "copy")


def test_no_temporary_folder_says_nothing_about_the_file(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(good / "none"))
    with pytest.raises(NotInspected, match=r"adapter_model\.bin was not inspected: No such file") as caught:
        SafetensorsCopy(save_as_bin(good) / "adapter_model.bin")
    assert caught.value.code is Code.UNAVAILABLE


def test_a_child_that_is_killed_says_nothing_about_the_file(good: Path) -> None:
    path = save_as_bin(good) / "adapter_model.bin"
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(to_safetensors, path, good / "copy")
        conversion(os.getpid()).kill()
        with pytest.raises(NotInspected, match=r"adapter_model\.bin was not inspected: .* signal 9 ") as caught:
            reading.result()
    assert caught.value.code is Code.UNAVAILABLE


def test_a_ctrl_c_for_the_platform_does_not_end_the_child(good: Path) -> None:
    path = save_as_bin(good) / "adapter_model.bin"
    program = (
        "import signal, sys; from pathlib import Path; from firectl.lora.read.bin_file import to_safetensors\n"
        "signal.signal(signal.SIGINT, lambda *_: None); to_safetensors(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(path), str(good / "copy")]
    with subprocess.Popen(command, start_new_session=True) as platform:
        conversion(platform.pid)
        os.killpg(platform.pid, signal.SIGINT)
        assert platform.wait(60) == 0
    assert read_header(good / "copy").tensors
