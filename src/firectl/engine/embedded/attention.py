"""Attention over a packed batch: every row attends to its own sequence's keys and values, and to no other's.

Registered with transformers under NAME; each attention module carries the `PackedStep` it works for. What a model
asks of attention beyond scaling, sliding windows and soft caps is refused, never left out.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from firectl.engine.embedded.kv_store import KVStore
from firectl.engine.embedded.packing import Batch, Decodes, Prefill
from firectl.errors import AdapterError

NAME = "firectl_packed"
STEP_ATTRIBUTE = "firectl_step"
_KNOWN = frozenset(
    {"position_ids", "use_cache", "output_attentions", "output_hidden_states", "output_router_logits", "return_dict"}
)


class PackedStep:
    """The batch being computed and the memory it lives in; one per model."""

    def __init__(self, store: KVStore) -> None:
        self.store = store
        self.batch: Batch | None = None
        self.layers: set[int] = set()
        """Which layers have attended: proof that the model's attention comes through here."""

    @property
    def current(self) -> Batch:
        if self.batch is None:
            raise RuntimeError("the model was called outside of a step")
        return self.batch

    def bind(self, model: nn.Module) -> None:
        """Tell every layer of `model` to work for this step."""
        for module in model.modules():
            if hasattr(module, "layer_idx"):
                setattr(module, STEP_ATTRIBUTE, self)


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query [1, heads, rows, size] in, [1, rows, heads, size] out."""
    step: PackedStep = getattr(module, STEP_ATTRIBUTE)
    layer: int = module.layer_idx  # type: ignore[assignment]
    if layer not in step.layers:
        _refuse_unknown(attention_mask, dropout, kwargs)
        step.layers.add(layer)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    queries, keys, values = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    out = attend(step.current, step.store, layer, queries, keys, values, scale, sliding_window, softcap)
    return out[None], None


def attend(
    batch: Batch,
    store: KVStore,
    layer: int,
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """What each row [rows, heads, size] sees of its own sequence; its key and value are put into the store first."""
    like = (keys.transpose(0, 1)[None], values.transpose(0, 1)[None])
    if not batch.prefills and len(batch.decodes) == 1 and isinstance(batch.decodes[0].rows, slice):
        decodes = batch.decodes[0]
        memory = store.layer(decodes.slab, layer, *like)
        return _generate(decodes, memory, queries, keys, values, scale, window, softcap)
    out = values.new_empty((*queries.shape[:2], values.shape[2]))
    for prefill in batch.prefills:
        rows = slice(prefill.first, prefill.last)
        memory = store.layer(prefill.slot.slab, layer, *like)
        out[rows] = _read_prompt(prefill, memory, queries[rows], keys[rows], values[rows], scale, window, softcap)
    for decodes in batch.decodes:
        memory = store.layer(decodes.slab, layer, *like)
        mine = (queries[decodes.rows], keys[decodes.rows], values[decodes.rows])
        out[decodes.rows] = _generate(decodes, memory, *mine, scale, window, softcap)
    return out


def _read_prompt(
    prefill: Prefill,
    memory: tuple[torch.Tensor, torch.Tensor],
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """A chunk [n, heads, size] against all of its sequence up to its own end."""
    stored_keys, stored_values = (tensor[prefill.slot.index] for tensor in memory)
    stored_keys[:, prefill.start : prefill.stop] = keys.transpose(0, 1)
    stored_values[:, prefill.start : prefill.stop] = values.transpose(0, 1)
    count, heads, size = queries.shape
    kv_heads = keys.shape[1]
    shared = heads // kv_heads
    # Each key head serves `shared` query heads: a view, not a copy.
    q = queries.transpose(0, 1).reshape(kv_heads, shared, count, size)
    k = stored_keys[:, None, : prefill.stop].expand(-1, shared, -1, -1)
    v = stored_values[:, None, : prefill.stop].expand(-1, shared, -1, -1)
    window = window if window is not None and window < prefill.stop else None
    if prefill.start == 0 and window is None and softcap is None:
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    else:
        places = torch.arange(prefill.stop, device=q.device)
        own = places[prefill.start :, None]
        seen = places <= own
        if window is not None:
            seen &= places > own - window
        mask = torch.zeros(seen.shape, dtype=q.dtype, device=q.device).masked_fill_(~seen, float("-inf"))
        mixed = _attend(q, k, v, mask[None, None], scale, softcap)
    return mixed.reshape(heads, count, -1).transpose(0, 1)


def _generate(
    decodes: Decodes,
    memory: tuple[torch.Tensor, torch.Tensor],
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """One row [n, heads, size] of each of n sequences, read from the slab in place."""
    stored_keys, stored_values = memory
    stored_keys[decodes.slots, :, decodes.positions] = keys
    stored_values[decodes.slots, :, decodes.positions] = values
    count, heads, size = queries.shape
    kv_heads = keys.shape[1]
    places = None
    if decodes.span != count:
        places = decodes.slots - decodes.low
        spread = queries.new_zeros((decodes.span, heads, size))
        spread[places] = queries
        queries = spread
    # The query heads that share a key head stand where query positions would.
    q = queries.reshape(decodes.span, kv_heads, heads // kv_heads, size)
    k = stored_keys[decodes.low : decodes.high, :, : decodes.length]
    v = stored_values[decodes.low : decodes.high, :, : decodes.length]
    window = window if window is not None and window < decodes.length else None
    mixed = _attend(q, k, v, decodes.mask(window, q.dtype), scale, softcap)
    mixed = mixed.reshape(decodes.span, heads, -1)
    return mixed if places is None else mixed[places]


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, scale: float, softcap: float | None
) -> torch.Tensor:
    if softcap is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask.expand(*q.shape[:3], k.shape[2]), scale=scale)
    scores = torch.tanh(torch.matmul(q, k.transpose(2, 3)) * (scale / softcap)) * softcap + mask
    return torch.matmul(torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype), v)


def _refuse_unknown(mask: torch.Tensor | None, dropout: float, kwargs: dict[str, Any]) -> None:
    unknown = sorted(name for name, value in kwargs.items() if name not in _KNOWN and value is not None)
    if mask is not None:
        unknown.append("an attention mask of its own")
    if dropout:
        unknown.append("dropout")
    if unknown:
        raise AdapterError(f"this model's attention needs {', '.join(unknown)}, which the embedded engine does not do")
