"""Run models of the common families with our own forward pass, with several adapters in one batch.

Must not pick tokens or depend on requests.
"""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch

from firectl.engine.compute.kv_store import KVStore
from firectl.engine.compute.lean.bank import LoraBank
from firectl.engine.compute.lean.deltas import deltas_of
from firectl.engine.compute.lean.model import LeanModel
from firectl.engine.compute.packing import pack
from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.kv_slots import Operation
from firectl.engine.schedule.scheduler import Chunk
from firectl.engine.schedule.sequence import Sequence


class LeanRunner:
    """A `Runner` on a `LeanModel`."""

    def __init__(self, model: LeanModel, device: torch.device, dtype: torch.dtype) -> None:
        self.model = model
        self._device = device
        self._dtype = dtype
        self._store = KVStore()
        self._bank = LoraBank(model.config, device, dtype)

    def check(self, adapter: EngineAdapter) -> None:
        self._bank.check(adapter)

    def release(self) -> None:
        self._bank.release()

    @torch.inference_mode()
    def forward(
        self, chunks: Items[Chunk], operations: Items[Operation] = ()
    ) -> tuple[tuple[Sequence, ...], torch.Tensor]:
        self._store.apply(operations)
        adapters = dict.fromkeys(chunk.sequence.adapter for chunk in chunks)
        places = self._bank.place([adapter for adapter in adapters if adapter is not None])
        batch = pack(chunks, self._device, places)
        deltas = deltas_of(self._bank, batch.adapters, places) if batch.adapters else None
        last, last_deltas = batch.sampled_adapters, deltas
        if last != batch.adapters:
            last_deltas = deltas_of(self._bank, last, places) if last else None
        return batch.sampled, self.model.forward(batch, self._store, deltas, last_deltas)

    @property
    def kv_bytes_per_token(self) -> int:
        config = self.model.config
        return 2 * config.layers * config.kv_heads * config.head_size * self._dtype.itemsize

    def forget(self) -> None:
        self._store = KVStore()
