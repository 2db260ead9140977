"""Run the forward pass of Llama, Mistral, Qwen2 and Qwen3 over one packed batch.

Products with the same input rows are done as one: queries, keys and values; gate and up. attention.py attends over
the KV memory, deltas.py adds LoRA. Must not read files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F

from firectl.engine.compute.attention import MaskRules, Rows, attend
from firectl.engine.compute.kv_store import KVStore
from firectl.engine.compute.lean.config import LeanConfig, Rope
from firectl.engine.compute.packed_linear import PackedLinear
from firectl.engine.compute.packing import Batch

QKV, OUTPUT, GATE_UP, DOWN = range(4)
"""Numbers of a decoder layer's linear layers. One may combine several modules of the checkpoint."""


class Deltas(Protocol):
    """Adds LoRA's changes to the outputs of the linear layers."""

    def add(self, layer: int, part: int, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add to `y` [rows, out] in place what the rows' adapters compute from `x` [rows, in]."""


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """`linears` are QKV, OUTPUT, GATE_UP and DOWN; `norms` come before attention and before the MLP."""

    linears: tuple[PackedLinear, PackedLinear, PackedLinear, PackedLinear]
    norms: tuple[torch.Tensor, torch.Tensor]
    head_norms: tuple[torch.Tensor, torch.Tensor] | None
    """Norm weights for queries and for keys; None for a model without these norms."""
    mask_rules: MaskRules


class LeanModel:
    def __init__(
        self,
        config: LeanConfig,
        embeddings: torch.Tensor,
        layers: tuple[DecoderLayer, ...],
        norm: torch.Tensor,
        head: PackedLinear,
    ) -> None:
        self.config = config
        self.layers = layers
        self._embeddings = embeddings
        self._norm = norm
        self._head = head
        self._plain_norms = embeddings.dtype == torch.float32 and embeddings.device.type == "cpu"
        self._epsilon = torch.tensor(config.epsilon, device=embeddings.device)
        self._rotations = Rotations(config, embeddings.device, embeddings.dtype)

    def forward(self, batch: Batch, store: KVStore, deltas: Deltas | None, last_deltas: Deltas | None) -> torch.Tensor:
        """Return the logits [sampled, vocabulary] of the rows whose next token is due, in float32.

        The last layer computes keys and values of all rows, but the rest for the sampled rows only, with `last_deltas`.
        """
        config = self.config
        heads, kv_heads, size = config.heads, config.kv_heads, config.head_size
        rotated = heads + kv_heads
        cos, sin = self._rotations.at(batch.positions[0], batch.highest)
        x = F.embedding(self._padded(batch.ids[0]), self._embeddings)
        count, sampled = batch.ids.shape[1], len(batch.sampled)
        attended = x.new_zeros((x.shape[0], heads * size))
        seen = attended[:count].view(count, heads, size)
        for layer, decoder in enumerate(self.layers):
            normed = self._normed(x, decoder.norms[0])
            mixed = self._linear(deltas, layer, QKV, normed)[:count].view(count, rotated + kv_heads, size)
            turning = mixed[:, :rotated]
            if decoder.head_norms is not None:
                queries = self._normed(turning[:, :heads], decoder.head_norms[0])
                keys = self._normed(turning[:, heads:], decoder.head_norms[1])
                turning = torch.cat((queries, keys), dim=1)
            turned = torch.addcmul(turning * cos, turning.roll(size // 2, -1), sin)
            rows = Rows(turned[:, :heads], turned[:, heads:], mixed[:, rotated:])
            attend(batch, store, layer, rows, decoder.mask_rules, seen)
            if layer == len(self.layers) - 1 and sampled < count:
                if sampled == 0:
                    return torch.zeros((0, config.vocabulary), device=x.device)
                rows_left = self._padded(batch.sampled_rows)
                x, attended, deltas = x[rows_left], attended[rows_left], last_deltas
            x = x + self._linear(deltas, layer, OUTPUT, attended)
            normed = self._normed(x, decoder.norms[1])
            gate, up = self._linear(deltas, layer, GATE_UP, normed).chunk(2, dim=-1)
            x = x.add_(self._linear(deltas, layer, DOWN, F.silu(gate).mul_(up)))
        ends = x[batch.sampled_rows] if sampled == count else x[:sampled]
        logits: torch.Tensor = self._head(self._normed(ends, self._norm))
        return logits.float()

    def _padded(self, rows: torch.Tensor) -> torch.Tensor:
        """Pad row numbers [n] to the row count that the products compute: once here, not before every product."""
        return F.pad(rows, (0, self.layers[0].linears[QKV].padded_rows(len(rows)) - len(rows)))

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Apply the root mean square norm over the last dimension."""
        if not self._plain_norms:
            return F.rms_norm(x, weight.shape, weight, self.config.epsilon)
        # On a CPU this takes five operators instead of a dozen. Only float32 can be squared without overflow.
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        square = torch.addcmul(self._epsilon, length, length, value=1 / x.shape[-1])
        return (x * square.rsqrt_()).mul_(weight)

    def _linear(self, deltas: Deltas | None, layer: int, part: int, x: torch.Tensor) -> torch.Tensor:
        y = self.layers[layer].linears[part](x)
        if deltas is not None:
            deltas.add(layer, part, x, y)
        return y


class Rotations:
    """Tables of cosines and sines: [positions, 1, head size], the first half of the sines negated."""

    def __init__(self, config: LeanConfig, device: torch.device, dtype: torch.dtype) -> None:
        self._frequencies = frequencies(config.rope, config.head_size).to(device)
        self._dtype = dtype
        self._tables: tuple[torch.Tensor, torch.Tensor] | None = None
        self._length = 0

    def at(self, positions: torch.Tensor, highest: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tables' rows for `positions`, of which `highest` is the largest."""
        if self._tables is None or highest >= self._length:
            self._length = max(256, 2 * highest)
            angles = torch.outer(torch.arange(self._length, device=self._frequencies.device).float(), self._frequencies)
            cos, sin = angles.cos(), angles.sin()
            self._tables = (
                torch.cat((cos, cos), dim=-1).to(self._dtype)[:, None],
                torch.cat((-sin, sin), dim=-1).to(self._dtype)[:, None],
            )
        cosines, sines = self._tables
        return cosines[positions], sines[positions]


def frequencies(rope: Rope, size: int) -> torch.Tensor:
    """Return the radians per position for each pair of a head's `size` numbers: [size / 2] in float32."""
    inverse: torch.Tensor = 1.0 / (rope.theta ** (torch.arange(0, size, 2, dtype=torch.int64).float() / size))
    if rope.kind == "linear":
        return inverse / rope.parameters["factor"]
    if rope.kind == "llama3":
        given = rope.parameters
        factor, original = given["factor"], given["original_max_position_embeddings"]
        low, high = given["low_freq_factor"], given["high_freq_factor"]
        wavelength = 2 * math.pi / inverse
        slowed = torch.where(wavelength > original / low, inverse / factor, inverse)
        smooth = (original / wavelength - low) / (high - low)
        between = (1 - smooth) * slowed / factor + smooth * slowed
        medium = (wavelength >= original / high) & (wavelength <= original / low)
        return torch.where(medium, between, slowed)
    return inverse
