"""A runner for any family: transformers' model code, with attention and LoRA put in by us.

Must not pick tokens, and must not know requests.
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
    """Owns a model (loaded with the packed attention), its KV memory and its LoRA layers. One thread at a time."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model = model
        self.kv_bytes_per_token = 0
        """Known once a step was tried (transformers_load.py)."""
        self._device = device
        self._step = PackedStep(KVStore())
        self._step.bind(model)
        self._layers = LoraLayers(model, self._step)

    def check(self, adapter: EngineAdapter) -> None:
        """AdapterError unless the adapter fits the model. May be called from any thread."""
        self._layers.check(adapter)

    def attach(self, adapter: EngineAdapter) -> None:
        """Let the layers that the adapter changes apply adapters from the next step on."""
        self._layers.carry(adapter.modules)

    def release(self) -> None:
        """Nothing to do: the layers hold no adapters, the batch names them."""

    @torch.inference_mode()
    def forward(
        self, chunks: Items[Chunk], operations: Items[Operation] = ()
    ) -> tuple[tuple[Sequence, ...], torch.Tensor]:
        """Compute the chunks; who has a next token due, and their logits [n, vocabulary] in float32.

        `operations` are what the KV memory has to go through first.
        """
        self._step.store.apply(operations)
        batch = pack(chunks, self._device)
        self._step.batch = batch
        try:
            output = self.model(
                input_ids=batch.ids,
                position_ids=batch.positions,
                use_cache=False,
                logits_to_keep=batch.sampled_rows,
            )
        finally:
            self._step.batch = None
        return batch.sampled, output.logits[0].float()

    @property
    def attended_layers(self) -> int:
        """How many layers' attention went through the packed attention so far."""
        return len(self._step.layers)

    @property
    def seen_bytes_per_token(self) -> int:
        """Of keys and values, as seen in the slabs that were written to so far."""
        return self._step.store.bytes_per_token

    def forget(self) -> None:
        """Drop the KV memory."""
        self._step.store = KVStore()
