"""Handle processes, ports, locks and log files on this machine. Must not depend on the platform."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from firectl.errors import Code, NetworkError, from_wire

STOP_SECONDS = 60.0
TAIL_BYTES = 64 * 1024
_SECRETS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


def environment() -> dict[str, str]:
    """Return this process's environment variables, without secrets and with absolute paths in PYTHONPATH."""
    kept = {name: value for name, value in os.environ.items() if not any(word in name.upper() for word in _SECRETS)}
    if kept.get("PYTHONPATH"):
        kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in kept["PYTHONPATH"].split(os.pathsep))
    return kept


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt in the block, so that the caller can end its child process."""

    def end(signum: int, frame: Any) -> None:
        # The handler that was set before also runs, because it decides the exit code.
        if callable(listener := before[signum]):
            listener(signum, frame)
        raise KeyboardInterrupt

    kinds = [kind for name in ("SIGTERM", "SIGHUP") if (kind := getattr(signal, name, None)) is not None]
    before = {kind: signal.getsignal(kind) for kind in kinds}
    for kind in kinds:
        signal.signal(kind, end)
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def end_process(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def same_process(pid: int, created: float) -> Any:
    """Return the psutil.Process with this ID and creation time, or None. The time matters because IDs are reused."""
    import psutil

    try:
        process = psutil.Process(pid)
        # Two readings of one process differ only by rounding. If the clock was changed in between, nothing matches.
        return process if abs(process.create_time() - created) < 0.001 else None
    except (psutil.Error, ValueError):
        return None


def signal_until(process: Any, ended: Callable[[], bool], seconds: float) -> None:
    """Send SIGTERM to a psutil.Process and wait `seconds` for `ended`. If that fails, do the same with SIGKILL."""
    import psutil

    for send in (process.terminate, process.kill):
        # If another process now has the ID, psutil raises an error and sends no signal.
        with suppress(psutil.Error):
            send()
        if until(ended, seconds):
            return


def ask(url: str, method: str, path: str, key: str | None, seconds: float = 30.0) -> dict[str, Any]:
    from http.client import HTTPConnection, HTTPException

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    host, port = url.removeprefix("http://"), port_of(url)
    connection = HTTPConnection(host.rpartition(":")[0], port, timeout=seconds)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = json.loads(answer.read() or b"{}")
    except (OSError, HTTPException, ValueError):
        raise NetworkError(Code.UNAVAILABLE, f"the platform at {url} does not answer") from None
    finally:
        connection.close()
    if answer.status >= 400 or not isinstance(body, Mapping):
        raise from_wire(answer.status, body)
    return dict(body)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def port_of(url: str) -> int:
    tail = url.rpartition(":")[2]
    return int(tail) if tail.isdecimal() else 80


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Use the same option as the server, so that a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def any_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file. With fcntl, concurrent callers do not disturb each other."""
    if not path.exists():
        return False
    try:
        import fcntl
    except ImportError:
        return _is_locked_without_fcntl(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_locked_without_fcntl(path: Path) -> bool:
    from filelock import FileLock, Timeout

    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def tail(file: IO[bytes], lines: int) -> str:
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - TAIL_BYTES))
    kept = file.read().decode(errors="replace").splitlines(keepends=True)
    return "".join(kept[-lines:]) if lines else ""
