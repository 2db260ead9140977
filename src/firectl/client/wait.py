"""How is a wait done? Polls or retries until a result, reports each change, and ends at a deadline.

Must not depend on a resource: the caller decides which result ends the wait and which can never succeed.
"""

from __future__ import annotations

import random as _random
import time
from collections.abc import Callable, Hashable
from typing import TypedDict, TypeVar

from firectl.client.http.retry import backoff, is_transient
from firectl.errors import ApiError, WaitTimeout

T = TypeVar("T")

SHORTEST_POLL = 0.25
LONGEST_POLL = 5.0
REQUEST_SECONDS = 30.0


def wait_for(
    poll: Callable[[float], T],
    done: Callable[[T], bool],
    *,
    what: str,
    timeout: float,
    seen: Callable[[T], Hashable],
    describe: Callable[[T], str],
    on_change: Callable[[T], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    hint: str | None = None,
) -> T:
    """Poll until a value is `done`, and return it. WaitTimeout after `timeout` seconds; transient errors do not end it.

    `poll(seconds)` sends one request with that time limit. `done` raises if the wait can never succeed. `on_change`
    gets each value whose `seen(value)` differs from the previous one. The WaitTimeout's message is `what` and
    `describe(last value)`.
    """
    start = clock()
    last_seen: Hashable = None
    last = "never answered"
    while True:
        try:
            current = poll(max(1.0, min(REQUEST_SECONDS, start + timeout - clock())))
        except ApiError as error:
            if not is_transient(error):
                raise
            last = f"last error: {error.message}" if last_seen is None else last
        else:
            now_seen = (seen(current),)
            if now_seen != last_seen and on_change is not None:
                on_change(current)
            last_seen, last = now_seen, describe(current)
            if done(current):
                return current
        elapsed = clock() - start
        if elapsed >= timeout:
            raise WaitTimeout(f"{what} after {timeout:g} s: {last}", hint=hint)
        sleep(min(poll_delay(elapsed), timeout - elapsed))


def poll_delay(elapsed: float) -> float:
    """Return the seconds until the next poll: a tenth of the time waited so far, but between 0.25 and 5."""
    return min(LONGEST_POLL, max(SHORTEST_POLL, elapsed / 10))


class RetryArgs(TypedDict, total=False):
    """Arguments of `retry_while`. `on_wait` gets each error before a wait; `clock` returns monotonic seconds."""

    on_wait: Callable[[ApiError], None] | None
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    random: Callable[[], float]


def retry_while(
    waits: Callable[[ApiError], bool],
    send: Callable[[], T],
    timeout: float,
    *,
    on_wait: Callable[[ApiError], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = _random.random,
) -> T:
    """Call `send`, again with backoff while `waits(error)` is true, and return its result.

    After `timeout` seconds the last error is raised. An error for which `waits` is false is raised at once.
    """
    end = clock() + timeout
    tries = 0
    while True:
        try:
            return send()
        except ApiError as error:
            if not waits(error) or clock() >= end:
                raise
            if on_wait is not None:
                on_wait(error)
        tries += 1
        sleep(min(backoff(tries, random), max(0.0, end - clock())))
