"""Keep weights of loaded adapters in memory: the last used, the pinned, and those that requests use.

If a request names an evicted adapter, its files are read again and must have the same content hash. Runs on the
event loop's thread; files are read in the background. Must not depend on requests or HTTP.
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
    """Whether the adapter was unloaded. A read in progress then serves only the requests that named it before."""
    weights: weakref.ref[EngineAdapter] | None = None
    """Weak reference to the weights. They are in memory while the cache or a request holds them."""
    reading: asyncio.Task[EngineAdapter] | None = field(default=None, repr=False)
    """The read in progress, shared by the requests that wait for it. None if there is none."""


class AdapterCache:
    """Keeps the weights of at most `capacity` adapters.

    Evicted weights stay in memory while a request uses them, and do not count towards the capacity.
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
        """How many more adapters may be pinned. Room for one unpinned adapter always remains."""
        return self._capacity - 1 - sum(loaded.pinned for loaded in self._held)

    def put(self, loaded: RegisteredAdapter, adapter: EngineAdapter) -> None:
        """Hold the weights as the most recently used, and evict the least recently used if there are too many."""
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
        """Mark the adapter as unloaded. Its weights are freed when the last request that uses them ends."""
        loaded.unloaded = True
        self._held.pop(loaded, None)

    async def get(self, loaded: RegisteredAdapter) -> EngineAdapter:
        """Return the adapter with its weights; reads them again after an eviction.

        ApiError ADAPTER_LOST if the adapter's files are gone or have changed since the load.
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
