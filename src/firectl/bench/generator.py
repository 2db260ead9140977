"""Sends the load: rounds in which targets take turns, streams that wait for their answers, or a rate that does not.

Bounded in number and time whatever the servers do. Must not summarise; figures.py does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from firectl.bench.answer import Answer
from firectl.bench.connection import Connections, now
from firectl.bench.load import Endpoint, Level, Load, Target
from firectl.bench.plan import Shot, shots
from firectl.bench.samples import NOT_SENT, TIMEOUT, Sample

PAUSE = 0.1
"""Seconds a stream waits after an error: a server that refuses at once is not hammered."""
HOPELESS = 10
"""So many requests to a target, all failed and twice as many as there are streams: the run is given up."""
TICK = 1.0
WARM_UP = -1
"""The number of the round that does not count."""


@dataclass
class Round:
    """What was measured in one round; `started` and `ended` are seconds on the clock of the samples."""

    started: float = 0.0
    ended: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    unfinished: int = 0
    """Requests that were on their way when the run was interrupted."""

    @property
    def seconds(self) -> float:
        return max(0.0, self.ended - self.started)


@dataclass
class Cell:
    """One target at one level."""

    target: Target
    level: Level
    rounds: list[Round] = field(default_factory=list)
    answered: int = 0
    refused: int = 0
    """Requests that were answered, and that were not, those of the warm-up too."""


class Generator:
    """Runs `load` on `targets`. What it has seen is in `cells`, in the order of levels and targets, at any time.

    `on_tick` is called about once a second while requests are on their way, and `on_round` after each round; both run
    between two answers, so they should be short.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        load: Load,
        *,
        on_tick: Callable[[Cell], None] | None = None,
        on_round: Callable[[Cell], None] | None = None,
    ) -> None:
        self.targets = tuple(targets)
        self.load = load
        self.cells = [Cell(target, level) for level in load.levels for target in self.targets]
        self.gave_up: str | None = None
        """Why the run was ended early, where no request to a target was answered."""
        self._on_tick = on_tick
        self._on_round = on_round
        self._pools: dict[Endpoint, Connections] = {}
        self._path = "/chat/completions" if load.chat else "/completions"
        self._in_flight = 0

    async def run(self) -> None:
        """The whole run. Cancelling it hangs up and keeps what was measured."""
        self._pools = {target.endpoint: Connections(target.endpoint) for target in self.targets}
        try:
            for turn in self._turns():
                if self.gave_up is not None:
                    return
                await turn()
        finally:
            for pool in self._pools.values():
                pool.close()

    def _turns(self) -> Iterator[Callable[[], Awaitable[None]]]:
        """Round by round, level by level, target by target; every other round backwards, so that drift hits all."""
        shares = {level: self.load.shares(level, len(self.targets)) for level in self.load.levels}
        for number in range(max(map(len, shares.values()))):
            indices = range(len(self.cells))
            for index in indices if number % 2 == 0 else reversed(indices):
                cell = self.cells[index]
                if number < len(shares[cell.level]):
                    requests, seconds = shares[cell.level][number]
                    yield lambda i=index, n=number, r=requests, s=seconds: self._turn(i, n, r, s)  # type: ignore[misc]

    async def _turn(self, index: int, number: int, requests: int, seconds: float) -> None:
        cell = self.cells[index]
        if number == 0:
            await self._warm_up(cell, index)
        round_ = Round()
        cell.rounds.append(round_)
        ticker = asyncio.create_task(self._tick(cell))
        round_.started = now()
        try:
            plan = shots(self.load, cell.target, self._place(index, number))
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
        """Requests that do not count: connections are made, and whatever a server does first is done."""
        streams = cell.level.concurrency or 1
        requests = streams if self.load.warmup is None else self.load.warmup
        target, level, _ = self._place(index, WARM_UP)
        plan = shots(self.load, cell.target, (target, level, WARM_UP))
        await self._closed(cell, Round(), plan, min(streams, requests), requests, self.load.most_seconds)

    async def _closed(
        self, cell: Cell, round_: Round, plan: Iterator[Shot], streams: int, requests: int, seconds: float
    ) -> None:
        """`streams` at once; each sends its next request when its last was answered."""
        until = now() + seconds
        left = islice(plan, requests)

        async def stream() -> None:
            for shot in left:
                if now() >= until or self.gave_up is not None:
                    return
                sample = await self._send(cell.target, shot, now())
                self._keep(cell, round_, sample)
                if sample.error is not None:
                    await asyncio.sleep(PAUSE)

        await _all(stream() for _ in range(streams))

    async def _open(self, cell: Cell, round_: Round, plan: Iterator[Shot], requests: int, seconds: float) -> None:
        """Each request when it is due. The round goes on until the next one would be."""
        tasks: set[asyncio.Task[None]] = set()

        async def one(shot: Shot, due: float) -> None:
            self._keep(cell, round_, await self._send(cell.target, shot, due))

        try:
            for shot in plan:
                due = round_.started + min(shot.due, seconds)
                await asyncio.sleep(max(0.0, due - now()))
                if shot.number >= requests or shot.due >= seconds or self.gave_up is not None:
                    break
                if len(tasks) >= self.load.max_in_flight:
                    when = now()
                    message = f"{len(tasks)} requests are unanswered"
                    self._keep(cell, round_, Sample(shot.route, due, when, when, error=NOT_SENT, message=message))
                    continue
                task = asyncio.create_task(one(shot, due))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _send(self, target: Target, shot: Shot, due: float) -> Sample:
        sample = Sample(shot.route, due)
        answer = Answer(sample, stream=self.load.stream)
        self._in_flight += 1
        try:
            async with asyncio.timeout(self.load.timeout):
                await self._pools[target.endpoint].ask(self._path, self._body(shot), answer)
        except TimeoutError:
            sample.done = now()
            answer.fail(TIMEOUT, f"no whole answer within {self.load.timeout:g} s")
        # Not in a `finally`: what was cancelled is the number that stays.
        self._in_flight -= 1
        return sample

    def _body(self, shot: Shot) -> bytes:
        body: dict[str, object] = {"model": shot.route, "max_tokens": shot.max_tokens, "stream": self.load.stream}
        if self.load.chat:
            body["messages"] = [{"role": "user", "content": shot.prompt}]
        else:
            body["prompt"] = shot.prompt
        if self.load.stream:
            body["stream_options"] = {"include_usage": True}
        if self.load.temperature is not None:
            body["temperature"] = self.load.temperature
        if self.load.ignore_eos:
            body["ignore_eos"] = True
        return json.dumps(body).encode()

    def _keep(self, cell: Cell, round_: Round, sample: Sample) -> None:
        round_.samples.append(sample)
        if sample.error is None:
            cell.answered += 1
            return
        cell.refused += 1
        if cell.answered == 0 and cell.refused >= max(HOPELESS, 2 * (cell.level.concurrency or 1)):
            self.gave_up = f"{cell.refused} requests to {cell.target.name} and none answered: {sample.message}"

    async def _tick(self, cell: Cell) -> None:
        while self._on_tick is not None:
            await asyncio.sleep(TICK)
            self._on_tick(cell)


async def _all(work: Iterator[Awaitable[None]]) -> None:
    """All of it at once; the first failure, or a cancel, ends the rest."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
