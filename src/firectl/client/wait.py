"""How a resource is waited for: polls until it is as wanted, reports each change, and always ends.

Knows no resource; what is wanted and what is hopeless is decided by the caller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from firectl.client.http.retry import is_transient
from firectl.errors import ApiError, WaitTimeout

T = TypeVar("T")

SHORTEST_POLL = 0.25
LONGEST_POLL = 5.0


@dataclass(frozen=True, kw_only=True)
class Wait(Generic[T]):
    """`timeout` in seconds from the start; `clock` is monotonic.

    `poll(seconds)` asks once, within so many seconds. `done` ends the wait, or raises when it is hopeless.
    `seen` is what counts as a change, `describe` the last state for the message when the time runs out.
    """

    what: str
    timeout: float
    poll: Callable[[float], T]
    done: Callable[[T], bool]
    seen: Callable[[T], Hashable]
    describe: Callable[[T], str]
    on_change: Callable[[T], None] | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    request_seconds: float = 30.0
    hint: str | None = None

    def run(self) -> T:
        start = self.clock()
        end = start + self.timeout
        last_seen: Hashable = None
        last: str = "never answered"
        while True:
            remaining = end - self.clock()
            try:
                current = self.poll(max(1.0, min(self.request_seconds, remaining)))
            except ApiError as error:
                if not is_transient(error):
                    raise
                last = f"last error: {error.message}" if last_seen is None else last
            else:
                seen = (self.seen(current),)
                if seen != last_seen and self.on_change is not None:
                    self.on_change(current)
                last_seen = seen
                last = self.describe(current)
                if self.done(current):
                    return current
            now = self.clock()
            if now >= end:
                raise WaitTimeout(f"{self.what} after {self.timeout:g} s: {last}", hint=self.hint)
            self.sleep(min(poll_delay(now - start), end - now))


def poll_delay(elapsed: float) -> float:
    """Seconds between polls: a tenth of the time waited so far, so that no wait is longer by more than that."""
    return min(LONGEST_POLL, max(SHORTEST_POLL, elapsed / 10))
