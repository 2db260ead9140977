"""The event that wakes the loop when a row changed."""

from __future__ import annotations

import asyncio
import threading
import time

from firectl.server.replicas.wakeup import Wakeup


def test_a_poke_before_the_wait_ends_it_at_once_and_only_once() -> None:
    async def listen() -> list[bool]:
        wakeup = Wakeup()
        wakeup.poke()
        wakeup.poke()
        return [await wakeup.wait(5), await wakeup.wait(0.01)]

    assert asyncio.run(listen()) == [True, False]


def test_a_poke_from_another_thread_ends_the_wait() -> None:
    async def listen() -> tuple[bool, float]:
        wakeup = Wakeup()
        started = time.monotonic()
        threading.Timer(0.05, wakeup.poke).start()
        return await wakeup.wait(30), time.monotonic() - started

    woken, took = asyncio.run(listen())
    assert woken
    assert took < 10


def test_a_wait_that_was_given_up_does_not_lose_the_next_poke() -> None:
    async def listen() -> bool:
        wakeup = Wakeup()
        first = asyncio.create_task(wakeup.wait())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        wakeup.poke()
        return await wakeup.wait(5)

    assert asyncio.run(listen())


def test_a_poke_after_the_loop_ended_does_nothing() -> None:
    wakeup = Wakeup()

    async def listen() -> None:
        task = asyncio.create_task(wakeup.wait())
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(listen())
    wakeup.poke()
