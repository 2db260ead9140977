"""Work beside the engine on a thread that ends with it.

A thread that stays keeps the helpers which torch gave it. OpenMP counts them: with more threads than cores its waiting
threads sleep at once, and every product of a step waits for one to be woken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def aside(name: str, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What `work` returns or raises, called on a thread of that name."""
    thread = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, lambda: work(*args, **kwargs))
    finally:
        thread.shutdown(wait=False)
