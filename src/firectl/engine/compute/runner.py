"""Run one step of the model: chunks in, logits of the sampled sequences out.

The engine uses a model only through `Runner`. lean/runner.py is for the common families, transformers/runner.py for
all others. Must not pick tokens or depend on requests.
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
    """Owns a model and its KV memory. Use it from one thread at a time, except `check`."""

    def check(self, adapter: EngineAdapter) -> None:
        """Raise AdapterError unless the adapter fits the model. May be called from any thread."""

    def release(self) -> None:
        """Free copies of adapters' weights that are no longer used."""

    def forward(
        self, chunks: Items[Chunk], operations: Items[Operation] = ()
    ) -> tuple[tuple[Sequence, ...], torch.Tensor]:
        """Compute the chunks. Returns the sequences whose next token is due, and their float32 logits [n, vocabulary].

        `operations` are applied to the KV memory first.
        """

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of one token's keys and values, over all layers."""
        ...

    def forget(self) -> None:
        """Drop the KV memory."""


@dataclass(frozen=True, slots=True)
class ReadModel:
    """A loaded model that has run a first step, and what its folder says about the model."""

    runner: Runner
    longest: int
    """Number of positions that the model supports."""
    vocabulary: int
    """All token ids are below this number."""
    eos: frozenset[int]
    """Token ids that end an answer."""
