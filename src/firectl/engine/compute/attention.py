"""Compute attention over a packed batch: each row uses the keys and values of its own sequence only.

Registered in transformers as NAME; each attention module has the `PackedStep` of its model. AdapterError
for a model whose attention needs more than scaling, sliding windows and soft caps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from firectl.engine.compute.kv_store import KVStore, LayerKV
from firectl.engine.compute.packing import Batch, Decodes, Prefill, mask_of
from firectl.errors import AdapterError

NAME = "firectl_packed"
STEP_ATTRIBUTE = "firectl_step"
_KNOWN = frozenset(
    {"position_ids", "use_cache", "output_attentions", "output_hidden_states", "output_router_logits", "return_dict"}
)


@dataclass(frozen=True, slots=True)
class MaskRules:
    """The attention settings of a layer, which are the same in every step."""

    scale: float
    window: int | None = None
    """Number of positions that a row attends to, including its own. None for all."""
    softcap: float | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """Queries, keys and values, each [rows, heads, size]. One key head is used by several query heads."""

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor

    def take(self, rows: torch.Tensor | slice) -> Rows:
        return Rows(self.queries[rows], self.keys[rows], self.values[rows])


class PackedStep:
    """Holds the batch that is being computed, and the KV memory. There is one object per model."""

    def __init__(self, store: KVStore) -> None:
        self.store = store
        self.batch: Batch | None = None
        self.layers: set[int] = set()
        """Numbers of the layers that called `packed_attention`: proof that these layers use this attention."""

    @property
    def current(self) -> Batch:
        if self.batch is None:
            raise RuntimeError("the model was called outside of a step")
        return self.batch

    def bind(self, model: nn.Module) -> None:
        """Give every layer of `model` a reference to this object."""
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
    """Implement transformers' attention interface: query [1, heads, rows, size] in, [1, rows, heads, size] out."""
    step: PackedStep = getattr(module, STEP_ATTRIBUTE)
    layer: int = module.layer_idx  # type: ignore[assignment]
    if layer not in step.layers:
        _refuse_unknown(attention_mask, dropout, kwargs)
        step.layers.add(layer)
    rules = MaskRules(scaling if scaling is not None else query.shape[-1] ** -0.5, sliding_window, softcap)
    rows = Rows(*(tensor[0].transpose(0, 1) for tensor in (query, key, value)))
    out = rows.values.new_empty((*rows.queries.shape[:2], rows.values.shape[2]))
    attend(step.current, step.store, layer, rows, rules, out)
    return out[None], None


def attend(batch: Batch, store: KVStore, layer: int, rows: Rows, rules: MaskRules, out: torch.Tensor) -> None:
    """Compute each row's attention over its own sequence, and write it to `out` [rows, heads, size].

    Stores the keys and values of the rows first.
    """
    like = (rows.keys.transpose(0, 1)[None], rows.values.transpose(0, 1)[None])
    for prefill in batch.prefills:
        mine = slice(prefill.first, prefill.last)
        memory = store.layer(prefill.slot.slab, layer, *like)
        out[mine] = _read_prompt(prefill, memory, rows.take(mine), rules)
    for decodes in batch.decodes:
        memory = store.layer(decodes.slab, layer, *like)
        out[decodes.rows] = _generate(decodes, memory, rows.take(decodes.rows), rules)


def _read_prompt(prefill: Prefill, memory: LayerKV, rows: Rows, rules: MaskRules) -> torch.Tensor:
    """Compute attention of a prompt's chunk over its sequence, up to the end of the chunk."""
    stored_keys, stored_values = (tensor[prefill.slot.index] for tensor in memory)
    stored_keys[:, prefill.start : prefill.stop] = rows.keys.transpose(0, 1)
    stored_values[:, prefill.start : prefill.stop] = rows.values.transpose(0, 1)
    count, heads, size = rows.queries.shape
    kv_heads = rows.keys.shape[1]
    shared = heads // kv_heads
    # Each key head serves `shared` query heads: a view, not a copy.
    q = rows.queries.transpose(0, 1).reshape(kv_heads, shared, count, size)
    k = stored_keys[:, None, : prefill.stop].expand(-1, shared, -1, -1)
    v = stored_values[:, None, : prefill.stop].expand(-1, shared, -1, -1)
    window = rules.window if rules.window is not None and rules.window < prefill.stop else None
    if prefill.start == 0 and window is None and rules.softcap is None:
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=rules.scale)
    else:
        last = torch.arange(prefill.start, prefill.stop, device=q.device)
        mask = mask_of(last, prefill.stop, window, q.dtype)
        mixed = _attend(q, k, v, mask[None, None], rules)
    return mixed.reshape(heads, count, -1).transpose(0, 1)


def _generate(decodes: Decodes, memory: LayerKV, rows: Rows, rules: MaskRules) -> torch.Tensor:
    """Compute attention for one row of each of several sequences. Reads the slab's keys and values without a copy."""
    for stored, fresh in zip(memory, (rows.keys, rows.values), strict=True):
        # One copy of rows: an assignment with two indices takes several times as long.
        _, kv_heads, capacity, size = stored.shape
        stored.view(-1, size).index_copy_(0, decodes.lines(kv_heads, capacity), fresh.reshape(-1, size))
    stored_keys, stored_values = memory
    queries = rows.queries
    count, heads, size = queries.shape
    places = None
    if decodes.span != count:
        places = decodes.slots - decodes.low
        spread = queries.new_zeros((decodes.span, heads, size))
        spread[places] = queries
        queries = spread
    # The query heads that share a key head are treated like query positions.
    q = queries.reshape(decodes.span, stored_keys.shape[1], -1, size)
    k = stored_keys[decodes.low : decodes.high, :, : decodes.length]
    v = stored_values[decodes.low : decodes.high, :, : decodes.length]
    window = rules.window if rules.window is not None and rules.window < decodes.length else None
    mask = decodes.mask(window, q.dtype)
    plain = q.device.type == "cpu" and q.dtype == torch.float32 and rules.softcap is None
    mixed = _products(q, k, v, mask, rules.scale) if plain else _attend(q, k, v, mask, rules)
    mixed = mixed.reshape(decodes.span, heads, -1)
    return mixed if places is None else mixed[places]


def _products(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """Compute the same as `_attend`, in two products over all heads of all sequences: faster on a CPU."""
    sequences, heads, shared, size = q.shape
    pairs, length = sequences * heads, k.shape[2]
    # These are views, not copies: heads and sequences are evenly spaced in a slab.
    keys, values = k.view(pairs, length, size), v.view(pairs, length, -1)
    scores = torch.bmm((q * scale).reshape(pairs, shared, size), keys.transpose(1, 2))
    weights = torch.softmax(scores.view(sequences, heads, shared, length).add_(mask), dim=-1)
    return torch.bmm(weights.view(pairs, shared, length), values)


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, rules: MaskRules) -> torch.Tensor:
    scale, softcap = rules.scale, rules.softcap
    if softcap is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask.expand(*q.shape[:3], k.shape[2]), scale=scale)
    scores = torch.tanh(torch.matmul(q, k.transpose(2, 3)) * (scale / softcap)) * softcap + mask
    return torch.matmul(torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype), v)


def _refuse_unknown(mask: torch.Tensor | None, dropout: float, kwargs: dict[str, Any]) -> None:
    unknown = sorted(name for name, value in kwargs.items() if name not in _KNOWN and value is not None)
    if mask is not None:
        unknown.append("its own attention mask")
    if dropout:
        unknown.append("dropout")
    if unknown:
        raise AdapterError(f"this model's attention needs {', '.join(unknown)}, which this engine does not support")
