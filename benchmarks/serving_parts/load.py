"""A load of streams, and when each piece of each answer came: as little work for a piece as can be.

Not `firectl.bench`, which reads every event: on two cores what a client computes is taken from the engine. The first
event is the first token here, also where its text is still empty; for `firectl bench` it is the first text.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

TOKENS = 64
_USAGE = {"stream_options": {"include_usage": True}}
PROMPT = 200


@dataclass
class Address:
    """Where requests go, and the `model` fields to send there in turn."""

    port: int
    models: Sequence[str]
    path: str = "/v1/completions"
    key: str = ""


@dataclass
class Seen:
    """One answer: seconds on a monotonic clock."""

    sent: float
    times: list[float]
    """When each event came; an event can carry several tokens."""
    tokens: int

    @property
    def first(self) -> float:
        return self.times[0] - self.sent

    @property
    def whole(self) -> float:
        return self.times[-1] - self.sent

    @property
    def step(self) -> float:
        """Seconds for each token after the first."""
        return (self.times[-1] - self.times[0]) / (self.tokens - 1)

    @property
    def gaps(self) -> list[float]:
        return [later - sooner for sooner, later in pairwise(self.times)]


@dataclass
class Turn:
    """What one turn of a load gave."""

    answers: list[Seen] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Generated tokens a second."""
        return sum(answer.tokens for answer in self.answers) / self.seconds


def prompt(seed: int) -> str:
    """As many characters as tokens: letters and signs at random, so that no two begin alike."""
    source = random.Random(seed)
    return "".join(chr(source.randrange(32, 126)) for _ in range(PROMPT))


class Connection:
    """Kept from one request to the next, as clients do."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, model: str, text: str, tokens: int, begun: Callable[[], None]) -> Seen:
        """A stream of `tokens` tokens, `begun` with the first. RuntimeError for anything else, as for a shorter one."""
        where = self.address
        fields = {"model": model, "prompt": text, "max_tokens": tokens, "temperature": 0}
        body = json.dumps(fields | {"ignore_eos": True, "stream": True, **_USAGE}).encode()
        key = f"Authorization: Bearer {where.key}\r\n" if where.key else ""
        head = f"POST {where.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{key}"
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", where.port)
        reader = self._reader
        assert reader is not None
        sent = time.perf_counter()
        self._writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        times: list[float] = []
        said: list[bytes] = []
        usage, done = b"", False
        async for line in reader:
            if line.startswith(b"data: {"):
                if b'"error"' in line:
                    raise RuntimeError(f"{model}: {line!r}")
                if b'"choices":[{' in line or b'"choices": [{' in line:
                    times.append(time.perf_counter())
                    if len(times) == 1:
                        begun()
                if b'"usage":{' in line or b'"usage": {' in line:
                    usage = line
            elif line.startswith(b"data: [DONE]"):
                done = True
            elif line == b"0\r\n":
                await reader.readline()
                break
            elif not times:
                said.append(line)
        if not times:
            raise RuntimeError(f"{model} gave no answer: {b''.join(said)[-400:]!r}")
        generated = json.loads(usage[6:])["usage"]["completion_tokens"] if usage else None
        if not done or generated != tokens:
            raise RuntimeError(f"{model} gave {generated} of {tokens} tokens{'' if done else ', and no end'}")
        return Seen(sent, times, tokens)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


async def _turn(
    address: Address, streams: int, asked: Iterable[tuple[str, str]], tokens: int, all_begun: Callable[[], None]
) -> Turn:
    queue = iter(asked)
    turn = Turn()
    left = streams

    def begun() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            all_begun()

    async def stream() -> None:
        connection = Connection(address)
        try:
            for model, text in queue:
                turn.answers.append(await connection.ask(model, text, tokens, begun))
        finally:
            connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(stream() for _ in range(streams)))
    turn.seconds = time.perf_counter() - started
    return turn


def measure(
    address: Address,
    streams: int,
    requests: int,
    seed: int,
    tokens: int = TOKENS,
    all_begun: Callable[[], None] = lambda: None,
) -> Turn:
    """So many streams at once, each sending its next request when its last was answered; models in turn.

    `all_begun` is called once as many answers as there are streams have begun.
    """
    models = address.models
    asked = [(models[number % len(models)], prompt(seed + number)) for number in range(requests)]
    return asyncio.run(_turn(address, streams, asked, tokens, all_begun))


def measure_mix(address: Address, streams: int, models: Sequence[str], seed: int, tokens: int = TOKENS) -> Turn:
    """The same with a model of each request."""
    asked = [(model, prompt(seed + number)) for number, model in enumerate(models)]
    return asyncio.run(_turn(address, streams, asked, tokens, lambda: None))
