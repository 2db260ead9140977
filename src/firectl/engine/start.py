"""Load the model and connect the parts of an engine. The process already listens when this module imports torch.

Must not depend on HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import torch

from firectl.engine.adapters.read import AdapterReader
from firectl.engine.adapters.registry import Registry
from firectl.engine.base_folder import weight_bytes
from firectl.engine.compute.huge_pages import collapse
from firectl.engine.engine import Engine
from firectl.engine.generation import Dispatcher
from firectl.engine.load import load
from firectl.engine.model_server import Ready
from firectl.engine.options import EngineOptions
from firectl.errors import ApiError

_LARGE = 32 * 2**20
"""Size of weights in bytes above which they do not stay in the processor's caches between two steps."""


def start(options: EngineOptions, loop: asyncio.AbstractEventLoop, died: Callable[[ApiError], None]) -> Ready:
    """Load the model and start the engine's thread. Results are delivered on `loop`. AdapterError as in `load`.

    The engine's thread calls `died` if it fails later.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    loaded = load(options)
    dispatcher = Dispatcher(loop, options)
    engine = Engine(loaded, options, dispatcher.publish, died)
    registry = None
    if options.enable_lora:
        registry = Registry(engine, AdapterReader(loaded, options.max_lora_rank), options)
    engine.start()
    if weight_bytes(loaded.base) >= _LARGE:
        collapse()
    return Ready(engine, dispatcher, registry)
