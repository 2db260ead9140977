"""What the service lets an adapter be: ranks, target modules, and which way of deploying takes it.

An offline merge is not bound by these. Knows no files and reads nothing.
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
"""Mixtral's names; which of them is the gate differs between texts, so they only ever stand for themselves."""
ROUTER = "block_sparse_moe.gate"
HEAD_BASES = ("llama", "mistral", "qwen2")
"""model_types whose lm_head may be adapted, by live merge only."""

_LIVE_MERGE = "live merge applies it: deploy the adapter itself"
_MERGE = "firectl lora merge ADAPTER --base-model DIR --out OUT"
_IMPORT = "firectl model create MODEL_ID OUT makes the result a base"
_MERGE_ANY_RANK = f"{_MERGE} takes any rank; {_IMPORT}"
_MERGE_ANY_MODULE = f"{_MERGE} takes any module that the base model has; {_IMPORT}"


def is_allowed_target(module: str) -> bool:
    """Whether the service takes an adapter for this module; lm_head has a rule of its own."""
    last = module.rpartition(".")[2]
    return last in TARGETS or (last in EXPERT_TARGETS and ".experts." in module) or f".{module}".endswith(f".{ROUTER}")


def service_rules(adapter: Adapter, base: BaseModel | None, model_type: str | None = None) -> Iterator[Finding]:
    """What the service refuses (errors) or loses in silence (warnings); `model_type` is the base's if it is not here.

    Of modules that the base has not, `fit` speaks: no way of deploying takes them.
    """
    model_type = base.model_type if base is not None else model_type
    for module, pair in adapter.modules.items():
        if not MIN_RANK <= pair.rank <= MAX_RANK:
            field = "r" if pair.rank == adapter.config.r else "rank_pattern"
            yield Finding(
                "error",
                f"{CONFIG}: {field}",
                f"the rank of {quoted(module)} is {pair.rank}; ranks from {MIN_RANK} to {MAX_RANK} are served",
                _MERGE_ANY_RANK,
            )
            break
    unsupported = [
        name
        for name in adapter.modules
        if not is_allowed_target(name) and name != HEAD and (base is None or name in base.modules)
    ]
    if unsupported:
        yield Finding(
            "error",
            f"{CONFIG}: target_modules",
            f"{some(unsupported)} cannot be adapted on the service; supported are {', '.join(TARGETS)} and {ROUTER}",
            _MERGE_ANY_MODULE,
        )
    if HEAD in adapter.modules:
        yield from _head(model_type)
    yield from _lost_on_the_service(adapter)


def _head(model_type: str | None) -> Iterator[Finding]:
    where = f"{CONFIG}: target_modules"
    bases = ", ".join(HEAD_BASES)
    if model_type is None:
        yield Finding("warning", where, f"{HEAD} is adapted, which works by live merge and on {bases} only")
    elif model_type not in HEAD_BASES:
        what = f"{HEAD} can be adapted on {bases}, not on {quoted(model_type)}"
        yield Finding("error", where, what, _MERGE_ANY_MODULE)


def _lost_on_the_service(adapter: Adapter) -> Iterator[Finding]:
    config = adapter.config
    fields = {
        "use_rslora": config.rslora,
        "use_dora": config.dora,
        "lora_bias": config.lora_bias,
        "bias": config.bias != "none",
        "rank_pattern": bool(config.rank_pattern),
        "alpha_pattern": bool(config.alpha_pattern),
        "modules_to_save": bool(config.modules_to_save),
    }
    for field, is_set in fields.items():
        if is_set:
            yield Finding(
                "warning",
                f"{CONFIG}: {field}",
                "is applied here, but the hosted service ignores it",
                "for the hosted service, merge the adapter with firectl lora merge and upload the result as a base",
            )


def merge_only(adapter: Adapter) -> list[Finding]:
    """What of the adapter cannot be applied beside other adapters on one base; empty if multi-LoRA serves it."""
    found = []
    config = adapter.config
    for field, is_set in (("use_dora", config.dora), ("lora_bias", config.lora_bias)):
        if is_set:
            found.append(Finding("note", f"{CONFIG}: {field}", "is not applied in multi-LoRA", _LIVE_MERGE))
    # What is saved beside an adapted head is said by the head itself.
    whole = [name for name in adapter.replaced if name.removesuffix(".weight") not in adapter.modules]
    if whole:
        fields = {"modules_to_save": "modules_to_save", "bias": "bias"}
        field = fields.get(adapter.replaced[whole[0]].why, "embeddings")
        found.append(
            Finding("note", f"{CONFIG}: {field}", f"{some(whole)} cannot be replaced in multi-LoRA", _LIVE_MERGE)
        )
    single = [
        name for name, pair in adapter.modules.items() if name == HEAD or pair.embedding or ".block_sparse_moe." in name
    ]
    if single:
        found.append(
            Finding("note", f"{CONFIG}: target_modules", f"{some(single)} cannot be adapted in multi-LoRA", _LIVE_MERGE)
        )
    return found
