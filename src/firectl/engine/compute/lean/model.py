"""The forward pass of Llama, Mistral, Qwen2 and Qwen3 over one packed batch, with nothing in it but the arithmetic.

Products that read the same rows are one product: queries, keys and values; gate and up. Attention over the KV memory
is attention.py's, LoRA is lean_lora.py's. Must not read files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F

from firectl.engine.compute.attention import Rows, Rules, attend
from firectl.engine.compute.kv_store import KVStore
from firectl.engine.compute.lean.config import LeanConfig, Rope
from firectl.engine.compute.packed_linear import PackedLinear
from firectl.engine.compute.packing import Batch

QKV, OUTPUT, GATE_UP, DOWN = range(4)
"""The linear layers of a block, as they are computed: each may stand for several modules of the checkpoint."""


class Deltas(Protocol):
    """What is added to the linear layers' outputs."""

    def add(self, layer: int, part: int, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add to `y` [rows, out] in place what the rows' adapters make of `x` [rows, in]."""


@dataclass(frozen=True, slots=True)
class Block:
    """One layer; `linears` by QKV, OUTPUT, GATE_UP and DOWN, `norms` before attention and before the MLP."""

    linears: tuple[PackedLinear, PackedLinear, PackedLinear, PackedLinear]
    norms: tuple[torch.Tensor, torch.Tensor]
    head_norms: tuple[torch.Tensor, torch.Tensor] | None
    """Of queries and of keys."""
    rules: Rules
    """Of its attention."""


class LeanModel:
    def __init__(
        self,
        config: LeanConfig,
        embeddings: torch.Tensor,
        blocks: tuple[Block, ...],
        norm: torch.Tensor,
        head: PackedLinear,
    ) -> None:
        self.config = config
        self.blocks = blocks
        self._embeddings = embeddings
        self._norm = norm
        self._head = head
        self._plain_norms = embeddings.dtype == torch.float32 and embeddings.device.type == "cpu"
        self._epsilon = torch.tensor(config.epsilon, device=embeddings.device)
        self._rotations = Rotations(config, embeddings.device, embeddings.dtype)

    def forward(self, batch: Batch, store: KVStore, deltas: Deltas | None, last_deltas: Deltas | None) -> torch.Tensor:
        """The logits [sampled, vocabulary] of the batch's sampled rows, in float32.

        Of the last layer only its keys and values are needed of every row: all that follows is computed for the
        sampled ones alone, to which `last_deltas` adds.
        """
        config = self.config
        heads, kv_heads, size = config.heads, config.kv_heads, config.head_size
        rotated = heads + kv_heads
        cos, sin = self._rotations.at(batch.positions[0], batch.highest)
        x = F.embedding(self._padded(batch.ids[0]), self._embeddings)
        count, sampled = batch.ids.shape[1], len(batch.sampled)
        attended = x.new_zeros((x.shape[0], heads * size))
        seen = attended[:count].view(count, heads, size)
        for layer, block in enumerate(self.blocks):
            normed = self._normed(x, block.norms[0])
            mixed = self._linear(deltas, layer, QKV, normed)[:count].view(count, rotated + kv_heads, size)
            turning = mixed[:, :rotated]
            if block.head_norms is not None:
                queries = self._normed(turning[:, :heads], block.head_norms[0])
                keys = self._normed(turning[:, heads:], block.head_norms[1])
                turning = torch.cat((queries, keys), dim=1)
            turned = torch.addcmul(turning * cos, turning.roll(size // 2, -1), sin)
            rows = Rows(turned[:, :heads], turned[:, heads:], mixed[:, rotated:])
            attend(batch, store, layer, rows, block.rules, seen)
            if layer == len(self.blocks) - 1 and sampled < count:
                if sampled == 0:
                    return torch.zeros((0, config.vocabulary), device=x.device)
                rows_left = self._padded(batch.sampled_rows)
                x, attended, deltas = x[rows_left], attended[rows_left], last_deltas
            x = x + self._linear(deltas, layer, OUTPUT, attended)
            normed = self._normed(x, block.norms[1])
            gate, up = self._linear(deltas, layer, GATE_UP, normed).chunk(2, dim=-1)
            x = x.add_(self._linear(deltas, layer, DOWN, F.silu(gate).mul_(up)))
        ends = x[batch.sampled_rows] if sampled == count else x[:sampled]
        logits: torch.Tensor = self._head(self._normed(ends, self._norm))
        return logits.float()

    def _padded(self, rows: torch.Tensor) -> torch.Tensor:
        """Row numbers [n], and as many more as the layers' products compute along: once, not before every product."""
        return F.pad(rows, (0, self.blocks[0].linears[QKV].steady(len(rows)) - len(rows)))

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Root mean square norm over the last dimension."""
        if not self._plain_norms:
            return F.rms_norm(x, weight.shape, weight, self.config.epsilon)
        # Five operators where F.rms_norm is a dozen on a CPU; only float32 may be squared as it is.
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        square = torch.addcmul(self._epsilon, length, length, value=1 / x.shape[-1])
        return (x * square.rsqrt_()).mul_(weight)

    def _linear(self, deltas: Deltas | None, layer: int, part: int, x: torch.Tensor) -> torch.Tensor:
        y = self.blocks[layer].linears[part](x)
        if deltas is not None:
            deltas.add(layer, part, x, y)
        return y


class Rotations:
    """Cosines and sines by position, computed once: [positions, 1, head size], the sines' first half negated."""

    def __init__(self, config: LeanConfig, device: torch.device, dtype: torch.dtype) -> None:
        self._frequencies = frequencies(config.rope, config.head_size).to(device)
        self._dtype = dtype
        self._tables: tuple[torch.Tensor, torch.Tensor] | None = None
        self._length = 0

    def at(self, positions: torch.Tensor, highest: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows for `positions`, none of which is above `highest`."""
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
    """Radians per position for each pair of a head's `size` numbers: [size / 2] in float32."""
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
