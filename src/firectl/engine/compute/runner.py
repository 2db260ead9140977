"""One step of the model: chunks in, the logits of the sequences whose next token is due out.

What the engine needs of a model, whoever computes it: lean_runner.py for the common families, transformers_runner.py
for all others. Must not pick tokens, and must not know requests.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

import torch

from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.kv_slots import Operation
from firectl.engine.schedule.scheduler import Chunk
from firectl.engine.schedule.sequence import Sequence


class Runner(Protocol):
    """Owns a model and its KV memory. One thread at a time, but for `check`."""

    def check(self, adapter: EngineAdapter) -> None:
        """AdapterError unless the adapter fits the model. May be called from any thread."""

    def attach(self, adapter: EngineAdapter) -> None:
        """Let the adapter be applied from the next step on."""

    def release(self) -> None:
        """Adapters were unloaded: give back what was held for them beside their weights."""

    def forward(
        self, chunks: Items[Chunk], operations: Items[Operation] = ()
    ) -> tuple[tuple[Sequence, ...], torch.Tensor]:
        """Compute the chunks; who has a next token due, and their logits [n, vocabulary] in float32.

        `operations` are what the KV memory has to go through first.
        """

    @property
    def kv_bytes_per_token(self) -> int:
        """Of keys and values, over all layers."""
        ...

    def forget(self) -> None:
        """Drop the KV memory."""


@dataclass(frozen=True, slots=True)
class ReadModel:
    """A model that was read and tried, and what its folder says of it."""

    runner: Runner
    longest: int
    """Positions it can do."""
    vocabulary: int
    """Token ids are below this."""
    eos: frozenset[int]
    """Token ids that end an answer."""
