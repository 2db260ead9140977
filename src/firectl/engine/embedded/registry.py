"""Which adapters the engine answers by, and under which names.

An adapter is its name and its content: an equal load is a no-op, other content under a loaded name is refused unless
asked for. Files are read off the engine's thread; an adapter appears once the engine can apply it. Lives on the event
loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.engine.embedded.adapter import EngineAdapter
from firectl.engine.embedded.options import EngineOptions
from firectl.errors import ApiError, Code, InputError
from firectl.schemas.openai import ParamError

if TYPE_CHECKING:
    from firectl.engine.embedded.engine import Engine
    from firectl.engine.embedded.read_adapter import AdapterReader


class Registry:
    """Loads and unloads one at a time, so that each sees what the one before it left."""

    def __init__(self, engine: Engine, reader: AdapterReader, options: EngineOptions) -> None:
        self._engine = engine
        self._reader = reader
        self._base_name = options.served_model_name
        self._limit = options.max_loras
        self._adapters: dict[str, EngineAdapter] = {}
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="adapters")

    @property
    def adapters(self) -> Mapping[str, EngineAdapter]:
        """By name; what is in here can be applied."""
        return self._adapters

    async def load(self, name: str, path: Path, *, replace: bool = False) -> bool:
        """Make `name` answer by the adapter in `path`; False when it already does.

        A request in flight keeps the adapter it was bound to. ParamError for what is wrong with name or files.
        """
        if name == self._base_name:
            raise ParamError(f"{name} is the name of the base model", "lora_name")
        async with self._turn:
            loop = asyncio.get_running_loop()
            loaded = self._adapters.get(name)
            try:
                content = await loop.run_in_executor(self._thread, self._reader.hash, path)
                if loaded is not None and loaded.content_hash == content:
                    return False
                if loaded is not None and not replace:
                    raise ParamError(
                        f"the adapter {name} is loaded already with other content",
                        "lora_name",
                        hint='unload it first, or send "load_inplace": true',
                    )
                if loaded is None and len(self._adapters) >= self._limit:
                    raise ApiError(
                        Code.FAILED_PRECONDITION,
                        f"{self._limit} adapters are loaded, which is the limit",
                        hint="unload one, or start the engine with a higher --max-loras",
                    )
                adapter = await loop.run_in_executor(self._thread, self._reader.read, name, path, content)
            except InputError as error:
                raise ParamError(error.message, "lora_path", hint=error.hint) from error
            runner = self._engine.loaded.runner
            await asyncio.wrap_future(self._engine.call(lambda: runner.attach(adapter)))
            self._adapters[name] = adapter
            return True

    async def unload(self, name: str) -> None:
        """Requests in flight end on it; new ones no longer find it. ApiError NOT_FOUND for one that is not loaded."""
        async with self._turn:
            if self._adapters.pop(name, None) is None:
                raise ApiError(Code.NOT_FOUND, f"the adapter {name} is not loaded")
