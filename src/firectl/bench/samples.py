"""What was seen of one request: when it was sent, when each piece of its answer came, and how it ended."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

TOGETHER = 0.0005
"""Seconds: pieces that are read within less of each other were sent together."""

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
    WRONG_ANSWER: "HTTP 200 with something that is no answer of a model",
    NOT_SENT: "due by the rate while --max-in-flight requests were unanswered",
}
"""Kinds of errors, and what each means; docs/bench.md shows them."""


@dataclass(slots=True)
class Sample:
    """One request. Times are seconds on one monotonic clock; `due` is when the plan wanted it sent.

    `arrivals`: when each piece of a stream that carried text came. `error` is one of ERRORS, None for a whole answer.
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
        """Seconds between tokens, one number for each piece after the first.

        Pieces that come together shared one wait: it is divided by how many they are. A piece can hold several tokens,
        too. How many is not told, only how many all pieces hold together (usage), so each number is divided by the
        tokens of an average piece. The mean is exact: (last - first) / (tokens - 1); a long wait remains a long one.
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
            # What came together with the first piece shares the wait for the next.
            if together or (number < pieces and when - end < TOGETHER):
                continue
            found += [(when - end) / waiting / tokens] * waiting
            end, waiting = when, 0
        return found
