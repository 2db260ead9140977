"""Load and unload the adapters that requests may name.

An adapter is identified by name and content. To load the same content again changes nothing; other content under a
loaded name is refused unless the load replaces it. Runs on the event loop's thread; files are read in background.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.engine.adapters.background import in_background
from firectl.engine.adapters.cache import AdapterCache, RegisteredAdapter
from firectl.engine.options import EngineOptions
from firectl.engine.schedule.adapter import EngineAdapter
from firectl.errors import ApiError, Code, InputError
from firectl.schemas.openai import ParamError

if TYPE_CHECKING:
    from firectl.engine.adapters.read import AdapterReader
    from firectl.engine.engine import Engine


class Registry:
    """Loads or unloads one adapter at a time, so that each call sees the result of the previous one."""

    def __init__(self, engine: Engine, reader: AdapterReader, options: EngineOptions) -> None:
        self._engine = engine
        self._reader = reader
        self._base_name = options.served_model_name
        self._limit = options.max_loras
        self._adapters: dict[str, RegisteredAdapter] = {}
        self._cache = AdapterCache(reader, options.max_loras_in_memory or options.max_loras, engine.metrics)
        self._turn = asyncio.Lock()
        watch = engine.metrics.watch
        watch("firectl:adapters_loaded", "Adapters that requests may name.", lambda: len(self._adapters))
        watch("firectl:adapters_in_memory", "Of those, how many are in memory.", lambda: self._cache.count)

    @property
    def adapters(self) -> Mapping[str, RegisteredAdapter]:
        """The loaded adapters by name."""
        return self._adapters

    async def bind(self, name: str) -> EngineAdapter | None:
        """Return the adapter that now has this name, for a request to keep. None for an unknown name.

        Reads an evicted adapter again: ApiError ADAPTER_LOST if that fails.
        """
        loaded = self._adapters.get(name)
        return None if loaded is None else await self._cache.get(loaded)

    async def load(self, name: str, path: Path, *, replace: bool = False, pinned: bool = False) -> bool:
        """Load the adapter in `path` under `name`. Returns False if it is loaded already.

        Running requests keep the adapter that they began with. ParamError for a wrong name or wrong files.
        """
        if name == self._base_name:
            raise ParamError(f"{name} is the name of the base model", "lora_name")
        async with self._turn:
            known = self._adapters.get(name)
            if pinned and not (known and known.pinned) and self._cache.pins_left < 1:
                raise ApiError(
                    Code.FAILED_PRECONDITION,
                    "no more adapters can be pinned: the last place in memory is for the others",
                    hint="load it without pinned, or start the engine with a higher --max-loras-in-memory",
                )
            try:
                source = await in_background("adapters", self._reader.find, path)
                if known is not None and known.source.content_hash == source.content_hash:
                    if pinned:
                        await self._cache.get(known)
                        known.pinned = True
                    return False
                if known is not None and not replace:
                    raise ParamError(
                        f"the adapter {name} is loaded already with other content",
                        "lora_name",
                        hint='unload it first, or send "load_inplace": true',
                    )
                if known is None and len(self._adapters) >= self._limit:
                    raise ApiError(
                        Code.FAILED_PRECONDITION,
                        f"{self._limit} adapters are loaded, which is the limit",
                        hint="unload one, or start the engine with a higher --max-loras",
                    )
                adapter = await in_background("adapters", self._reader.read, name, source)
            except InputError as error:
                raise ParamError(error.message, "lora_path", hint=error.hint) from error
            if known is not None:
                self._cache.remove(known)
            loaded = RegisteredAdapter(name, source, pinned)
            self._adapters[name] = loaded
            self._cache.put(loaded, adapter)
            self._engine.metrics.loads.inc()
            return True

    async def unload(self, name: str) -> None:
        """Unload an adapter. Running requests still finish on it. ApiError NOT_FOUND for an unknown name."""
        async with self._turn:
            loaded = self._adapters.pop(name, None)
            if loaded is None:
                raise ApiError(Code.NOT_FOUND, f"the adapter {name} is not loaded")
            self._cache.remove(loaded)
            self._engine.metrics.forget(name)
            await asyncio.wrap_future(self._engine.call(self._engine.loaded.runner.release))
