"""Work runs on a thread of its own, which ends with it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from firectl.engine.adapters.background import in_background


def test_work_runs_on_a_named_thread_that_ends_with_it() -> None:
    async def story() -> None:
        thread = await in_background("reader", threading.current_thread)
        assert thread.name.startswith("reader")
        assert thread is not threading.current_thread()
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()

    asyncio.run(story())


def test_the_event_loop_is_not_blocked_and_errors_are_raised() -> None:
    release = threading.Event()

    def work(name: str) -> None:
        assert release.wait(10), "the event loop was blocked"
        raise KeyError(name)

    async def story() -> None:
        task = asyncio.create_task(in_background("reader", work, "x"))
        await asyncio.sleep(0)
        release.set()  # reached only because the work blocks its own thread alone
        with pytest.raises(KeyError, match="x"):
            await task

    asyncio.run(story())
