"""Put the parts of an engine together: the one place that imports torch for a process that is listening already.

Must not know HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import torch

from firectl.engine.adapters.read import AdapterReader
from firectl.engine.adapters.registry import Registry
from firectl.engine.compute.huge_pages import gather
from firectl.engine.engine import Engine
from firectl.engine.generation import Dispatcher
from firectl.engine.load import load
from firectl.engine.options import EngineOptions
from firectl.engine.replica import Ready
from firectl.errors import ApiError

_LARGE = 32 * 2**20
"""Bytes of a model whose weights do not stay in the processor's caches from one step to the next anyway."""


def start(options: EngineOptions, loop: asyncio.AbstractEventLoop, died: Callable[[ApiError], None]) -> Ready:
    """Load the model and start the engine's thread; progress is delivered on `loop`. AdapterError as `load`.

    `died` is called, on the engine's thread, if that fails later.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    loaded = load(options)
    dispatcher = Dispatcher(loop, options)
    engine = Engine(loaded, options, dispatcher.publish, died)
    registry = None
    if options.enable_lora:
        reader = AdapterReader(loaded, options.max_lora_rank)
        registry = Registry(engine, reader, options)
    engine.start()
    if sum((loaded.base.path / shard).stat().st_size for shard in loaded.base.shards) >= _LARGE:
        gather()
    return Ready(loaded, engine, dispatcher, registry)
