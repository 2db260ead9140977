"""The bell between control and reconcile."""

from __future__ import annotations

import asyncio
import threading
import time

from firectl.server.replicas.wakeup import Wakeup


def test_a_ring_before_the_wait_ends_it_at_once_and_only_once() -> None:
    async def listen() -> list[bool]:
        bell = Wakeup()
        bell.poke()
        bell.poke()
        return [await bell.wait(5), await bell.wait(0.01)]

    assert asyncio.run(listen()) == [True, False]


def test_a_ring_from_another_thread_ends_the_wait() -> None:
    async def listen() -> tuple[bool, float]:
        bell = Wakeup()
        started = time.monotonic()
        threading.Timer(0.05, bell.poke).start()
        return await bell.wait(30), time.monotonic() - started

    rung, took = asyncio.run(listen())
    assert rung
    assert took < 10


def test_a_wait_that_was_given_up_hears_the_next_ring_all_the_same() -> None:
    async def listen() -> bool:
        bell = Wakeup()
        first = asyncio.create_task(bell.wait())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        bell.poke()
        return await bell.wait(5)

    assert asyncio.run(listen())


def test_a_ring_after_the_loop_ended_harms_nobody() -> None:
    bell = Wakeup()

    async def listen() -> None:
        task = asyncio.create_task(bell.wait())
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(listen())
    bell.poke()
