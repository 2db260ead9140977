"""What was measured of one request: when it was sent, when each piece arrived, and how it ended."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

TOGETHER = 0.0005
"""In seconds. Pieces that arrive within a shorter time of each other count as sent together."""

NOT_SENT = "not_sent"
TIMEOUT = "timeout"
CONNECTION = "connection"
CUT_SHORT = "cut_short"
STREAM_ERROR = "stream_error"
WRONG_ANSWER = "wrong_answer"

ERRORS = {
    "http_429": "HTTP 429: the server's queue is full; likewise http_503 and every other status but 200",
    TIMEOUT: "no whole answer within the time of --timeout",
    CONNECTION: "refused, reset or closed before an answer began",
    CUT_SHORT: "the connection or the stream ended in the middle of an answer",
    STREAM_ERROR: "the server reported an error in the middle of a stream",
    WRONG_ANSWER: "HTTP 200 with something that is not the answer of a model",
    NOT_SENT: "due by the rate while --max-in-flight requests were unanswered",
}
"""Kind of error → its meaning. docs/bench.md shows this table."""


@dataclass(slots=True)
class Sample:
    """One request. Times are seconds on one monotonic clock; `due` is the planned time of sending.

    `arrivals`: when each piece with text arrived. `error`: one of ERRORS, None for a whole answer.
    """

    route: str
    due: float
    sent: float = 0.0
    done: float = 0.0
    arrivals: array[float] = field(default_factory=lambda: array("d"))
    prompt_tokens: int | None = None
    generated_tokens: int | None = None
    error: str | None = None
    message: str = ""

    @property
    def time_to_first_token(self) -> float | None:
        return self.arrivals[0] - self.sent if self.arrivals else None

    def inter_token_latencies(self) -> list[float]:
        """Return the seconds between tokens, one number for each piece after the first.

        Pieces that arrive together share the wait before them. A piece can hold several tokens; only their total is
        known (usage), so each number is divided by the tokens of an average piece. The mean is exact, (last - first) /
        (tokens - 1), and a long wait stays long.
        """
        pieces = len(self.arrivals) - 1
        if pieces < 1:
            return []
        tokens = max(1.0, ((self.generated_tokens or 0) - 1) / pieces)
        found: list[float] = []
        end, waiting = self.arrivals[0], 0
        for number in range(1, pieces + 1):
            waiting += 1
            when = self.arrivals[number]
            together = number < pieces and self.arrivals[number + 1] - when < TOGETHER
            # Pieces that arrive with the first one share the wait for the next.
            if together or (number < pieces and when - end < TOGETHER):
                continue
            found += [(when - end) / waiting / tokens] * waiting
            end, waiting = when, 0
        return found
