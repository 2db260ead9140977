"""Start the local platform's process detached, find it again and stop it. Requests to the platform go over HTTP.

The platform is alive while its lock is held. If the lock is free, a program on its port is another one and gets no key.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from firectl.cli.machine.process import (
    STOP_SECONDS,
    any_port,
    ask,
    end_process,
    ended_by_signals,
    environment,
    is_free,
    is_locked,
    port_of,
    same_process,
    signal_until,
    tail,
    until,
)
from firectl.errors import Code, FirectlError, InputError, NetworkError, WaitTimeout

NEEDED = (
    "starlette", "uvicorn", "sqlalchemy", "filelock", "httptools", "aiohttp", "psutil",
    "jinja2", "numpy", "safetensors", "torch", "transformers",
)  # fmt: skip
INSTALL = "pip install '.[local]'"
DEFAULT_ACCOUNT = "local"
START_SECONDS = 120.0
KILL_SECONDS = 5.0
PORT_SECONDS = 1.0
_ERROR = re.compile(r"Error: (?P<message>.*) \(code = \w+\)(?:; (?P<hint>.+))?")
"""Matches the last line of the log if the platform refused to start."""


class RunningPlatform(NamedTuple):
    """Where a platform runs: its URL, account, version and process ID."""

    url: str
    account: str
    version: str
    pid: int


class LocalPlatform:
    """Control the platform of one folder. `home`: the platform's data folder. `note`: prints one line for people."""

    def __init__(self, home: Path, note: Callable[[str], None]) -> None:
        from firectl.server.disk.paths import Paths

        self.home = home
        self.paths = Paths(home)
        self._note = note
        self._up_lock = home / "up.lock"
        """The lock file that `local up` and `local serve` hold until their platform answers."""

    def running(self) -> RunningPlatform | None:
        """Return the platform of this home, or None unless its lock is held and it answers within a second."""
        last = self._last()
        return last if last is not None and _answers(last.url) and self._lock_is_held() else None

    def key(self) -> str:
        """Return the API key of the platform's own user."""
        try:
            return str(json.loads(self.paths.credentials.read_bytes())["apiKey"])
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{self.paths.credentials} holds no key", hint="firectl local up") from None

    def status(self, running: RunningPlatform) -> dict[str, Any]:
        """Ask the platform for its status, and return it."""
        return ask(running.url, "GET", "/v1/local", self.key())

    def disk(self) -> dict[str, int]:
        """Return the size of each folder of the home in bytes, by the folder's name."""
        from firectl.server.disk.trash import Trash, bytes_in

        kinds = (self.paths.models, self.paths.merged, self.paths.uploads, self.paths.logs)
        return {folder.name: bytes_in(folder) for folder in kinds} | {"trash": Trash(self.paths).size()}

    def prune(self) -> int:
        """Empty the trash and return the number of bytes freed. Works without a running platform too."""
        from firectl.server.disk.trash import Trash

        try:
            return Trash(self.paths).empty()
        except OSError as error:
            where = error.filename or self.paths.trash
            raise InputError(f"{where} cannot be removed: {error.strerror}", hint="firectl local df") from error

    def up(self, port: int | None, account: str | None, options: Sequence[str] = ()) -> RunningPlatform:
        """Return the running platform. Start it with `options` if none is running."""
        with self._starting():
            running = self.running()
            if running is None:
                _refuse_incomplete_install()
                running = self._start(port, account, options)
            elif options or (port is not None and port != port_of(running.url)):
                raise InputError(
                    f"a platform is already running at {running.url}", hint="firectl local down, then up again"
                )
            else:
                self._note("The platform is already running")
        if account is not None and account != running.account:
            raise InputError(
                f"the platform in {self.home} belongs to the account {running.account!r}, not {account!r}",
                hint="set FIREWORKS_HOME to another folder for another account",
            )
        return running

    def down(self) -> bool:
        """Stop the platform and wait until its lock is free. Return False if no platform was running."""
        if not until(lambda: not self._is_about_to_start(), STOP_SECONDS):
            raise WaitTimeout("another firectl local up is still running", hint="firectl local logs")
        was_held, end = self._lock_is_held(), time.monotonic() + KILL_SECONDS
        # A platform that is starting or ending does not answer.
        while (asked := self._ask_to_end()) is None and self._lock_is_held() and time.monotonic() < end:
            time.sleep(0.05)
        if asked is None and not was_held:
            return False
        if not until(lambda: not self._lock_is_held(), STOP_SECONDS if asked is not None else 0):
            self._end_by_signal()
            if not until(lambda: not self._lock_is_held(), KILL_SECONDS):
                raise WaitTimeout("the platform does not stop", hint=f"see {self.paths.log}")
        if asked is not None:
            # A killed process can free its lock before its port. If the port stays in use, another program has it.
            until(lambda: is_free(port_of(asked.url)), PORT_SECONDS)
        return True

    def serve(
        self, port: int | None, account: str | None, options: Sequence[str], started: Callable[[RunningPlatform], None]
    ) -> int:
        """Run the platform in the foreground until it ends. Return its exit status."""
        _refuse_incomplete_install()
        with ended_by_signals(), ExitStack() as starting:
            starting.enter_context(self._starting())
            if self.running() is not None or self._lock_is_held():
                raise InputError("a platform is already running", hint="firectl local down")
            chosen = self._choose_port(port)
            child = subprocess.Popen(
                [*self._command(chosen, account), *options, "--echo"], stdin=subprocess.DEVNULL, env=environment()
            )
            try:
                running = self._until_up(child, chosen)
                starting.close()
                started(running)
                return child.wait()
            finally:
                end_process(child)

    def logs(self, replica: str | None, lines: int, follow: bool) -> Iterator[str]:
        """Yield the last lines of the log of the platform or a replica. `follow`: also yield what is added later."""
        path = self._log_of(replica)
        with path.open("rb") as file:
            if not path.stat().st_size:
                self._note(f"the log of {'the platform' if replica is None else path.stem} is empty")
            yield tail(file, lines)
            while follow:
                piece = file.read()
                if piece:
                    yield piece.decode(errors="replace")
                time.sleep(0.2)

    def _log_of(self, replica: str | None) -> Path:
        """Return the path of a log. `replica`: `DEPLOYMENT-N`, `DEPLOYMENT` for replica 0, None for the platform."""
        found = {path.stem: path for path in sorted(self.paths.logs.glob("*.log"))}
        wanted = [self.paths.log.stem] if replica is None else [replica, f"{replica}-0"]
        path = next((found[name] for name in wanted if name in found), None)
        if path is None:
            if self.paths.log.stem not in found:
                raise InputError(f"no platform has run here yet: {self.home} holds no log", hint="firectl local up")
            known = [name for name in found if name != self.paths.log.stem]
            raise InputError(
                f"replica {replica} has no log",
                hint=f"replicas with a log: {', '.join(known)}" if known else "firectl local logs",
            )
        return path

    def _start(self, port: int | None, account: str | None, options: Sequence[str]) -> RunningPlatform:
        if self._lock_is_held():
            raise NetworkError(
                Code.UNAVAILABLE, "a platform holds this folder and does not answer", hint="firectl local down"
            )
        chosen = self._choose_port(port)
        self.paths.create()
        descriptor = os.open(self.paths.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child = subprocess.Popen(
                [*self._command(chosen, account), *options],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                cwd=self.home,
                env=environment(),
            )
        finally:
            os.close(descriptor)
        try:
            running = self._until_up(child, chosen)
        except BaseException:
            end_process(child)
            raise
        # The platform runs longer than this process. With a return code set, Popen does not warn about a running child.
        child.returncode = 0
        return running

    def _command(self, port: int, account: str | None) -> list[str]:
        last = self._last()
        owner = account or (last.account if last else DEFAULT_ACCOUNT)
        # -P: do not import files from the working folder.
        command = [sys.executable, "-P", "-m", "firectl.server", "--home", str(self.home)]
        return [*command, "--port", str(port), "--account", owner]

    def _until_up(self, child: subprocess.Popen[bytes], port: int) -> RunningPlatform:
        url = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            last = self._last()
            return child.poll() is not None or (last is not None and last.url == url and _answers(url))

        in_time = until(ready, START_SECONDS)
        last = self._last()
        if child.poll() is None and in_time and last is not None:
            return last
        why = f"it ended with status {child.returncode}" if in_time else f"no answer in {START_SECONDS:g} s"
        said, hint = self._last_words() if self.paths.log.exists() else ("", "")
        if child.returncode is not None and child.returncode < 0:
            said = f"it was ended by signal {-child.returncode}, as firectl local down does"
        raise FirectlError(
            f"the platform did not start: {said or why}", code=Code.INTERNAL, hint=hint or "firectl local logs"
        )

    def _last_words(self) -> tuple[str, str]:
        """Return the last line of the log and "". If that line is an error, return its message and its hint."""
        with self.paths.log.open("rb") as file:
            lines = tail(file, 20).strip().splitlines()
        said = lines[-1].strip() if lines else ""
        error = _ERROR.fullmatch(said)
        return (error["message"], error["hint"] or "") if error else (said, "")

    def _choose_port(self, wanted: int | None) -> int:
        if wanted is not None:
            if not is_free(wanted):
                raise InputError(f"port {wanted} is in use", hint="leave --port out, or choose another")
            return wanted
        last = self._last()
        if last is not None:
            before = port_of(last.url)
            if is_free(before):
                return before
            self._note(f"port {before}, which the platform had, is in use now: it gets another one")
        return any_port()

    def _last(self) -> RunningPlatform | None:
        """Return the platform that was started last in this home, running or not. None if no platform ever ran."""
        try:
            said = json.loads(self.paths.info.read_bytes())
            account = str(said["account"]).removeprefix("accounts/")
            return RunningPlatform(str(said["url"]).rstrip("/"), account, str(said["version"]), int(said["pid"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _lock_is_held(self) -> bool:
        return is_locked(self.paths.lock)

    def _is_about_to_start(self) -> bool:
        """Whether a `local up` or `local serve` is running, and its platform does not hold its lock yet."""
        return is_locked(self._up_lock) and not self._lock_is_held()

    def _ask_to_end(self) -> RunningPlatform | None:
        """Ask the platform over HTTP to end, and return it. None if it does not answer or rejects the key."""
        running = self.running()
        if running is not None:
            try:
                ask(running.url, "POST", "/v1/local:shutdown", self.key(), seconds=KILL_SECONDS)
            except FirectlError:
                return None
        return running

    def _end_by_signal(self) -> None:
        """End the process that holds the lock, with signals. NetworkError if that process is not known.

        platform.json cannot be used: until the new platform answers, it names the process of an earlier run.
        """
        file = self.paths.process
        try:
            said = json.loads(file.read_bytes())
            pid, created = int(said["pid"]), float(said["created"])
            process = same_process(pid, created) if pid > 1 else None
            found = f"process {pid}, which {file} names, has ended"
        except ModuleNotFoundError:
            process, found = None, f"psutil is not installed ({INSTALL})"
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            process, found = None, f"{file} does not name it (platforms of older versions write no such file)"
        if process is None:
            raise NetworkError(
                Code.UNAVAILABLE,
                f"a platform holds {self.paths.lock} and does not answer. No process was ended, because the process of "
                f"the platform is not known: {found}",
                hint=f"lsof {shlex.quote(str(self.paths.lock))} shows the process to end; "
                "or run firectl local down again once the platform answers",
            )
        self._note("the platform does not stop: killing it")
        signal_until(process, lambda: not self._lock_is_held(), KILL_SECONDS)

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Hold the start lock, so that two commands cannot both start a platform and `down` can wait for a start."""
        try:
            from filelock import FileLock, Timeout
        except ModuleNotFoundError:
            yield
            return
        from firectl.config import private_folder

        private_folder(self.home)
        lock = FileLock(self._up_lock, timeout=START_SECONDS, mode=0o600)
        try:
            lock.acquire()
        except Timeout:
            raise WaitTimeout("another firectl local up is still running", hint="firectl local logs") from None
        try:
            yield
        finally:
            lock.release()


def _refuse_incomplete_install() -> None:
    from importlib.util import find_spec

    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the platform on this machine needs packages that are not installed: {', '.join(missing)}", hint=INSTALL
        )


def _answers(url: str) -> bool:
    try:
        return ask(url, "GET", "/health", None, seconds=1.0).get("status") == "ok"
    except FirectlError:
        return False
