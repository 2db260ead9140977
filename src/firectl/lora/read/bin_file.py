"""Convert a `.bin` of torch.save to safetensors, in a child process with limits that uses weights_only.

`python -m firectl.lora.read.bin_file BIN OUT SECONDS` is that child. No other process loads a `.bin`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from importlib import metadata
from pathlib import Path

from firectl.errors import AdapterError, Code, InputError
from firectl.lora.read.folder import printable, quoted

MIN_TORCH = (2, 6)
"""In older versions of torch, a file can make torch.load(weights_only=True) run code (CVE-2025-32434)."""

_HINT = "save the adapter as safetensors: model.save_pretrained(folder)"
_SECONDS = 120.0
_BYTES_A_SECOND = 10 * 2**20
_MEMORY = 2**29
"""Bytes that the child may use beyond `_TIMES` the file's size: for the tensors, their copies and the output."""
_TIMES = 4
"""The tensors may be this many times as large as the file, because some share their storage."""
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "SYSTEMROOT")

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED, _FAILED = 2, 3
"""Exit codes of the child: the file's content is wrong; the system refused to read or write a file."""

_one_at_a_time = threading.Lock()
"""Run one child at a time: the memory limit is per child, and a platform may get many files at once."""


class NotInspected(InputError):
    """Raised when the file was not read. Does not mean that the file is wrong.

    The code is FAILED_PRECONDITION if a suitable torch is missing. Other codes are for causes that may pass:
    RESOURCE_EXHAUSTED for a full disk, DEADLINE_EXCEEDED for the time limit, otherwise UNAVAILABLE.
    """

    def __init__(self, code: Code, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code

    @classmethod
    def of(cls, name: str, error: OSError) -> NotInspected:
        """Make the error for a file that the system refused to read or write."""
        full = error.errno in _NO_ROOM
        return cls(
            Code.RESOURCE_EXHAUSTED if full else Code.UNAVAILABLE,
            f"{name} was not inspected: its safetensors copy cannot be written: {error.strerror or error}"
            if full
            else f"{name} was not inspected: {error.strerror or error}",
            hint=f"df -h {shlex.quote(tempfile.gettempdir())}" if full else None,
        )


class SafetensorsCopy:
    """A temporary safetensors copy of a `.bin`, at `path`, named like the `.bin`. Exists as long as this object."""

    def __init__(self, path: Path) -> None:
        try:
            folder = tempfile.mkdtemp(prefix="firectl-bin-")
        except OSError as error:
            raise NotInspected.of(path.name, error) from error
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.path = Path(folder) / path.name
        to_safetensors(path, self.path)


def to_safetensors(path: Path, out: Path, seconds: float | None = None) -> None:
    """Write the tensors of the `.bin` at `path` to `out`, in a child process.

    AdapterError if the file is not a flat dictionary of tensors, or takes too much memory. NotInspected if torch is
    missing or older than 2.6, if the child takes more than `seconds`, or if it ends without an answer about the file.
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
                start_new_session=True,  # a Ctrl-C is for the platform, and must not end the child
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise NotInspected(
            Code.DEADLINE_EXCEEDED, f"{path.name} was not inspected within {seconds:g} seconds", hint=_HINT
        ) from None
    except OSError as error:
        raise NotInspected.of(path.name, error) from error
    if done.returncode == 0:
        return
    *_, last = done.stderr.decode("utf-8", "replace").strip().splitlines() or [""]
    answer = {}
    if done.returncode in (_REFUSED, _FAILED):
        with contextlib.suppress(ValueError):
            answer = json.loads(last)
    if "refused" in answer:
        raise AdapterError(answer["refused"], hint=_HINT)
    if "errno" in answer:
        raise NotInspected.of(path.name, OSError(answer["errno"], os.strerror(answer["errno"])))
    why = f"ended with {done.returncode}: {printable(last)}"
    if done.returncode < 0:
        why = f"was ended by signal {-done.returncode} ({signal.strsignal(-done.returncode)})"
    raise NotInspected(Code.UNAVAILABLE, f"{path.name} was not inspected: its process {why}")


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
        Code.FAILED_PRECONDITION,
        f"{name} was not inspected: {why}; reading it needs torch 2.6 or later",
        hint="pip install 'firectl[local]'",
    )


def main() -> int:
    """Run as the child. Returns 0 if done, else `_REFUSED` or `_FAILED`, with the reason as a JSON line on stderr."""
    import torch  # noqa: F401  before the limit, which is for the file and not for torch

    path = Path(sys.argv[1])
    _limit(_MEMORY + _TIMES * path.stat().st_size, int(float(sys.argv[3])) + 1)
    try:
        convert(path, Path(sys.argv[2]))
    except AdapterError as error:
        sys.stderr.write(json.dumps({"refused": error.message}) + "\n")
        return _REFUSED
    except OSError as error:
        sys.stderr.write(json.dumps({"errno": error.errno}) + "\n")
        return _FAILED
    return 0


def _limit(memory: int, seconds: int) -> None:
    """End this process when it takes more bytes or seconds. macOS does not enforce RLIMIT_AS, only the time."""
    import resource

    signal.alarm(seconds)  # the parent may have died
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        most = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def convert(path: Path, out: Path) -> None:
    """Convert a `.bin` in this process, without limits. Only the child may call this function.

    AdapterError if the content cannot be converted, OSError if the system refused to read or write a file.
    """
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
        if number := _system_error(error):
            raise OSError(number, os.strerror(number)) from error
        what = f"{type(cause).__name__}: {printable(' '.join(str(cause).partition('. ')[0].split()))}".rstrip(": .")
        raise AdapterError(f"{path.name} cannot be read as weights alone; nothing in it was run ({what})") from None


def _system_error(error: Exception) -> int | None:
    """Return the errno of a system call that failed, else None. safetensors has the errno only in the error's text."""
    if isinstance(error, OSError):
        # EINVAL means wrong content: the file has an offset that no file can have.
        return None if error.errno == errno.EINVAL else error.errno
    found = re.search(r"\(os error (\d+)\)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(found[1]) if found else None


def _require_plain(loaded: object, path: Path) -> None:
    """Raise AdapterError unless `loaded` is a flat dictionary of plain tensors of a size possible for the file."""
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
