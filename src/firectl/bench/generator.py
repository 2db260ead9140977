"""Sends the load in rounds in which targets take turns: streams that wait for answers, or a rate that does not.

Bounded in requests and time, whatever the servers do. Must not summarise: figures.py does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from firectl.bench.answer import StreamedAnswer
from firectl.bench.connection import ConnectionPool, now
from firectl.bench.load import BenchTarget, Endpoint, Level, Load
from firectl.bench.plan import PlannedRequest, plan_requests
from firectl.bench.samples import NOT_SENT, TIMEOUT, Sample

PAUSE = 0.1
"""Seconds that a stream waits after an error, to spare a server that refuses at once."""
HOPELESS = 10
"""The run stops if this many requests to a target (or two per stream, if more) have failed and none succeeded."""
TICK = 1.0
WARM_UP = -1
"""The round number of the warm-up, in the plan."""


@dataclass
class LoadRound:
    """What was measured in one round. `started` and `ended` are in seconds, on the same clock as the samples' times."""

    started: float = 0.0
    ended: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    unfinished: int = 0
    """Number of requests that had no answer when the run was interrupted."""

    @property
    def seconds(self) -> float:
        return max(0.0, self.ended - self.started)


@dataclass
class Cell:
    """The measurements of one target at one level of the load."""

    target: BenchTarget
    level: Level
    rounds: list[LoadRound] = field(default_factory=list)
    answered: int = 0
    refused: int = 0
    """`answered` and `refused` count requests with and without an answer, including the warm-up."""


class Generator:
    """Run `load` on `targets`. `cells` has the results so far, in the order of levels and targets.

    `on_tick` is called about once a second, `on_round` after each round. Both must be fast: they delay the reading of
    answers, and so change the measurement.
    """

    def __init__(
        self,
        targets: Sequence[BenchTarget],
        load: Load,
        *,
        on_tick: Callable[[Cell], None] | None = None,
        on_round: Callable[[Cell], None] | None = None,
    ) -> None:
        self.targets = tuple(targets)
        self.load = load
        self.cells = [Cell(target, level) for level in load.levels for target in self.targets]
        self.gave_up: str | None = None
        """Why the run stopped early (no request to a target succeeded); None if it did not."""
        self._on_tick = on_tick
        self._on_round = on_round
        self._pools: dict[Endpoint, ConnectionPool] = {}
        self._path = "/chat/completions" if load.chat else "/completions"
        self._in_flight = 0

    async def run(self) -> None:
        """Run all rounds. Cancelling closes the connections and keeps what was measured."""
        self._pools = {target.endpoint: ConnectionPool(target.endpoint) for target in self.targets}
        shares = {level: self.load.shares(level, len(self.targets)) for level in self.load.levels}
        try:
            for number in range(max(map(len, shares.values()))):
                # Every other round has the reverse order, so that a slow change of conditions affects all targets
                # alike.
                for index in range(len(self.cells)) if number % 2 == 0 else reversed(range(len(self.cells))):
                    share = shares[self.cells[index].level]
                    if number < len(share):
                        await self._turn(index, number, *share[number])
                    if self.gave_up is not None:
                        return
        finally:
            for pool in self._pools.values():
                pool.close()

    async def _turn(self, index: int, number: int, requests: int, seconds: float) -> None:
        cell = self.cells[index]
        if number == 0:
            await self._warm_up(cell, index)
        round_ = LoadRound()
        cell.rounds.append(round_)
        ticker = asyncio.create_task(self._tick(cell))
        round_.started = now()
        try:
            plan = plan_requests(self.load, cell.target, self._place(index, number))
            if cell.level.rate is None:
                await self._closed(cell, round_, plan, cell.level.concurrency or 1, requests, seconds)
            else:
                await self._open(cell, round_, plan, requests, seconds)
        finally:
            ticker.cancel()
            round_.ended = now()
            round_.unfinished = self._in_flight
        if self._on_round is not None:
            self._on_round(cell)

    def _place(self, index: int, number: int) -> tuple[int, int, int]:
        level, target = divmod(index, len(self.targets))
        return target, level, number

    async def _warm_up(self, cell: Cell, index: int) -> None:
        """Send requests that are not counted, to open connections and warm up the server."""
        streams = cell.level.concurrency or 1
        requests = streams if self.load.warmup is None else self.load.warmup
        target, level, _ = self._place(index, WARM_UP)
        plan = plan_requests(self.load, cell.target, (target, level, WARM_UP))
        await self._closed(cell, LoadRound(), plan, min(streams, requests), requests, self.load.most_seconds)

    async def _closed(
        self, cell: Cell, round_: LoadRound, plan: Iterator[PlannedRequest], streams: int, requests: int, seconds: float
    ) -> None:
        """Run `streams` streams at once. Each sends its next request when its last one was answered."""
        until = now() + seconds
        left = islice(plan, requests)

        async def stream() -> None:
            for request in left:
                if now() >= until or self.gave_up is not None:
                    return
                sample = await self._send(cell.target, request, now())
                self._keep(cell, round_, sample)
                if sample.error is not None:
                    await asyncio.sleep(PAUSE)

        await _all(stream() for _ in range(streams))

    async def _open(
        self, cell: Cell, round_: LoadRound, plan: Iterator[PlannedRequest], requests: int, seconds: float
    ) -> None:
        """Send each request when it is due, without waiting for answers. Then wait for the open answers."""
        tasks: set[asyncio.Task[None]] = set()

        async def one(request: PlannedRequest, due: float) -> None:
            self._keep(cell, round_, await self._send(cell.target, request, due))

        try:
            for request in plan:
                due = round_.started + min(request.due, seconds)
                await asyncio.sleep(max(0.0, due - now()))
                if request.number >= requests or request.due >= seconds or self.gave_up is not None:
                    break
                if len(tasks) >= self.load.max_in_flight:
                    when = now()
                    message = f"{len(tasks)} requests are unanswered"
                    self._keep(cell, round_, Sample(request.route, due, when, when, error=NOT_SENT, message=message))
                    continue
                task = asyncio.create_task(one(request, due))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _send(self, target: BenchTarget, request: PlannedRequest, due: float) -> Sample:
        sample = Sample(request.route, due)
        answer = StreamedAnswer(sample, stream=self.load.stream)
        self._in_flight += 1
        try:
            async with asyncio.timeout(self.load.timeout):
                await self._pools[target.endpoint].ask(self._path, self._body(request), answer)
        except TimeoutError:
            sample.done = now()
            answer.fail(TIMEOUT, f"no whole answer within {self.load.timeout:g} s")
        # Not in a `finally`: cancelled requests must stay counted, as unfinished.
        self._in_flight -= 1
        return sample

    def _body(self, request: PlannedRequest) -> bytes:
        body: dict[str, object] = {"model": request.route, "max_tokens": request.max_tokens, "stream": self.load.stream}
        if self.load.chat:
            body["messages"] = [{"role": "user", "content": request.prompt}]
        else:
            body["prompt"] = request.prompt
        if self.load.stream:
            body["stream_options"] = {"include_usage": True}
        if self.load.temperature is not None:
            body["temperature"] = self.load.temperature
        if self.load.ignore_eos:
            body["ignore_eos"] = True
        return json.dumps(body).encode()

    def _keep(self, cell: Cell, round_: LoadRound, sample: Sample) -> None:
        round_.samples.append(sample)
        if sample.error is None:
            cell.answered += 1
            return
        cell.refused += 1
        if cell.answered == 0 and cell.refused >= max(HOPELESS, 2 * (cell.level.concurrency or 1)):
            self.gave_up = f"none of {cell.refused} requests to {cell.target.name} was answered: {sample.message}"

    async def _tick(self, cell: Cell) -> None:
        while self._on_tick is not None:
            await asyncio.sleep(TICK)
            self._on_tick(cell)


async def _all(work: Iterator[Awaitable[None]]) -> None:
    """Run all awaitables at once. The first exception, or a cancellation, cancels the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
