"""One replica: an engine process from its start to its end, its health, and the adapters on it.

This file makes no decisions: a replica carries out commands, and calls its watcher when its state changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from firectl.server.lifecycle.observed import ObservedAdapter, Phase, ReplicaView
from firectl.server.replicas.engine_client import EngineClient, EngineGone
from firectl.server.replicas.launcher import Driver, Ended, EngineProcess, EngineSpec, launch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long to wait for each action of a replica, in seconds. `health_misses` is a number of failed checks."""

    start: float = 900.0
    """From the start of the process to its first healthy answer; large models take minutes."""
    health_every: float = 5.0
    health_timeout: float = 15.0
    health_misses: int = 3
    load: float = 300.0
    drain: float = 660.0
    """The limit for finishing the requests in flight before a stop: longer than any answer may take."""
    stop: float = 10.0
    """The time between SIGTERM and SIGKILL."""


@dataclass(frozen=True)
class Death:
    """A crash of a replica. `served`: for how many seconds the replica had served; None if it never did.

    `unloadable`: the engine reported that it cannot load the model. `loading`: the adapters that were being loaded.
    """

    reason: str
    unloadable: bool
    served: float | None
    loading: tuple[str, ...]


class Watcher(Protocol):
    """The callbacks of a replica, which `ReplicaSet` implements. `gone` is always called after `died`."""

    def changed(self) -> None: ...
    def died(self, replica: Replica, death: Death) -> None: ...
    def gone(self, replica: Replica) -> None: ...
    def failed(self, engine_name: str, message: str, *, refused: bool) -> None: ...


class Replica:
    """Replica `ordinal` of a deployment, started with the model in `folder` for up to `context` tokens."""

    def __init__(self, ordinal: int, folder: str, context: int | None, patience: Patience, watcher: Watcher) -> None:
        self.ordinal = ordinal
        self.folder = folder
        self.context = context
        self.phase = Phase.STARTING
        self.adapters: dict[str, ObservedAdapter] = {}
        self.in_flight = 0
        self.client: EngineClient | None = None
        self.pid: int | None = None
        self._patience = patience
        self._watcher = watcher
        self._process: EngineProcess | None = None
        self._connecting: EngineClient | None = None
        """The client for the first health checks. It becomes `client` once the engine is healthy."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._life: asyncio.Task[None] | None = None
        self._served_since: float | None = None
        self._killed_because: str | None = None

    @property
    def view(self) -> ReplicaView:
        return ReplicaView(self.ordinal, self.phase, self.folder, dict(self.adapters), self.context)

    def served_for(self) -> float:
        """Return the seconds since the replica became healthy; 0 if it never did."""
        return 0.0 if self._served_since is None else asyncio.get_running_loop().time() - self._served_since

    @contextlib.contextmanager
    def lease(self) -> Iterator[EngineClient]:
        """Count a request as in flight while the block runs. Raises EngineGone if the replica takes no requests."""
        if self.client is None or self.phase is not Phase.SERVING:
            raise EngineGone("the replica is not up")
        self.in_flight += 1
        self._idle.clear()
        try:
            yield self.client
        finally:
            self.in_flight -= 1
            if self.in_flight == 0:
                self._idle.set()

    def start(self, driver: Driver, spec: EngineSpec, log_file: Path) -> None:
        """Start the process; the callbacks report what happens to it."""
        self._life = asyncio.create_task(self._live(driver, spec, log_file))

    def stop(self, *, drain: bool) -> None:
        """Take no more requests, finish those in flight if `drain`, then end the process."""
        if self.phase is not Phase.STOPPING:
            self.phase = Phase.STOPPING
            self._spawn(self._stop(drain))

    async def wait_gone(self) -> None:
        """Wait until the replica's process ended."""
        if self._life is not None:
            await asyncio.wait({self._life})

    def load(self, engine_name: str, folder: Path) -> None:
        """Begin to load an adapter."""
        self.adapters[engine_name] = ObservedAdapter.LOADING
        self._spawn(self._load(engine_name, folder))

    def unload(self, engine_name: str) -> None:
        """Begin to unload an adapter."""
        self.adapters[engine_name] = ObservedAdapter.UNLOADING
        self._spawn(self._unload(engine_name))

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live(self, driver: Driver, spec: EngineSpec, log_file: Path) -> None:
        try:
            process = await launch(driver, spec, log_file, cwd=log_file.parent)
        except OSError as error:
            self._end(None, f"the engine cannot be started: {error}")
            return
        self._process = process
        self.pid = process.pid
        if self.phase is Phase.STOPPING:
            self._spawn(self._stop(drain=False))
        watch = asyncio.create_task(self._watch(process))
        try:
            ended = await process.ended
        finally:
            watch.cancel()
            await asyncio.wait({watch})
            if self._connecting is not None:
                self._spawn(self._hang_up(self._connecting))
        self._end(ended, self._killed_because or self._describe(ended))

    async def _hang_up(self, client: EngineClient) -> None:
        """Close the client once no request is in flight."""
        try:
            await self._idle.wait()
        finally:
            await client.close()

    async def _watch(self, process: EngineProcess) -> None:
        """Wait until the engine is healthy, then keep checking its health. Kill the engine if it does not answer."""
        try:
            async with asyncio.timeout(self._patience.start):
                port = await process.port()
                if port is None:
                    if not await self._ends_soon():
                        self._kill(process, "replica did not report its port")
                    return
                client = self._connecting = EngineClient(port, process.key)
                pause = 0.02
                while not await client.healthy(self._patience.health_timeout):
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, 0.25)
        except TimeoutError:
            self._kill(process, f"replica was not healthy within {self._patience.start:.0f} s")
            return
        if self.phase is not Phase.STARTING:
            return
        self.client = client
        self._served_since = asyncio.get_running_loop().time()
        self.phase = Phase.SERVING
        self._watcher.changed()
        misses = 0
        while misses < self._patience.health_misses:
            await asyncio.sleep(self._patience.health_every)
            misses = 0 if await client.healthy(self._patience.health_timeout) else misses + 1
        self._kill(process, "replica stopped answering")

    def _describe(self, ended: Ended) -> str:
        if self._unloadable(ended):
            return f"engine cannot load the model: {ended.reported}"
        return f"replica exited ({ended.describe()})"

    def _unloadable(self, ended: Ended) -> bool:
        return self._served_since is None and ended.returncode > 0 and ended.reported is not None

    def _kill(self, process: EngineProcess, reason: str) -> None:
        self._killed_because = reason
        process.kill()

    def _end(self, ended: Ended | None, reason: str) -> None:
        expected = self.phase is Phase.STOPPING
        loading = tuple(name for name, state in self.adapters.items() if state is ObservedAdapter.LOADING)
        self.phase = Phase.STOPPING
        self.adapters.clear()
        self.client = None
        if not expected:
            served = None if self._served_since is None else self.served_for()
            unloadable = ended is not None and self._unloadable(ended)
            self._watcher.died(self, Death(reason, unloadable, served, loading))
        self._watcher.gone(self)

    async def _stop(self, drain: bool) -> None:
        if self._process is None:
            return
        if drain:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience.drain):
                    await self._idle.wait()
        await self._process.stop(self._patience.stop)

    async def _load(self, engine_name: str, folder: Path) -> None:
        body = {"lora_name": engine_name, "lora_path": str(folder)}
        refused = False
        try:
            if self.client is None:
                raise EngineGone("the replica is not up")
            answer = await self.client.call("POST", "/v1/load_lora_adapter", body, timeout=self._patience.load)
            if answer.status == 200:
                if self.phase is not Phase.STOPPING:
                    self.adapters[engine_name] = ObservedAdapter.LOADED
                self._watcher.changed()
                return
            refused = 400 <= answer.status < 500 and answer.status not in (408, 429)
            message = answer.error_message()
        except TimeoutError:
            message = f"loading took more than {self._patience.load:.0f} s"
        except EngineGone as error:
            if await self._ends_soon():
                # `_end` reports this adapter as one that was being loaded during the crash.
                return
            message = f"the engine closed the connection while loading: {error}"
        self.adapters.pop(engine_name, None)
        self._watcher.failed(engine_name, message, refused=refused)

    async def _ends_soon(self) -> bool:
        if self._process is None:
            return True
        done, _ = await asyncio.wait({self._process.ended}, timeout=self._patience.stop)
        return bool(done)

    async def _unload(self, engine_name: str) -> None:
        try:
            if self.client is None:
                return
            path = "/v1/unload_lora_adapter"
            answer = await self.client.call("POST", path, {"lora_name": engine_name}, timeout=self._patience.load)
        except (TimeoutError, EngineGone) as error:
            log.warning("unload of %s: %s", engine_name, error)
            answer = None
        if answer is not None and answer.status in (200, 404):
            self.adapters.pop(engine_name, None)
            self._watcher.changed()
        elif engine_name in self.adapters:
            # No callback is needed: the next regular round tries again.
            self.adapters[engine_name] = ObservedAdapter.LOADED
