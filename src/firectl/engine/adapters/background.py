"""Run work outside the event loop, on a thread that ends with the work.

A thread that stays would keep torch's helper threads. With more threads than cores, OpenMP's waiting threads
sleep at once, and every product of a step has to wait until a thread wakes up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

_Given = TypeVarTuple("_Given")
_T = TypeVar("_T")


async def in_background(name: str, work: Callable[[*_Given], _T], *args: *_Given) -> _T:
    """Call `work` on a new thread with this name, and return or raise what `work` does."""
    thread = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work, *args)
    finally:
        thread.shutdown(wait=False)
