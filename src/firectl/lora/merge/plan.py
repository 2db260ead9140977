"""Decide from headers which tensors of a base a merge changes and how, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from firectl.errors import AdapterError
from firectl.lora.check.fit import touched_ties
from firectl.lora.read.adapter import Adapter, LoraPair, Replacement
from firectl.lora.read.adapter_config import CONFIG
from firectl.lora.read.base_model import HEAD, BaseModel
from firectl.lora.read.folder import quoted, some
from firectl.lora.read.safetensors import TensorInfo


class Weighted(NamedTuple):
    """An adapter and the factor for its change. With 1.0 the adapter is applied as it was trained."""

    adapter: Adapter
    weight: float


class MergePart(NamedTuple):
    """One adapter's part of a tensor's change: its A and B, and its weight times its scaling."""

    pair: LoraPair
    factor: float


@dataclass(frozen=True, slots=True)
class Edit:
    """One changed tensor of the result: the base's `source`, or its `replacement`, plus the sum of `parts`."""

    name: str
    source: TensorInfo
    replacement: Replacement | None = None
    parts: tuple[MergePart, ...] = ()
    is_bias: bool = False
    """The tensor is a bias. Each part adds its b_bias, not its B·A."""
    transposed: bool = False
    """The weight is stored [in, out]."""

    @property
    def row_bytes(self) -> int:
        return self.source.nbytes // self.source.shape[0]

    @property
    def magnitude(self) -> TensorInfo | None:
        """The DoRA magnitude, or None. An edit with a magnitude has a single part."""
        return self.parts[0].pair.magnitude if self.parts and not self.is_bias else None

    @property
    def used(self) -> Iterator[TensorInfo]:
        """Yield the adapters' tensors that this edit uses."""
        if self.replacement is not None:
            yield self.replacement.info
        for pair, _ in self.parts:
            yield from filter(None, (pair.b_bias,) if self.is_bias else (pair.a, pair.b, pair.magnitude))


@dataclass(frozen=True, slots=True)
class MergePlan:
    edits: Mapping[str, Edit]
    """Tensor name in the result's files → its edit."""
    added: str | None
    """Name of the tensor in `edits` that the base does not have: a head that the merge unties. None without one."""
    same: tuple[tuple[TensorInfo, TensorInfo], ...]
    """(adapter's tensor, base's tensor) pairs that must have equal values, because the base ties these tensors."""

    @property
    def float32_work(self) -> tuple[int, int]:
        """(sum of numbers times rank over all changes of float32 weights, highest rank among them)."""
        edits = [edit for edit in self.edits.values() if edit.source.dtype == "F32" and not edit.is_bias]
        ranks = [(edit.source.numel, part.pair.rank) for edit in edits for part in edit.parts]
        return sum(numel * rank for numel, rank in ranks), max((rank for _, rank in ranks), default=0)


def plan_merge(chosen: Sequence[Weighted], base: BaseModel) -> MergePlan:
    """Plan the change of each tensor, for adapters that fit the base.

    AdapterError if a tensor of an adapter would not be used, or if the changes cannot be added exactly.
    """
    adding = len(chosen) > 1 or chosen[0].weight != 1.0
    shares = [_Share.of(adapter, base, adding) for adapter, _ in chosen]
    if adding:
        for (adapter, _), share in zip(chosen, shares, strict=True):
            _refuse_to_add(adapter, share)
    untied = any(share.untied for share in shares)
    edits: dict[str, Edit] = {}
    for name in dict.fromkeys(_names([adapter for adapter, _ in chosen], untied)):
        edit = _edit(name, chosen, shares, base, untied)
        if edit is not None:
            edits[edit.name] = edit
    same = tuple((share.shared[name].info, _source(base, name)) for share in shares for name in share.shared)
    used = {(info.file, info.name) for edit in edits.values() for info in edit.used}
    used |= {(mine.file, mine.name) for mine, _ in same}
    for adapter, _ in chosen:
        unused = [name for name, info in adapter.tensors.items() if (info.file, info.name) not in used]
        if unused:
            raise AdapterError(f"the merge would not use {some(unused)}")
    return MergePlan(edits, f"{HEAD}.weight" if untied else None, same)


@dataclass(frozen=True, slots=True)
class _Share:
    """How one adapter changes a base whose head is tied to its embedding, and which copies it saved."""

    shared: Mapping[str, Replacement]
    """Unchanged copies of the base's tensors, which PEFT saved beside an adapted head or embedding."""
    untied: bool

    @classmethod
    def of(cls, adapter: Adapter, base: BaseModel, adding: bool) -> _Share:
        touched = touched_ties(adapter, base)
        # A replacement cannot be added to other changes; a copy of the base's tensor changes nothing.
        copied = (*touched, *(adapter.modules if adding else ()))
        shared = {
            f"{name}.weight": adapter.replaced[f"{name}.weight"]
            for name in copied
            if f"{name}.weight" in adapter.replaced and adapter.replaced[f"{name}.weight"].why == "embedding"
        }
        untied = any(name in adapter.modules or f"{name}.weight" not in shared for name in touched)
        return cls(shared, untied)


def _refuse_to_add(adapter: Adapter, share: _Share) -> None:
    todo = "merge it alone and with the weight 1"
    if adapter.config.dora:
        raise AdapterError(
            f"{CONFIG}: use_dora: DoRA scales whole weights, which cannot be weighted or added up", hint=todo
        )
    whole = [name for name in adapter.replaced if name not in share.shared]
    if whole:
        raise AdapterError(f"the adapter replaces {some(whole)}, which cannot be weighted or added up", hint=todo)


def _names(adapters: Sequence[Adapter], untied: bool) -> Iterator[str]:
    for adapter in adapters:
        yield from (f"{module}.weight" for module in adapter.modules)
        yield from adapter.replaced
        yield from (f"{module}.bias" for module, pair in adapter.modules.items() if pair.b_bias is not None)
    if untied:
        yield f"{HEAD}.weight"


def _edit(
    name: str, chosen: Sequence[Weighted], shares: Sequence[_Share], base: BaseModel, untied: bool
) -> Edit | None:
    """Return the edit of the tensor `name`. None if the adapters only saved a copy of that tensor."""
    module, _, kind = name.rpartition(".")
    parts = []
    replacement = None
    for (adapter, weight), share in zip(chosen, shares, strict=True):
        pair = adapter.modules.get(module)
        if pair is not None and (kind == "weight" or pair.b_bias is not None):
            parts.append(MergePart(pair, weight * pair.scaling))
        if name not in share.shared:
            replacement = adapter.replaced.get(name, replacement)
    if not parts and replacement is None and not (untied and module == HEAD):
        return None
    own = base.tensor(name)
    return Edit(
        own.name if own is not None else name,
        _source(base, name),
        replacement,
        tuple(parts),
        is_bias=kind == "bias",
        transposed=bool(parts) and (parts[0].pair.embedding or base.is_conv1d(module)),
    )


def _source(base: BaseModel, name: str) -> TensorInfo:
    """Return the base's tensor of this name. For a tied head, this is the embedding."""
    found = base.tensor(name)
    if found is None and name == f"{HEAD}.weight" and base.embedding is not None:
        found = base.modules[base.embedding]
    if found is None:
        raise AdapterError(f"the base model has no tensor {quoted(name)}")
    return found
