"""An adapter as the engine holds it: an identity (name and content) and its weights by module.

Must not change after it was made: requests are bound to the object, and a reload makes a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False, slots=True)
class LoraWeights:
    """What one module adds: `scaling * (x @ a) @ b`, with a of shape [in, r] and b [r, out]."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class EngineAdapter:
    """Two loads of the same files are two objects; `content_hash` tells that they are equal."""

    name: str
    content_hash: str
    modules: Mapping[str, LoraWeights]
    path: Path
    rank: int
    chat_template: str | None = None
