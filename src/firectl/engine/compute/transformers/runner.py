"""Run models of any family with transformers' code, our attention and our LoRA layers.

Must not pick tokens or depend on requests.
"""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch
from torch import nn

from firectl.engine.compute.attention import PackedStep
from firectl.engine.compute.kv_store import KVStore
from firectl.engine.compute.packing import pack
from firectl.engine.compute.transformers.lora_layer import LoraLayers
from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.kv_slots import Operation
from firectl.engine.schedule.scheduler import Chunk
from firectl.engine.schedule.sequence import Sequence


class TransformersRunner:
    """A `Runner` on a transformers model that was loaded with the packed attention."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model = model
        self.kv_bytes_per_token = 0
        """Set by load.py after a first step. 0 before that."""
        self._device = device
        self.step = PackedStep(KVStore())
        self.step.bind(model)
        self._layers = LoraLayers(model, self.step)

    def check(self, adapter: EngineAdapter) -> None:
        self._layers.check(adapter)

    def release(self) -> None:
        """Does nothing: the layers hold no adapters."""

    @torch.inference_mode()
    def forward(
        self, chunks: Items[Chunk], operations: Items[Operation] = ()
    ) -> tuple[tuple[Sequence, ...], torch.Tensor]:
        self.step.store.apply(operations)
        batch = pack(chunks, self._device)
        self._layers.carry(adapter for adapter, _, _ in batch.adapters)
        self.step.batch = batch
        try:
            output = self.model(
                input_ids=batch.ids,
                position_ids=batch.positions,
                use_cache=False,
                logits_to_keep=batch.sampled_rows,
            )
        finally:
            self.step.batch = None
        return batch.sampled, output.logits[0].float()

    def forget(self) -> None:
        self.step.store = KVStore()
