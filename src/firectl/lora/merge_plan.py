"""Which tensors of a base a merge changes, and with what: decided from headers, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from firectl.errors import AdapterError
from firectl.lora.adapter import Adapter, LoraPair, Replacement
from firectl.lora.base_model import HEAD, BaseModel
from firectl.lora.fit import touched_ties
from firectl.lora.folder import some
from firectl.lora.safetensors import TensorInfo


@dataclass(frozen=True, slots=True)
class Edit:
    """One tensor of the result: `source` of the base, replaced, then changed by `pair`."""

    name: str
    source: TensorInfo
    replacement: Replacement | None = None
    pair: LoraPair | None = None
    is_bias: bool = False
    """The tensor is a bias: of `pair`, its b_bias alone is added."""
    transposed: bool = False
    """The weight is stored [in, out]."""

    @property
    def used(self) -> Iterator[TensorInfo]:
        """The adapter's tensors that go into it."""
        if self.replacement is not None:
            yield self.replacement.info
        if self.pair is not None and self.is_bias:
            if self.pair.b_bias is not None:
                yield self.pair.b_bias
        elif self.pair is not None:
            yield from (self.pair.a, self.pair.b)
            if self.pair.magnitude is not None:
                yield self.pair.magnitude


@dataclass(frozen=True, slots=True)
class Plan:
    edits: Mapping[str, Edit]
    """By the name of the tensor in the files."""
    added: str | None
    """A tensor of `edits` that the base has not: the head, when it is untied from the embedding."""
    same: tuple[tuple[TensorInfo, TensorInfo], ...]
    """(adapter's, base's): copies that must hold the same values, because the base ties what the adapter saved."""


def plan_merge(adapter: Adapter, base: BaseModel) -> Plan:
    """What to do with each tensor, for an adapter that fits. AdapterError if one of its tensors would not be used."""
    touched = touched_ties(adapter, base)
    shared = {f"{name}.weight" for name in touched} & {
        name for name, replacement in adapter.replaced.items() if replacement.why == "embedding"
    }
    untied = any(name in adapter.modules or f"{name}.weight" not in shared for name in touched)
    edits: dict[str, Edit] = {}
    same = []
    names = [f"{module}.weight" for module in adapter.modules]
    names += [name for name in adapter.replaced if name not in names]
    names += [f"{module}.bias" for module, pair in adapter.modules.items() if pair.b_bias is not None]
    if untied:
        names.append(f"{HEAD}.weight")
    for name in dict.fromkeys(names):
        module, _, kind = name.rpartition(".")
        pair = adapter.modules.get(module) if kind == "weight" or _has_bias(adapter, module) else None
        replacement = adapter.replaced.get(name)
        source = base.tensor(name)
        own_name = source.name if source is not None else name
        if source is None and module == HEAD and base.embedding is not None:
            source = base.modules[base.embedding]
        if source is None:
            raise AdapterError(f"the base model has no tensor '{name}'")
        if name in shared and replacement is not None:
            same.append((replacement.info, source))
            replacement = None
            if pair is None and not (untied and module == HEAD):
                continue
        edits[own_name] = Edit(
            own_name,
            source,
            replacement,
            pair,
            is_bias=kind == "bias",
            transposed=pair is not None and (pair.embedding or base.is_conv1d(module)),
        )
    used = {info.name for edit in edits.values() for info in edit.used} | {mine.name for mine, _ in same}
    unused = [name for name in adapter.tensors if name not in used]
    if unused:
        raise AdapterError(f"the merge would not use {some(unused)}")
    return Plan(edits, f"{HEAD}.weight" if untied else None, tuple(same))


def _has_bias(adapter: Adapter, module: str) -> bool:
    pair = adapter.modules.get(module)
    return pair is not None and pair.b_bias is not None
