"""One step of the model: chunks in, logits of the sampled sequences out.

The engine's view of a model. lean/runner.py serves the common families, transformers/runner.py all others. Must not
pick tokens or know requests.
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
        """AdapterError unless the adapter fits the model. May be called from any thread."""

    def release(self) -> None:
        """Free the copies of unloaded adapters."""

    def forward(
        self, chunks: Items[Chunk], operations: Items[Operation] = ()
    ) -> tuple[tuple[Sequence, ...], torch.Tensor]:
        """Compute the chunks: the sequences with a next token due, and their logits [n, vocabulary] in float32.

        The KV memory carries out `operations` first.
        """

    @property
    def kv_bytes_per_token(self) -> int:
        """Of keys and values, over all layers."""
        ...

    def forget(self) -> None:
        """Drop the KV memory."""


@dataclass(frozen=True, slots=True)
class ReadModel:
    """A loaded and tested model, and what its folder says about it."""

    runner: Runner
    longest: int
    """Positions that it supports."""
    vocabulary: int
    """Token ids are below this."""
    eos: frozenset[int]
    """Token ids that end an answer."""
