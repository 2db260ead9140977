"""Which failed attempts are retried, and after how long? Pure policy: sends nothing, sleeps nothing.

A request whose outcome is unknown is retried only if it is idempotent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from firectl.errors import ApiError, Code, NetworkError

FIRST_DELAY = 0.5
LONGEST_DELAY = 8.0
LONGEST_RETRY_AFTER = 60.0

TRANSIENT = frozenset(
    {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.INTERNAL, Code.ABORTED, Code.UNKNOWN}
)
"""Codes of transient errors: a later request may succeed."""

_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failed attempt. `status` and `headers` (lower-case names) are those of the answer; `status` None: no answer."""

    error: ApiError
    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: bool = True
    """False when no connection was made, so that the server cannot have received the request."""

    @property
    def in_doubt(self) -> bool:
        """Whether the server may have carried out the request. A gateway answers 5xx and 408 in its place."""
        if self.status is None:
            return self.sent
        return self.status >= 500 or self.status == 408


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`delay`: seconds until the next attempt, None for no more. `asked`: the server's Retry-After in seconds."""

    delay: float | None
    asked: float | None = None


def backoff(tries: int, random: Callable[[], float]) -> float:
    """Return the seconds to wait after `tries` attempts: 0.5, doubled each time up to 8, minus a random 0 to 25 %."""
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(tries - 1, 30))
    return delay * (1.0 - 0.25 * random())


def judge(
    failure: Failure,
    *,
    tries: int,
    max_retries: int,
    repeatable: bool,
    now: float,
    random: Callable[[], float],
) -> Verdict:
    """Decide whether and when to retry after attempt number `tries` (from 1) failed; `now` is in Unix seconds."""
    if not _status_is_transient(failure):
        return Verdict(delay=None)
    asked = retry_after(failure.headers, now)
    if tries > max_retries or (failure.in_doubt and not repeatable):
        return Verdict(delay=None, asked=asked)
    if asked is None:
        return Verdict(delay=backoff(tries, random))
    if asked > LONGEST_RETRY_AFTER:
        return Verdict(delay=None, asked=asked)
    return Verdict(delay=asked, asked=asked)


def is_transient(error: ApiError) -> bool:
    """Whether a later request may succeed, by the error's code. An answer that is not the API's is permanent.

    Waits, probes and transfers use this to decide about their next request. For retries of a single request, `judge`
    looks at the HTTP status instead.
    """
    if isinstance(error, NetworkError):
        return error.code is not Code.UNKNOWN
    return error.code in TRANSIENT


def _status_is_transient(failure: Failure) -> bool:
    """Whether `judge` may retry the request, by the answer's status and its `x-should-retry`."""
    said = failure.headers.get("x-should-retry", "").strip().lower()
    if failure.status is not None and said in ("true", "false"):
        return said == "true"
    if failure.status is None:
        return True
    if failure.status == 409:
        return failure.error.code is Code.ABORTED
    # 501 (not implemented) is the only permanent server error.
    return failure.status in (408, 429) or (failure.status >= 500 and failure.status != 501)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that the answer asks to wait (`retry-after-ms` or `Retry-After`); None if it asks for none."""
    milliseconds = headers.get("retry-after-ms", "").strip()
    if _SECONDS.fullmatch(milliseconds):
        return _positive(float(milliseconds) / 1000)
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return _positive(float(text))
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return _positive((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)


def _positive(seconds: float) -> float | None:
    # Zero would mean no wait. None makes the caller use the backoff, which spares an overloaded server.
    return seconds if seconds > 0 and math.isfinite(seconds) else None
