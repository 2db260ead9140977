"""Whether an adapter belongs to a base: every tensor's place and shape, and every layer it should have.

Compares headers only; that two bases of the same shapes are different models it cannot see.
"""

from __future__ import annotations

from collections.abc import Iterator

from firectl.lora.read.adapter import FLOATS, Adapter, LoraPair
from firectl.lora.read.adapter_config import CONFIG
from firectl.lora.read.base_model import EMBEDDINGS, HEAD, BaseModel
from firectl.lora.read.findings import Finding, raise_for
from firectl.lora.read.folder import quoted, some
from firectl.lora.read.patterns import Deadline
from firectl.lora.read.safetensors import TensorInfo

_OTHER_BASE = "use the base model that the adapter was trained on"
MAX_FINDINGS = 20


def weight_of(base: BaseModel, module: str) -> TensorInfo | None:
    """The weight that a module of the model computes with; a tied head's is the embedding's."""
    if module == HEAD and base.tied and base.embedding is not None:
        module = base.embedding
    return base.modules.get(module)


def touched_ties(adapter: Adapter, base: BaseModel) -> list[str]:
    """Which of a tied base's head and embedding the adapter changes."""
    if not base.tied or base.embedding is None:
        return []
    ends = (HEAD, base.embedding)
    return [name for name in ends if name in adapter.modules or f"{name}.weight" in adapter.replaced]


def fit(adapter: Adapter, base: BaseModel) -> list[Finding]:
    """What keeps `adapter` from being applied to `base`, and what is worth knowing about it."""
    findings = []
    for finding in _all(adapter, base):
        findings.append(finding)
        if len(findings) == MAX_FINDINGS:
            break
    return findings


def _all(adapter: Adapter, base: BaseModel) -> Iterator[Finding]:
    if base.quantization is not None:
        yield Finding(
            "error",
            "base model: config.json",
            f"its weights are quantised ({quoted(base.quantization)}); a LoRA is applied to plain weights",
            "use the BF16 or FP16 form of the base model",
        )
    absent = [module for module in adapter.modules if weight_of(base, module) is None]
    if absent:
        yield Finding("error", quoted(absent[0]), f"the base model has no module {some(absent)}", _OTHER_BASE)
    for module, pair in adapter.modules.items():
        weight = weight_of(base, module)
        if weight is not None:
            yield from _pair_fits(module, pair, weight, base)
    yield from _replaced_fit(adapter, base)
    yield from _missing(adapter, base)
    yield from _tying(adapter, base)
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
            "use the BF16 or FP16 form of the base model",
        )
    elif is_embedding != pair.embedding:
        kind = "an embedding" if is_embedding else "no embedding"
        yield Finding("error", quoted(pair.a.name), f"module {quoted(module)} is {kind} in the base model", _OTHER_BASE)
    elif weight.shape != wanted:
        yield Finding(
            "error",
            quoted(pair.a.name),
            f"the adapter changes a weight of shape {list(wanted)}, the base model's {quoted(weight.name)} "
            f"has {list(weight.shape)}",
            _OTHER_BASE,
        )
    if pair.b_bias is not None:
        bias = base.tensor(f"{module}.bias")
        if bias is None:
            yield Finding(
                "error",
                quoted(pair.b_bias.name),
                f"lora_bias adds to the bias of {quoted(module)}, which has none in the base model",
                "train without lora_bias",
            )
        elif bias.shape != pair.b_bias.shape or bias.dtype not in FLOATS:
            yield Finding("error", quoted(pair.b_bias.name), _differs(pair.b_bias, bias), _OTHER_BASE)


def _replaced_fit(adapter: Adapter, base: BaseModel) -> Iterator[Finding]:
    for name, replacement in adapter.replaced.items():
        module = name.rpartition(".")[0]
        found = weight_of(base, module) if name.endswith(".weight") else base.tensor(name)
        at = quoted(replacement.info.name)
        if found is None:
            yield Finding("error", at, f"the base model has no tensor {quoted(name)}", _OTHER_BASE)
        elif found.shape != replacement.info.shape:
            todo = _OTHER_BASE
            if found.shape[1:] == replacement.info.shape[1:] and module.rpartition(".")[2] in (*EMBEDDINGS, HEAD):
                todo = "the vocabulary was resized in training: merge it into a base of that size with PEFT first"
            yield Finding("error", at, _differs(replacement.info, found), todo)
        elif found.dtype not in FLOATS or not found.numel or not found.shape:
            yield Finding(
                "error",
                at,
                f"the base model's tensor {quoted(found.name)} is {found.dtype} {list(found.shape)}",
                _OTHER_BASE,
            )


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
        yield Finding(
            "error",
            quoted(missing[0]),
            f"the adapter has no tensors for {some(missing)}, which target_modules names",
            "the adapter is incomplete, or was trained on another base model",
        )
    yield from _unsaved(adapter, base)


def idle_targets(adapter: Adapter, base: BaseModel | None) -> Iterator[Finding]:
    """Names in target_modules that no tensor of the adapter is for. Of those that the base has, `fit` speaks."""
    targets = adapter.config.targets
    if isinstance(targets.modules, str):
        return
    there = [*adapter.modules, *targets.saved]
    if base is not None:
        # What is there and was excluded, or lies in other layers than those chosen, is as it was meant.
        there += [*base.modules, *([HEAD] if base.tied else [])]
    depths = {target.count(".") + 1 for target in targets.modules}
    deadline = Deadline(CONFIG)
    ends = set()
    for name in there:
        for depth in depths:
            deadline.check()
            ends.add(".".join(name.rsplit(".", depth)[-depth:]))
    idle = [target for target in targets.modules if target not in ends]
    where = f"{CONFIG}: target_modules"
    if idle and base is None:
        what = f"names {some(idle)}, for which the adapter has no tensors"
        yield Finding("warning", where, what, "compare it with its base: --base-model says whether they are missing")
    elif idle:
        yield Finding("note", where, f"names {some(idle)}, which neither the adapter nor the base model has")


def _unsaved(adapter: Adapter, base: BaseModel) -> Iterator[Finding]:
    saved = adapter.config.targets.saved_matcher(max(map(len, base.modules), default=0))
    unsaved = [module for module in base.modules if saved(module) and f"{module}.weight" not in adapter.replaced]
    if unsaved:
        yield Finding(
            "error",
            quoted(unsaved[0]),
            f"the adapter has no tensor for {some(unsaved)}, which modules_to_save names",
            "the adapter is incomplete, or was trained on another base model",
        )


def _tying(adapter: Adapter, base: BaseModel) -> Iterator[Finding]:
    touched = touched_ties(adapter, base)
    if touched:
        yield Finding(
            "note",
            quoted(touched[0]),
            "the base model ties its head to its embedding; a merge writes them as two tensors, as the adapter needs",
        )


def _orientation(adapter: Adapter, base: BaseModel) -> Iterator[Finding]:
    stored_transposed = [module for module, pair in adapter.modules.items() if base.is_conv1d(module)]
    if adapter.config.fan_in_fan_out and len(stored_transposed) < len(adapter.modules):
        yield Finding(
            "note",
            f"{CONFIG}: fan_in_fan_out",
            "is true, but the base model's layers store [out, in]; it is ignored there, as PEFT does",
        )
    elif stored_transposed and not adapter.config.fan_in_fan_out:
        yield Finding(
            "note",
            f"{CONFIG}: fan_in_fan_out",
            "is false, but the base model's layers store [in, out]; they are read so, as PEFT does",
        )


def require_fit(adapter: Adapter, base: BaseModel) -> list[Finding]:
    """`fit`, with an AdapterError if anything in it is an error."""
    findings = fit(adapter, base)
    raise_for(findings)
    return findings
