"""Check an adapter against the service's limits on ranks and target modules, and against those of multi-LoRA.

`lora merge` has no such limits. Reads no files.
"""

from __future__ import annotations

from collections.abc import Iterator

from firectl.lora.read.adapter import Adapter
from firectl.lora.read.adapter_config import CONFIG
from firectl.lora.read.base_model import HEAD, BaseModel
from firectl.lora.read.findings import Finding
from firectl.lora.read.folder import quoted, some

MIN_RANK = 4
MAX_RANK = 64
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj")
EXPERT_TARGETS = ("w1", "w2", "w3")
"""Mixtral's names for the layers of an expert. Sources disagree on which one is the gate, so none is renamed."""
ROUTER = "block_sparse_moe.gate"
HEAD_BASES = ("llama", "mistral", "qwen2")
"""model_types of the bases whose lm_head an adapter may change, in live merge only."""

_LIVE_MERGE = "live merge applies it: deploy the adapter itself"
_MERGE = "firectl lora merge ADAPTER --base-model DIR --out OUT"
_IMPORT = "firectl model create MODEL_ID OUT makes the result a base"
_MERGE_ANY_RANK = f"{_MERGE} takes any rank; {_IMPORT}"
_MERGE_ANY_MODULE = f"{_MERGE} takes any module that the base model has; {_IMPORT}"


def is_allowed_target(module: str) -> bool:
    """Whether the service accepts an adapter for this module. Does not cover lm_head: see `service_rules`."""
    last = module.rpartition(".")[2]
    return last in TARGETS or (last in EXPERT_TARGETS and ".experts." in module) or f".{module}".endswith(f".{ROUTER}")


def service_rules(adapter: Adapter, base: BaseModel | None, model_type: str | None = None) -> Iterator[Finding]:
    """Report what the service refuses (errors) or ignores (warnings). `model_type` is used only if `base` is None.

    Does not report modules that are missing from the base: `fit` reports them as errors.
    """
    model_type = base.model_type if base is not None else model_type
    served = range(MIN_RANK, MAX_RANK + 1)
    module, rank = next(
        ((name, pair.rank) for name, pair in adapter.modules.items() if pair.rank not in served), ("", 0)
    )
    if module:
        field = "r" if rank == adapter.config.r else "rank_pattern"
        what = f"the rank of {quoted(module)} is {rank}; ranks from {MIN_RANK} to {MAX_RANK} are served"
        yield Finding("error", f"{CONFIG}: {field}", what, _MERGE_ANY_RANK)
    unsupported = [
        name
        for name in adapter.modules
        if not is_allowed_target(name) and name != HEAD and (base is None or name in base.modules)
    ]
    targets = f"{CONFIG}: target_modules"
    if unsupported:
        what = f"{some(unsupported)} cannot be adapted on the service; supported are {', '.join(TARGETS)} and {ROUTER}"
        yield Finding("error", targets, what, _MERGE_ANY_MODULE)
    if HEAD in adapter.modules:
        bases = ", ".join(HEAD_BASES)
        if model_type is None:
            yield Finding("warning", targets, f"{HEAD} is adapted, which works by live merge and on {bases} only")
        elif model_type not in HEAD_BASES:
            what = f"{HEAD} can be adapted on {bases}, not on {quoted(model_type)}"
            yield Finding("error", targets, what, _MERGE_ANY_MODULE)
    for field in adapter.config.features:
        yield Finding(
            "warning",
            f"{CONFIG}: {field}",
            "is applied here, but the hosted service ignores it",
            "for the hosted service, merge the adapter with firectl lora merge and upload the result as a base",
        )


def merge_only(adapter: Adapter) -> list[Finding]:
    """Return a note for each part of the adapter that multi-LoRA cannot apply. Empty if multi-LoRA can serve it all."""
    found = [(field, "is not applied") for field in adapter.config.features if field in ("use_dora", "lora_bias")]
    # A module that is adapted and also saved whole is listed in `single` below, not here.
    whole = [name for name in adapter.replaced if name.removesuffix(".weight") not in adapter.modules]
    if whole:
        why = adapter.replaced[whole[0]].why
        found.append((f"{why}s" if why == "embedding" else why, f"{some(whole)} cannot be replaced"))
    single = [
        name for name, pair in adapter.modules.items() if name == HEAD or pair.embedding or ".block_sparse_moe." in name
    ]
    if single:
        found.append(("target_modules", f"{some(single)} cannot be adapted"))
    return [Finding("note", f"{CONFIG}: {field}", f"{what} in multi-LoRA", _LIVE_MERGE) for field, what in found]
