"""What load goes to which targets? Data only: sends nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from firectl.bench.lengths import Lengths

Arrival = Literal["constant", "poisson"]

MOST_REQUESTS = 100_000
"""Limit on requests to one target at one level of the load, if only a time was given."""
MOST_SECONDS = 600.0
"""Limit on the seconds of one target at one level of the load, if only a number of requests was given."""

PROMPT = Lengths("fixed", 200)
MAX_TOKENS = Lengths("fixed", 64)

MIXES = "round-robin, uniform, zipf or zipf:EXPONENT"
_ZIPF = re.compile(r"zipf:([0-9]+(?:\.[0-9]+)?)", re.ASCII)


@dataclass(frozen=True)
class Mix:
    """How to choose one of a target's routes for each request.

    round-robin  each in turn
    uniform      at random, with equal probability
    zipf         the k-th with a probability proportional to 1 / k**exponent
    """

    kind: Literal["round-robin", "uniform", "zipf"] = "round-robin"
    exponent: float = 1.0

    def __str__(self) -> str:
        return f"zipf:{self.exponent:g}" if self.kind == "zipf" and self.exponent != 1 else self.kind


def parse_mix(text: str) -> Mix:
    """Read a mix in one of MIXES. ValueError for any other text, and for an exponent above 10."""
    if text in ("round-robin", "uniform", "zipf"):
        return Mix(text)  # type: ignore[arg-type]
    found = _ZIPF.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a mix ({MIXES}), got {text!r}")
    exponent = float(found[1])
    if exponent > 10:
        raise ValueError(f"{text!r}: expected a zipf exponent of at most 10")
    return Mix("zipf", exponent)


@dataclass(frozen=True)
class Endpoint:
    """Where requests go. `base_url` ends with the `/v1` before `/chat/completions`."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Tokenizing:
    """How to estimate a prompt's tokens: `overhead` (of the chat template) + characters / `characters_per_token`."""

    characters_per_token: float = 4.0
    overhead: float = 0.0

    def characters(self, tokens: int) -> int:
        """Return the number of characters of a prompt with about `tokens` tokens."""
        return max(1, round((tokens - self.overhead) * self.characters_per_token))


@dataclass(frozen=True)
class BenchTarget:
    """What one row of a report measures: one route, or several routes among which `mix` divides the requests."""

    name: str
    routes: tuple[str, ...]
    endpoint: Endpoint
    mix: Mix = Mix()
    tokenizing: Tokenizing = Tokenizing()

    def __post_init__(self) -> None:
        if not self.routes:
            raise ValueError(f"{self.name}: expected a route, got none")


@dataclass(frozen=True)
class Level:
    """How much load to send at a time: a fixed number of streams, or a fixed rate in requests per second."""

    concurrency: int | None = None
    rate: float | None = None

    def __str__(self) -> str:
        if self.rate is not None:
            return f"{self.rate:g} requests/s"
        return f"{self.concurrency} {'stream' if self.concurrency == 1 else 'streams'}"


@dataclass(frozen=True, kw_only=True)
class Load:
    """Which requests each target gets at each level (number of streams, or rate).

    concurrency   numbers of streams; a stream sends its next request when the last one was answered. Each is a level
    rates         requests per second, sent when due, without waiting for answers. Each is a level
    arrival       of rates: evenly spaced, or at random (poisson: exponential gaps with the same mean)
    requests      to each target at each level, without warm-up; None: as many as fit into `seconds`
    seconds       for each target at each level, all rounds together; None: at most MOST_SECONDS
    rounds        the number of rounds; the targets take turns in each
    warmup        requests before the first round of each target and level; None: one for each stream
    prompt        characters of each prompt, or tokens with `prompt_in_tokens` (by the target's `tokenizing`)
    prompts       texts to send, in a shuffled order; without any: random words
    max_tokens    the longest answer; with `ignore_eos` every answer has this length
    chat          /chat/completions, otherwise /completions
    temperature   None: the server's default
    timeout       seconds for one request, from sending to its last byte
    max_in_flight most unanswered requests of a rate; one that is due beyond it counts as the error `not_sent`
    seed          the same seed gives the same arrivals, routes, lengths and texts
    """

    concurrency: tuple[int, ...] = (1,)
    rates: tuple[float, ...] = ()
    arrival: Arrival = "constant"
    requests: int | None = None
    seconds: float | None = None
    rounds: int | None = None
    warmup: int | None = None
    prompt: Lengths = PROMPT
    prompt_in_tokens: bool = False
    prompts: tuple[str, ...] = ()
    max_tokens: Lengths = MAX_TOKENS
    ignore_eos: bool = False
    stream: bool = True
    chat: bool = True
    temperature: float | None = 0.0
    timeout: float = 60.0
    max_in_flight: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.requests is None and self.seconds is None:
            raise ValueError("expected requests, seconds or both: a load needs an end")
        if not (self.concurrency or self.rates):
            raise ValueError("expected concurrency or rates, got neither")
        if min((*self.concurrency, *self.rates, self.requests or 1, self.seconds or 1, self.rounds or 1)) <= 0:
            raise ValueError("concurrency, rates, requests, seconds and rounds must be above 0")

    @property
    def levels(self) -> tuple[Level, ...]:
        if self.rates:
            return tuple(Level(rate=rate) for rate in self.rates)
        return tuple(Level(concurrency=streams) for streams in self.concurrency)

    @property
    def most_seconds(self) -> float:
        return self.seconds or MOST_SECONDS

    def shares(self, level: Level, targets: int) -> Sequence[tuple[int, float]]:
        """Return (requests, seconds) for each round at a level.

        The default is 3 rounds if there are several targets, else 1. There are fewer rounds if a stream would otherwise
        have no request in some round.
        """
        rounds = self.rounds or (3 if targets > 1 else 1)
        if self.requests is not None:
            rounds = max(1, min(rounds, self.requests // (level.concurrency or 1)))
        each, more = divmod(self.requests or MOST_REQUESTS, rounds)
        return [(each + (number < more), self.most_seconds / rounds) for number in range(rounds)]
