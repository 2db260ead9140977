"""What is asked of whom: the load of a run, and the targets that carry it. Data alone; sends nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from firectl.bench.lengths import Lengths

Arrival = Literal["constant", "poisson"]

MOST_REQUESTS = 100_000
"""Requests to one target at one level, when only a time was given."""
MOST_SECONDS = 600.0
"""Seconds of one target at one level, when only a number of requests was given."""

PROMPT = Lengths("fixed", 200)
MAX_TOKENS = Lengths("fixed", 64)

MIXES = "round-robin, uniform, zipf or zipf:EXPONENT"
_ZIPF = re.compile(r"zipf:([0-9]+(?:\.[0-9]+)?)", re.ASCII)


@dataclass(frozen=True)
class Mix:
    """Which of a target's routes each request takes.

    round-robin  each in turn
    uniform      any, with equal chance
    zipf         the k-th with a chance proportional to 1 / k**exponent: a few hot, many cold
    """

    kind: Literal["round-robin", "uniform", "zipf"] = "round-robin"
    exponent: float = 1.0

    def __str__(self) -> str:
        return f"zipf:{self.exponent:g}" if self.kind == "zipf" and self.exponent != 1 else self.kind


def parse_mix(text: str) -> Mix:
    """The mix that `text` means; ValueError with the forms there are for anything else."""
    if text in ("round-robin", "uniform", "zipf"):
        return Mix(text)  # type: ignore[arg-type]
    found = _ZIPF.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a mix: {MIXES}")
    exponent = float(found[1])
    if exponent > 10:
        raise ValueError(f"{text!r}: an exponent above 10 leaves one route alone")
    return Mix("zipf", exponent)


@dataclass(frozen=True)
class Endpoint:
    """Where requests go: `base_url` up to and with the `/v1` before `/chat/completions`."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Tokenizing:
    """How many tokens a prompt has: `overhead` (a chat template's) and one for every so many characters."""

    characters_per_token: float = 4.0
    overhead: float = 0.0

    def characters(self, tokens: int) -> int:
        """How long a prompt of so many tokens is."""
        return max(1, round((tokens - self.overhead) * self.characters_per_token))


@dataclass(frozen=True)
class Target:
    """One thing to measure: a route, or several that share one load as `mix` says. `name` is its name in reports."""

    name: str
    routes: tuple[str, ...]
    endpoint: Endpoint
    mix: Mix = Mix()
    tokenizing: Tokenizing = Tokenizing()

    def __post_init__(self) -> None:
        if not self.routes:
            raise ValueError(f"{self.name}: no routes")


@dataclass(frozen=True)
class Level:
    """One point of the load: a fixed number of streams, or a fixed rate in requests per second."""

    concurrency: int | None = None
    rate: float | None = None

    def __str__(self) -> str:
        if self.rate is not None:
            return f"{self.rate:g} requests/s"
        return f"{self.concurrency} {'stream' if self.concurrency == 1 else 'streams'}"


@dataclass(frozen=True, kw_only=True)
class Load:
    """The load that every target gets, one after the other, level by level.

    concurrency   streams at once, each sending its next request when the last is answered; each number is a level
    rates         requests per second instead, sent when they are due whatever is still unanswered; each is a level
    arrival       of rates: evenly spaced, or at random (poisson: exponential gaps of the same mean)
    requests      to each target at each level, warm-up apart; None: as many as fit into `seconds`
    seconds       of sending to each target at each level, all rounds together; None: until `requests` are sent
    rounds        the measurement is cut into so many, targets taking turns in each
    warmup        requests before the first round of each target and level that do not count; None: one a stream
    prompt        characters of each prompt, or tokens with `prompt_in_tokens` (by the target's `tokenizing`)
    prompts       texts to send instead, in a shuffled order; none: random words
    max_tokens    the longest answer; with `ignore_eos` every answer is that long
    chat          /chat/completions, else /completions
    temperature   None: whatever the server takes by default
    timeout       seconds that one request may take, from sending to its last byte
    max_in_flight requests of a rate that may be unanswered; one that is due beyond it counts as the error `not_sent`
    seed          same seed, same plan: arrivals, routes, lengths and texts
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
            raise ValueError("a load has an end: requests, seconds or both")
        if not (self.concurrency or self.rates):
            raise ValueError("no level: neither concurrency nor rates")
        if min((*self.concurrency, *self.rates, self.requests or 1, self.seconds or 1, self.rounds or 1)) <= 0:
            raise ValueError("concurrency, rates, requests, seconds and rounds are above 0")

    @property
    def levels(self) -> tuple[Level, ...]:
        if self.rates:
            return tuple(Level(rate=rate) for rate in self.rates)
        return tuple(Level(concurrency=streams) for streams in self.concurrency)

    @property
    def most_requests(self) -> int:
        return self.requests or MOST_REQUESTS

    @property
    def most_seconds(self) -> float:
        return self.seconds or MOST_SECONDS

    def rounds_of(self, targets: int) -> int:
        """How many rounds there are: 3 where targets take turns, unless said otherwise."""
        return self.rounds or (3 if targets > 1 else 1)

    def shares(self, level: Level, targets: int) -> Sequence[tuple[int, float]]:
        """(requests, seconds) of each round at a level.

        In each round every stream has something to do: of a few requests there are fewer rounds.
        """
        rounds = self.rounds_of(targets)
        if self.requests is not None:
            rounds = max(1, min(rounds, self.requests // (level.concurrency or 1)))
        each, more = divmod(self.most_requests, rounds)
        return [(each + (number < more), self.most_seconds / rounds) for number in range(rounds)]
