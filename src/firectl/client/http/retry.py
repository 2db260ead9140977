"""Which failed tries are worth another one, and after how long: pure policy, nothing is sent or slept here.

A request whose outcome is unknown is only sent again when doing it twice equals doing it once.
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
"""Codes that a wait outlives: asking again later may give another answer."""

_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What one try came to. `status` is None when no answer came; `sent` then says whether the request went out."""

    status: int | None
    code: Code
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the answer, names in any case that `headers.get` takes in lower case."""
    sent: bool = True
    """False when nothing can have reached the server: the connection was never made."""

    @property
    def in_doubt(self) -> bool:
        """Whether the server may have done what was asked: no answer, or one that a gateway may have given for it."""
        if self.status is None:
            return self.sent
        return self.status >= 500 or self.status == 408


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`delay` in seconds until the next try, None for no more tries. `asked` is the server's Retry-After in seconds."""

    delay: float | None
    asked: float | None = None


def backoff(tries: int, random: Callable[[], float]) -> float:
    """Seconds to wait after so many tries: 0.5 doubling to 8, less up to a quarter so that callers spread out."""
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
    """What to do after the try number `tries` (from 1) failed; `now` is the wall clock in Unix seconds."""
    if not _is_transient(failure):
        # What asking again cannot change stays what it is, whatever the headers say.
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
    """Whether a wait should ask again after this error. An answer that is not the API's is permanent."""
    if isinstance(error, NetworkError):
        return error.code is not Code.UNKNOWN
    return error.code in TRANSIENT


def _is_transient(failure: Failure) -> bool:
    said = failure.headers.get("x-should-retry", "").strip().lower()
    if failure.status is not None and said in ("true", "false"):
        return said == "true"
    if failure.status is None:
        return True
    if failure.status == 409:
        return failure.code is Code.ABORTED
    # 501 is the one server error that asking again cannot change.
    return failure.status in (408, 429) or (failure.status >= 500 and failure.status != 501)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """How many seconds the answer asks to wait (`retry-after-ms`, `Retry-After` as seconds or a date), if it does."""
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
    # "Now" is no time to wait: the usual backoff is kinder to a server that is already in trouble.
    return seconds if seconds > 0 and math.isfinite(seconds) else None
