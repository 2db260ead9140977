"""Work beside the engine on a thread that ends with it.

A thread that stays keeps the helpers which torch gave it. OpenMP counts them: with more threads than cores its waiting
threads sleep at once, and every product of a step waits for one to be woken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

_Given = TypeVarTuple("_Given")
_T = TypeVar("_T")


async def aside(name: str, work: Callable[[*_Given], _T], *args: *_Given) -> _T:
    """What `work` returns or raises, called on a thread of that name."""
    thread = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work, *args)
    finally:
        thread.shutdown(wait=False)
