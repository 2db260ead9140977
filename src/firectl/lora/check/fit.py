"""Check whether an adapter fits a base: compare the name and shape of each tensor, and find missing layers.

Compares headers only, so it cannot tell apart two different models of the same shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from firectl.lora.read.adapter import FLOATS, Adapter, LoraPair
from firectl.lora.read.adapter_config import CONFIG
from firectl.lora.read.base_model import EMBEDDINGS, HEAD, BaseModel
from firectl.lora.read.findings import Finding, raise_for
from firectl.lora.read.folder import quoted, some
from firectl.lora.read.patterns import Deadline
from firectl.lora.read.safetensors import TensorInfo

_OTHER_BASE = "use the base model that the adapter was trained on"
_PLAIN_BASE = "use the BF16 or FP16 form of the base model"
_INCOMPLETE = "the adapter is incomplete, or was trained on another base model"
MAX_FINDINGS = 20


def weight_of(base: BaseModel, module: str) -> TensorInfo | None:
    """Return the weight of a module of the base, or None. For a tied head, this is the embedding's weight."""
    if module == HEAD and base.tied and base.embedding is not None:
        module = base.embedding
    return base.modules.get(module)


def touched_ties(adapter: Adapter, base: BaseModel) -> list[str]:
    """Return which of a tied base's two modules, head and embedding, the adapter changes."""
    if not base.tied or base.embedding is None:
        return []
    ends = (HEAD, base.embedding)
    return [name for name in ends if name in adapter.modules or f"{name}.weight" in adapter.replaced]


def fit(adapter: Adapter, base: BaseModel) -> list[Finding]:
    """Return the first MAX_FINDINGS errors and notes about `adapter` on `base`."""
    return list(islice(_all(adapter, base), MAX_FINDINGS))


def _other_base(tensor: str, what: str) -> Finding:
    return Finding("error", quoted(tensor), what, _OTHER_BASE)


def _all(adapter: Adapter, base: BaseModel) -> Iterator[Finding]:
    if base.quantization is not None:
        yield Finding(
            "error",
            "base model: config.json",
            f"its weights are quantised ({quoted(base.quantization)}); a LoRA is applied to plain weights",
            _PLAIN_BASE,
        )
    weights = {module: weight_of(base, module) for module in adapter.modules}
    absent = [module for module, weight in weights.items() if weight is None]
    if absent:
        yield _other_base(absent[0], f"the base model has no module {some(absent)}")
    for module, weight in weights.items():
        if weight is not None:
            yield from _pair_fits(module, adapter.modules[module], weight, base)
    yield from _replaced_fit(adapter, base)
    yield from _missing(adapter, base)
    touched = touched_ties(adapter, base)
    if touched:
        what = "the base model ties its head to its embedding; a merge writes them as two tensors"
        yield Finding("note", quoted(touched[0]), what)
    yield from _orientation(adapter, base)


def _pair_fits(module: str, pair: LoraPair, weight: TensorInfo, base: BaseModel) -> Iterator[Finding]:
    is_embedding = module.rpartition(".")[2] in EMBEDDINGS
    inputs, outputs = pair.a.shape[1], pair.b.shape[0]
    transposed = base.is_conv1d(module) or pair.embedding
    wanted = (inputs, outputs) if transposed else (outputs, inputs)
    if weight.dtype not in FLOATS:
        yield Finding(
            "error",
            quoted(weight.name),
            f"the base model's weight is {weight.dtype}; a LoRA is applied to {', '.join(FLOATS)}",
            _PLAIN_BASE,
        )
    elif is_embedding != pair.embedding:
        kind = "an embedding" if is_embedding else "not an embedding"
        yield _other_base(pair.a.name, f"module {quoted(module)} is {kind} in the base model")
    elif weight.shape != wanted:
        what = f"the adapter changes a weight of shape {list(wanted)}, the base model's {quoted(weight.name)} has "
        yield _other_base(pair.a.name, what + f"{list(weight.shape)}")
    if pair.b_bias is not None:
        bias = base.tensor(f"{module}.bias")
        if bias is None:
            what = f"lora_bias adds to the bias of {quoted(module)}, which has none in the base model"
            yield Finding("error", quoted(pair.b_bias.name), what, "train without lora_bias")
        elif bias.shape != pair.b_bias.shape or bias.dtype not in FLOATS:
            yield _other_base(pair.b_bias.name, _differs(pair.b_bias, bias))


def _replaced_fit(adapter: Adapter, base: BaseModel) -> Iterator[Finding]:
    for name, replacement in adapter.replaced.items():
        module = name.rpartition(".")[0]
        found = weight_of(base, module) if name.endswith(".weight") else base.tensor(name)
        own = replacement.info
        if found is None:
            yield _other_base(own.name, f"the base model has no tensor {quoted(name)}")
        elif found.shape != own.shape:
            todo = _OTHER_BASE
            if found.shape[1:] == own.shape[1:] and module.rpartition(".")[2] in (*EMBEDDINGS, HEAD):
                todo = "training resized the vocabulary: first merge it with PEFT into a base of that size"
            yield Finding("error", quoted(own.name), _differs(own, found), todo)
        elif found.dtype not in FLOATS or not found.numel or not found.shape:
            what = f"the base model's tensor {quoted(found.name)} is {found.dtype} {list(found.shape)}"
            yield _other_base(own.name, what)


def _differs(mine: TensorInfo, theirs: TensorInfo) -> str:
    return f"has the shape {list(mine.shape)}, the base model's {quoted(theirs.name)} is {list(theirs.shape)}"


def _missing(adapter: Adapter, base: BaseModel) -> Iterator[Finding]:
    targets = adapter.config.targets
    candidates = [module for module, weight in base.modules.items() if len(weight.shape) == 2]
    if base.tied:
        candidates.append(HEAD)
    if targets.all_linear:
        candidates = [name for name in candidates if name.rpartition(".")[2] not in (*EMBEDDINGS, "wpe", HEAD)]
    targeted = targets.matcher(max(map(len, candidates), default=0))
    deadline = Deadline(CONFIG)
    missing = []
    for module in candidates:
        deadline.check()
        if module not in adapter.modules and targeted(module):
            missing.append(module)
    if missing:
        what = f"the adapter has no tensors for {some(missing)}, which target_modules names"
        yield Finding("error", quoted(missing[0]), what, _INCOMPLETE)
    saved = targets.saved_matcher(max(map(len, base.modules), default=0))
    unsaved = [module for module in base.modules if saved(module) and f"{module}.weight" not in adapter.replaced]
    if unsaved:
        what = f"the adapter has no tensor for {some(unsaved)}, which modules_to_save names"
        yield Finding("error", quoted(unsaved[0]), what, _INCOMPLETE)


def idle_targets(adapter: Adapter, base: BaseModel | None) -> Iterator[Finding]:
    """Report names in target_modules that match no tensor of the adapter and no module of the base."""
    targets = adapter.config.targets
    if isinstance(targets.modules, str):
        return
    known = [*adapter.modules, *targets.saved]
    if base is not None:
        # A name that matches only an excluded module or layer of the base is not idle.
        known += [*base.modules, *([HEAD] if base.tied else [])]
    depths = {target.count(".") + 1 for target in targets.modules}
    deadline = Deadline(CONFIG)
    ends = set()
    for name in known:
        for depth in depths:
            deadline.check()
            ends.add(".".join(name.rsplit(".", depth)[-depth:]))
    idle = [target for target in targets.modules if target not in ends]
    where = f"{CONFIG}: target_modules"
    if idle and base is None:
        what = f"names {some(idle)}, for which the adapter has no tensors"
        yield Finding("warning", where, what, "compare it with its base: --base-model shows whether they are missing")
    elif idle:
        yield Finding("note", where, f"names {some(idle)}, which neither the adapter nor the base model has")


def _orientation(adapter: Adapter, base: BaseModel) -> Iterator[Finding]:
    stored_transposed = [module for module in adapter.modules if base.is_conv1d(module)]
    where = f"{CONFIG}: fan_in_fan_out"
    if adapter.config.fan_in_fan_out and len(stored_transposed) < len(adapter.modules):
        yield Finding("note", where, "is true, but the base model's layers store [out, in]: ignored there, as in PEFT")
    elif stored_transposed and not adapter.config.fan_in_fan_out:
        yield Finding("note", where, "is false, but the base model's layers store [in, out]: ignored, as in PEFT")


def require_fit(adapter: Adapter, base: BaseModel) -> list[Finding]:
    """Return the findings of `fit`. Raise AdapterError if one of them is an error."""
    findings = fit(adapter, base)
    raise_for(findings)
    return findings
