"""Converts a `.bin` of torch.save to safetensors: a child process with limits loads it with weights_only.

`python -m firectl.lora.read.bin_file BIN OUT SECONDS` is that child. No other process loads a `.bin`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from importlib import metadata
from pathlib import Path

from firectl.errors import AdapterError, InputError
from firectl.lora.read.folder import printable, quoted

MIN_TORCH = (2, 6)
"""In older versions a file can make torch.load(weights_only=True) run code (CVE-2025-32434)."""

_HINT = "save the adapter as safetensors: model.save_pretrained(folder)"
_SECONDS = 120.0
_BYTES_A_SECOND = 10 * 2**20
_MEMORY = 2**29
"""Bytes that the child may use beyond `_TIMES` the file's size: for the tensors, their copies and the output."""
_TIMES = 4
"""The tensors may have this many times the file's size, because some share their storage."""
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "SYSTEMROOT")

_one_at_a_time = threading.Lock()
"""The memory limit is per child, and a platform may get many files at once."""


class NotInspected(InputError):
    """torch is missing or too old to read the file. Says nothing about the file itself."""


class SafetensorsCopy:
    """A `.bin` as safetensors: `path`, with the same file name. The file exists as long as this object."""

    def __init__(self, path: Path) -> None:
        folder = tempfile.mkdtemp(prefix="firectl-bin-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.path = Path(folder) / path.name
        to_safetensors(path, self.path)


def to_safetensors(path: Path, out: Path, seconds: float | None = None) -> None:
    """Write the tensors of the `.bin` at `path` to `out`, in a child process.

    AdapterError if the file is not a flat dictionary of tensors, or takes too much memory or more than `seconds`.
    NotInspected if torch is missing or older than 2.6.
    """
    _require_torch(path.name)
    if seconds is None:
        seconds = _SECONDS + path.stat().st_size / _BYTES_A_SECOND
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        with _one_at_a_time:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "firectl.lora.read.bin_file", str(path), str(out), str(seconds)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=seconds,
                env=kept | {"OMP_NUM_THREADS": "1"},
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise AdapterError(f"{path.name} was not read within {seconds:g} seconds", hint=_HINT) from None
    if done.returncode == 0:
        return
    *_, last = done.stderr.decode("utf-8", "replace").strip().splitlines() or [""]
    message = f"{path.name} was not read: its process ended with {done.returncode}: {printable(last)}"
    with contextlib.suppress(ValueError, TypeError, KeyError):
        message = json.loads(last)["refused"]
    raise AdapterError(message, hint=_HINT)


def _require_torch(name: str) -> None:
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        why = "torch is not installed"
    else:
        if tuple(map(int, re.findall(r"\d+", version)[:2])) >= MIN_TORCH:
            return
        why = f"torch {version} can be made to run code by such a file"
    raise NotInspected(
        f"{name} was not inspected: {why}; reading it needs torch 2.6 or later", hint="pip install 'firectl[local]'"
    )


def main() -> int:
    """The child: 0 done, 2 refused, with the reason as a JSON line on stderr."""
    import torch  # noqa: F401  before the limit, which is for the file and not for torch

    path = Path(sys.argv[1])
    _limit(_MEMORY + _TIMES * path.stat().st_size, int(float(sys.argv[3])) + 1)
    try:
        convert(path, Path(sys.argv[2]))
    except AdapterError as error:
        sys.stderr.write(json.dumps({"refused": error.message}) + "\n")
        return 2
    return 0


def _limit(memory: int, seconds: int) -> None:
    """End this process when it takes more bytes or seconds. macOS does not enforce RLIMIT_AS, only the time."""
    import resource
    import signal

    signal.alarm(seconds)  # the parent may have died
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        most = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def convert(path: Path, out: Path) -> None:
    """`to_safetensors` in this process, without limits: for the child. AdapterError if the file cannot be converted."""
    from pickle import UnpicklingError
    from zipfile import is_zipfile

    import torch
    from safetensors.torch import save_file

    try:
        with path.open("rb") as file:
            is_archive = file.read(4) == b"PK\x03\x04"
        if is_archive and not is_zipfile(path):
            raise AdapterError(f"{path.name} is a damaged archive: its end is missing")
        # Not with mmap: torch would read compressed bytes as numbers, and would not compare the sizes of storages.
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        _require_plain(loaded, path)
        save_file({name: tensor.detach().contiguous().clone() for name, tensor in loaded.items()}, out)
    except AdapterError:
        raise
    # torch raises its own errors and pickle's here, which have no common class.
    except Exception as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise AdapterError(f"{path.name} takes more memory to read than its size allows") from None
        # torch's own text around a pickle error advises to load the file without weights_only.
        cause = error.__context__ or error if isinstance(error, UnpicklingError) else error
        what = f"{type(cause).__name__}: {printable(' '.join(str(cause).partition('. ')[0].split()))}".rstrip(": .")
        raise AdapterError(f"{path.name} cannot be read as weights alone; nothing in it was run ({what})") from None


def _require_plain(loaded: object, path: Path) -> None:
    """AdapterError unless `loaded` is a flat dictionary of plain tensors whose total size the file can have."""
    import torch

    if not isinstance(loaded, dict):
        raise AdapterError(f"{path.name} is not a dictionary of tensors")
    size = 0
    for name, value in loaded.items():
        if not isinstance(name, str):
            raise AdapterError(f"{path.name} has a key that is not a string")
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise AdapterError(f"{path.name}: the entry {quoted(name)} is not a plain tensor")
        size += value.nbytes
    if size > max(_TIMES * path.stat().st_size, 2**20):
        raise AdapterError(f"{path.name} announces {size} bytes of tensors, more than {_TIMES} times its size")


if __name__ == "__main__":
    raise SystemExit(main())
