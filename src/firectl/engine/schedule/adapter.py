"""Represent an adapter in the engine: its identity (name and content hash) and its weights by module.

Immutable, because requests keep a reference to the object; a reload makes a new object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.errors import AdapterError

if TYPE_CHECKING:
    from firectl.lora.weights import Factors


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class EngineAdapter:
    """A loaded adapter. Two loads of the same files give two objects with the same `content_hash`."""

    name: str
    content_hash: str
    modules: Mapping[str, Factors]
    path: Path
    rank: int
    chat_template: str | None = None


def require_shapes(adapter: EngineAdapter, shape_of: Callable[[str], tuple[int, int] | None]) -> None:
    """Raise AdapterError unless every module of the adapter is in the model with the same shape.

    `shape_of` returns the features in and out of a layer that accepts adapters, and None for any other module.
    """
    for name, weights in adapter.modules.items():
        wanted, found = shape_of(name), (weights.a.shape[0], weights.b.shape[1])
        if wanted is None:
            raise AdapterError(
                f"{name} is not a layer that several adapters can share in this engine",
                hint="deploy the adapter's own model: a live merge applies it",
            )
        if wanted != found:
            raise AdapterError(f"{name}: expected {wanted[0]}→{wanted[1]} as in the base, got {found[0]}→{found[1]}")
        if weights.a.shape[1] != weights.b.shape[0]:
            raise AdapterError(f"{name}: lora_A has rank {weights.a.shape[1]}, lora_B {weights.b.shape[0]}")
