"""The loaded adapters whose weights are in memory: the last used, the pinned, and those in use.

A request that names an evicted adapter has it read again, by its content hash. Lives on the event loop's thread; files
are read in the background. Must not depend on requests or HTTP.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from firectl.engine.adapters.background import in_background
from firectl.engine.schedule.adapter import EngineAdapter
from firectl.errors import ApiError, Code, InputError
from firectl.schemas.words import Reason

if TYPE_CHECKING:
    from firectl.engine.adapters.read import AdapterReader, AdapterSource
    from firectl.engine.metrics import EngineMetrics

READERS = 2
"""How many adapters are read at the same time."""


@dataclass(eq=False, slots=True)
class RegisteredAdapter:
    """An adapter that requests may name: its identity, and its weights while they are in memory."""

    name: str
    source: AdapterSource
    pinned: bool = False
    """Never evicted."""
    unloaded: bool = False
    """A read that is under way serves only the requests that named it before."""
    weights: weakref.ref[EngineAdapter] | None = None
    """Alive while the cache or a request holds it."""
    reading: asyncio.Task[EngineAdapter] | None = field(default=None, repr=False)
    """Shared by the requests that wait for it."""


class AdapterCache:
    """Keeps the weights of at most `capacity` adapters.

    Evicted weights stay in memory, beyond the capacity, while a request uses them.
    """

    def __init__(self, reader: AdapterReader, capacity: int, metrics: EngineMetrics) -> None:
        self._reader = reader
        self._capacity = capacity
        self._metrics = metrics
        self._held: OrderedDict[RegisteredAdapter, EngineAdapter] = OrderedDict()
        """Least recently used first."""
        self._readers = asyncio.Semaphore(READERS)

    @property
    def count(self) -> int:
        return len(self._held)

    @property
    def pins_left(self) -> int:
        """How many more may be pinned: one place always stays free for the others."""
        return self._capacity - 1 - sum(loaded.pinned for loaded in self._held)

    def put(self, loaded: RegisteredAdapter, adapter: EngineAdapter) -> None:
        """Hold the weights as the last used; evicts the least recently used beyond the capacity."""
        loaded.weights = weakref.ref(adapter)
        if loaded.unloaded:
            return
        self._held[loaded] = adapter
        self._held.move_to_end(loaded)
        excess = len(self._held) - self._capacity
        oldest = [each for each in self._held if not each.pinned and each is not loaded]
        for victim in oldest[: max(0, excess)]:
            del self._held[victim]
            self._metrics.evictions.inc()

    def remove(self, loaded: RegisteredAdapter) -> None:
        """The adapter is unloaded; its weights are freed when the last request on them ends."""
        loaded.unloaded = True
        self._held.pop(loaded, None)

    async def get(self, loaded: RegisteredAdapter) -> EngineAdapter:
        """The adapter with its weights, read again after an eviction.

        ApiError ADAPTER_LOST when its files are gone or have changed since the load.
        """
        adapter = loaded.weights() if loaded.weights is not None else None
        if adapter is not None:
            self.put(loaded, adapter)
            return adapter
        if loaded.reading is None:
            loaded.reading = asyncio.create_task(self._read(loaded))
        # Shielded: a client that disconnects must not cancel the read for the others who wait for it.
        return await asyncio.shield(loaded.reading)

    async def _read(self, loaded: RegisteredAdapter) -> EngineAdapter:
        try:
            async with self._readers:
                adapter = await in_background("adapters", self._reader.read, loaded.name, loaded.source)
        except InputError as error:
            raise ApiError(
                Code.FAILED_PRECONDITION,
                f"the adapter {loaded.name} cannot be read again: {error.message}",
                reason=Reason.ADAPTER_LOST,
                hint="unload it and load it again",
                http_status=412,
            ) from error
        finally:
            loaded.reading = None
        self._metrics.reads.inc()
        self.put(loaded, adapter)
        return adapter
