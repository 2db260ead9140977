"""The engine in this process, without HTTP: run sequences on its thread and read what they gave."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from firectl.engine.adapters.read import AdapterReader
from firectl.engine.engine import Engine, StepResult
from firectl.engine.load import LoadedModel, load
from firectl.engine.options import EngineOptions
from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.kv_slots import KVSlots
from firectl.engine.schedule.scheduler import Chunk
from firectl.engine.schedule.sequence import Sequence, random_for
from firectl.engine.text.stream import TextStream
from firectl.errors import ApiError
from firectl.schemas.openai import Sampling, TokenLogprob
from tests.engine.process import read_metric

GREEDY = Sampling(temperature=0.0, ignore_eos=True)


@dataclass
class Result:
    """The result of one sequence."""

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    finish: str | None = None
    error: ApiError | None = None
    pieces: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)


class Inbox:
    """Collects what an engine publishes; `wait` returns a sequence's result when it is complete."""

    def __init__(self) -> None:
        self._results: dict[Sequence, Result] = {}
        self._changed = threading.Condition()
        self.steps: queue.SimpleQueue[list[StepResult]] = queue.SimpleQueue()

    def publish(self, batch: list[StepResult]) -> None:
        with self._changed:
            for step in batch:
                result = self._results.setdefault(step.sequence, Result())
                result.text += step.text
                result.pieces.append(step.text)
                result.logprobs += step.logprobs
                result.finish = step.finish
                result.error = step.error
            self._changed.notify_all()
        self.steps.put(batch)

    def wait(self, sequence: Sequence, timeout: float = 60) -> Result:
        def done() -> bool:
            result = self._results.get(sequence)
            return result is not None and (result.finish is not None or result.error is not None)

        with self._changed:
            assert self._changed.wait_for(done, timeout), "the sequence did not end in time"
        result = self._results[sequence]
        result.tokens = sequence.tokens[len(sequence.prompt) :]
        return result


def metric(engine: Engine, name: str) -> float:
    """A value as the engine's /metrics shows it."""
    return read_metric(engine.metrics.page().decode(), name)


class Harness:
    """A loaded base, its adapters, and an engine for each `running` block."""

    def __init__(self, base: Path, **options: object) -> None:
        self.options = replace(EngineOptions(model=base, served_model_name="base"), **options)  # type: ignore[arg-type]
        self.loaded: LoadedModel = load(self.options)
        self._reader = AdapterReader(self.loaded, self.options.max_lora_rank)

    def adapter(self, folder: Path, name: str | None = None) -> EngineAdapter:
        return self._reader.read(name or folder.name, self._reader.find(folder))

    def sequence(
        self,
        prompt: str | list[int],
        sampling: Sampling = GREEDY,
        max_tokens: int = 16,
        adapter: EngineAdapter | None = None,
        choice: int = 0,
    ) -> Sequence:
        tokens = self.loaded.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
        stream = TextStream(self.loaded.tokenizer.decode, tokens, sampling.stop)
        return Sequence(tokens, sampling, max_tokens, stream, adapter, random_for(sampling.seed, choice))

    @contextmanager
    def running(self, kv_tokens: int | None = None, **options: object) -> Iterator[tuple[Engine, Inbox]]:
        inbox = Inbox()
        loaded = replace(self.loaded, kv_tokens=kv_tokens or self.loaded.kv_tokens)
        engine = Engine(loaded, replace(self.options, **options), inbox.publish)  # type: ignore[arg-type]
        self.loaded.runner.forget()
        engine.start()
        try:
            yield engine, inbox
        finally:
            engine.stop()

    def run(self, sequences: Items[Sequence], **options: int) -> list[Result]:
        """Run all of the sequences at once, to their ends."""
        with self.running(**options) as (engine, inbox):
            engine.submit(sequences)
            return [inbox.wait(sequence) for sequence in sequences]

    def logits(self, sequences: Items[Sequence], cuts: Items[tuple[int, ...]]) -> list[torch.Tensor]:
        """The logits after each prompt, packed side by side, each cut into chunks at its `cuts`."""
        runner = self.loaded.runner
        runner.forget()
        memory = KVSlots(self.loaded.max_length * len(sequences), self.loaded.max_length, len(sequences))
        for sequence in sequences:
            sequence.slot = memory.reserve(len(sequence.prompt))
        last: dict[Sequence, torch.Tensor] = {}
        for step in range(max(map(len, cuts)) - 1):
            chunks = [
                Chunk(sequence, places[step], places[step + 1] - places[step])
                for sequence, places in zip(sequences, cuts, strict=True)
                if step + 1 < len(places)
            ]
            sampled, logits = runner.forward(chunks, memory.take_operations())
            last.update(zip(sampled, logits.clone(), strict=True))
        return [last[sequence] for sequence in sequences]
