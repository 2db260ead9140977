"""Jobs at once, and how one that fails ends the others (`client/transfer/worker_pool.py`)."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from firectl import Client
from firectl.client.transfer.worker_pool import WORKERS, TransferStopped, WorkerPool
from firectl.errors import ApiError
from tests.client.script_server import HANG, Received, Reply, answer
from tests.client.storage import Storage

Connect = Callable[..., Client]

pytestmark = pytest.mark.usefixtures("says_hashes")


def test_one_that_fails_ends_the_others_at_once_and_leaves_no_socket(
    storage: Storage, folder: Path, connect: Connect
) -> None:
    for number in range(6):
        (folder / f"f{number}").write_bytes(b"x" * 3_000_000)
    waiting: list[Received] = []

    def fault(request: Received) -> Reply | None:
        if request.method != "PUT":
            return None
        if len(waiting) == 2:
            return answer(418, b"")
        waiting.append(request)
        return HANG

    storage.fault = fault
    client = connect(storage.url)
    started = time.monotonic()
    with pytest.raises(ApiError, match="418"):
        client.models.upload("m", folder, resumable=False)
    assert time.monotonic() - started < 5
    client.close()
    gc.collect()


def test_all_jobs_run_at_most_eight_at_once(client: Client) -> None:
    together = threading.Barrier(WORKERS)
    done: list[int] = []

    def job(number: int) -> None:
        # Passes only when as many jobs run at once.
        together.wait(10)
        done.append(number)

    with WorkerPool(client) as pool:
        pool.run(partial(job, number) for number in range(2 * WORKERS))
        assert sorted(done) == list(range(2 * WORKERS))
        pool.run([])


def test_the_first_error_is_raised_and_ends_the_jobs_that_look(client: Client) -> None:
    began = threading.Event()
    ended: list[str] = []

    def fail() -> None:
        began.wait(10)
        raise ValueError("broken")

    with WorkerPool(client) as pool:

        def work() -> None:
            began.set()
            try:
                while True:
                    pool.check()
            except TransferStopped:
                ended.append("stopped")
                raise

        with pytest.raises(ValueError, match="broken"):
            pool.run([work, fail, *[work] * 20])
        assert 1 <= len(ended) <= WORKERS
        with pytest.raises(TransferStopped):
            pool.check()


def test_a_pause_between_attempts_ends_with_the_pool(storage: Storage, connect: Connect) -> None:
    client = connect(storage.url, sleep=time.sleep, random=lambda: 0.0)
    pausing = threading.Event()

    def fail() -> None:
        pausing.wait(10)
        raise ValueError("broken")

    started = time.monotonic()
    with WorkerPool(client) as pool:

        def pause() -> None:
            pausing.set()
            pool.sender.pause(5)

        with pytest.raises(ValueError, match="broken"):
            pool.run([pause, fail])
    assert time.monotonic() - started < 5
