"""Read an adapter's folder: its config, and the tensors for each module that the adapter changes.

Refuses an adapter with a tensor whose role is unknown. Reads headers only, never weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.errors import AdapterError
from firectl.lora.read.adapter_config import CONFIG, AdapterConfig, mlx_adapter, parse_config
from firectl.lora.read.folder import open_folder, quoted, read_json, refuse_outside_links, regular_file, some
from firectl.lora.read.patterns import Pattern, by_pattern
from firectl.lora.read.safetensors import TensorInfo, read_header

if TYPE_CHECKING:
    from firectl.lora.read.bin_file import SafetensorsCopy

SAFETENSORS = "adapter_model.safetensors"
BIN = "adapter_model.bin"
EXTRA_FILES = ("fireworks.json",)
"""Optional files of an adapter, besides config and weights."""

PREFIX = "base_model.model."
FLOATS = ("F32", "F16", "BF16")
MAX_MODULES = 200_000

# Old versions of PEFT put the adapter's name into some tensor names: `lora_A.default.weight`.
_NAMED = r"(?:\.(?!weight$|bias$)[^.]+)?"
_FACTOR = re.compile(
    rf"(?P<module>.+)\.(?P<part>lora_(?:A|B){_NAMED}\.weight|lora_B{_NAMED}\.bias|lora_embedding_(?:A|B){_NAMED}"
    rf"|lora_magnitude_vector{_NAMED}(?:\.weight)?)"
)
_EMBEDDINGS = ("embed_tokens", "lm_head")
"""Layers that PEFT also saves whole, beside their adapter or after the vocabulary was resized."""


@dataclass(frozen=True, slots=True)
class LoraPair:
    """The change of one module: scaling · B·A, with A [rank, in] and B [out, rank].

    For an embedding A is [rank, vocabulary] and B [hidden, rank]; the transpose of B·A is added to its table.
    """

    a: TensorInfo
    b: TensorInfo
    rank: int
    scaling: float
    embedding: bool = False
    magnitude: TensorInfo | None = None
    """[out]: DoRA's magnitude of each output. None without DoRA."""
    b_bias: TensorInfo | None = None
    """[out]: the tensor of lora_bias. Scaling times this tensor is added to the module's bias."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A tensor of the adapter that replaces a whole tensor of the base."""

    info: TensorInfo
    why: str
    """Why the adapter has this tensor: `modules_to_save`, `bias` or `embedding`."""


@dataclass(frozen=True, slots=True)
class Adapter:
    path: Path
    config: AdapterConfig
    format: str
    """The format of the weights: `safetensors` or `bin`."""
    files: tuple[str, ...]
    """The names of the adapter's files: config, weights, others."""
    modules: Mapping[str, LoraPair]
    """Module name in the base, such as `model.layers.0.self_attn.q_proj` → its LoRA pair."""
    replaced: Mapping[str, Replacement]
    """Tensor name in the base, such as `lm_head.weight` → its replacement."""
    tensors: Mapping[str, TensorInfo]
    """Tensor name in the adapter's file → its dtype, shape and position."""
    ignored_files: tuple[str, ...] = ()
    """Names of other weight files in the folder, which are not read."""
    copy: SafetensorsCopy | None = field(default=None, repr=False, compare=False)
    """The temporary safetensors copy of a `.bin`. The file exists as long as this object."""

    @classmethod
    def open(cls, path: Path) -> Adapter:
        """Read the folder's config and the tensor headers. AdapterError says which file, field or tensor is invalid."""
        folder = open_folder(Path(path), "adapter")
        refuse_outside_links(folder)
        config_file = regular_file(folder, CONFIG)
        if config_file is None:
            raise _no_adapter(folder)
        config = parse_config(read_json(config_file))
        names = [name for name in (SAFETENSORS, BIN) if regular_file(folder, name) is not None]
        if not names:
            raise _no_adapter(folder)
        weights = folder / names[0]
        copy = None if names[0] == SAFETENSORS else _copy_of_bin(weights)
        tensors = read_header(copy.path if copy else weights).tensors
        modules, replaced = _sort(tensors, config, weights.name)
        extra = [name for name in EXTRA_FILES if regular_file(folder, name) is not None]
        return cls(
            path=folder,
            config=config,
            format="safetensors" if names[0] == SAFETENSORS else "bin",
            files=(CONFIG, names[0], *extra),
            modules=modules,
            replaced=replaced,
            tensors=tensors,
            ignored_files=tuple(names[1:]),
            copy=copy,
        )


def _copy_of_bin(path: Path) -> SafetensorsCopy:
    from firectl.lora.read.bin_file import SafetensorsCopy  # doubles the import time, and few adapters are a .bin

    return SafetensorsCopy(path)


def _no_adapter(folder: Path) -> AdapterError:
    if regular_file(folder, "adapters.safetensors") is not None or regular_file(folder, "adapters.npz") is not None:
        return mlx_adapter("adapters.safetensors")
    missing = CONFIG if regular_file(folder, CONFIG) is None else f"{SAFETENSORS} (or {BIN})"
    hint = "give the folder that model.save_pretrained() wrote"
    if regular_file(folder, "config.json") is not None:
        hint = "this is a base model; give the folder of the adapter"
    return AdapterError(f"{missing} is missing from the adapter's folder", hint=hint)


def _sort(
    tensors: Mapping[str, TensorInfo], config: AdapterConfig, file: str
) -> tuple[dict[str, LoraPair], dict[str, Replacement]]:
    parts: dict[str, dict[str, TensorInfo]] = {}
    whole: dict[str, TensorInfo] = {}
    for name, info in tensors.items():
        if not name.startswith(PREFIX):
            raise AdapterError(
                f"{file}: tensor {quoted(name)} does not begin with {PREFIX}",
                hint="only PEFT's names are supported; save the adapter with model.save_pretrained()",
            )
        if info.dtype not in FLOATS:
            raise AdapterError(f"{file}: tensor {quoted(name)} is {info.dtype}, expected one of {', '.join(FLOATS)}")
        found = _FACTOR.fullmatch(name.removeprefix(PREFIX))
        if found is None:
            whole[name] = info
            continue
        part = found["part"].partition(".")[0] + (".bias" if found["part"].endswith(".bias") else "")
        module = parts.setdefault(found["module"], {})
        if part in module:
            raise _duplicate(file, module[part], name)
        module[part] = info
    if not parts:
        raise AdapterError(f"{file} has no lora_A or lora_B tensor, so it is not a LoRA adapter")
    if len(parts) > MAX_MODULES:
        raise AdapterError(f"{file} changes {len(parts)} modules; the limit is {MAX_MODULES}")
    embeddings = {module for module in parts if module.endswith(_EMBEDDINGS)}
    if config.ensure_weight_tying and (embeddings or set(config.modules_to_save) & {*_EMBEDDINGS}):
        raise AdapterError(
            f"{CONFIG}: ensure_weight_tying is not supported for an adapter that changes the embedding or the head",
            hint="merge it with PEFT and deploy the merged model",
        )
    targeted = config.targets.matcher(max(map(len, parts)))
    strays = [name for name in parts if not targeted(name) or (config.targets.all_linear and name in embeddings)]
    if strays:
        raise AdapterError(
            f"{file} changes {some(strays)}, which target_modules in {CONFIG} does not name",
            hint="the two files belong to different adapters; save it again with model.save_pretrained()",
        )
    ranks = by_pattern(config.rank_pattern, parts, config.r, f"{CONFIG}: rank_pattern")
    alphas = by_pattern(config.alpha_pattern, parts, config.alpha, f"{CONFIG}: alpha_pattern")
    modules = {
        module: _pair(module, found, ranks[module], config.scaling(ranks[module], alphas[module]), config, file)
        for module, found in sorted(parts.items(), key=lambda item: natural(item[0]))
    }
    return modules, _replacements(whole, config, file)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that puts layer 10 after layer 9."""
    return tuple((int(piece), "") if piece.isdecimal() else (-1, piece) for piece in name.split("."))


def _duplicate(file: str, first: TensorInfo, second: str) -> AdapterError:
    return AdapterError(f"{file}: tensors {quoted(first.name)} and {quoted(second)} are two names of the same tensor")


def _pair(
    module: str, found: Mapping[str, TensorInfo], rank: int, scaling: float, config: AdapterConfig, file: str
) -> LoraPair:
    embedding = "lora_embedding_A" in found or "lora_embedding_B" in found
    names = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A", "lora_B")
    # Part of a LoRA pair → the config field that requires it.
    wanted = dict.fromkeys(names, "")
    if config.dora:
        wanted["lora_magnitude_vector"] = "use_dora is set, but "
    if config.lora_bias:
        wanted["lora_B.bias"] = "lora_bias is set, but "
    for name, field_set in wanted.items():
        if name not in found:
            raise AdapterError(
                f"{file}: {field_set}module {quoted(module)} has no {name}", hint="the adapter is incomplete"
            )
    for part, info in found.items():
        if part not in wanted:
            raise AdapterError(f"{file}: {CONFIG} does not declare tensor {quoted(info.name)}")
    a, b = (found[name] for name in names)
    for info, axis, side in ((a, 0, "rows"), (b, 1, "columns")):
        if len(info.shape) != 2 or 0 in info.shape:
            raise AdapterError(
                f"{file}: tensor {quoted(info.name)} has the shape {list(info.shape)}, expected two dimensions",
                hint="sharded training must gather the weights before it saves them",
            )
        if info.shape[axis] != rank:
            raise AdapterError(
                f"{file}: tensor {quoted(info.name)} has {info.shape[axis]} {side}, but its rank in {CONFIG} is {rank}",
                hint="r or rank_pattern belongs to another adapter",
            )
    magnitude, b_bias = found.get("lora_magnitude_vector"), found.get("lora_B.bias")
    for vector in (magnitude, b_bias):
        if vector is not None and vector.shape != (b.shape[0],):
            raise AdapterError(
                f"{file}: tensor {quoted(vector.name)} has the shape {list(vector.shape)}, expected [{b.shape[0]}]"
            )
    if embedding and (magnitude or b_bias):
        raise AdapterError(f"{file}: DoRA and lora_bias cannot be applied to the embedding {quoted(module)}")
    return LoraPair(a, b, rank, scaling, embedding, magnitude, b_bias)


def _replacements(whole: Mapping[str, TensorInfo], config: AdapterConfig, file: str) -> dict[str, Replacement]:
    saved = config.targets.saved_matcher(max(map(len, whole), default=0))
    replaced: dict[str, Replacement] = {}
    for name, info in whole.items():
        own = name.removeprefix(PREFIX)
        module, _, kind = own.rpartition(".")
        if saved(module):
            why = "modules_to_save"
        elif kind == "bias" and config.bias != "none":
            why = "bias"
        elif kind == "weight" and module.removesuffix(".base_layer").rpartition(".")[2] in _EMBEDDINGS:
            why = "embedding"
        else:
            raise AdapterError(f"{file}: {CONFIG} does not declare tensor {quoted(name)}")
        target = f"{module.removesuffix('.base_layer')}.{kind}"
        if target in replaced:
            raise _duplicate(file, replaced[target].info, name)
        replaced[target] = Replacement(info, why)
    _require_saved(replaced, config, file)
    return replaced


def _require_saved(replaced: Mapping[str, Replacement], config: AdapterConfig, file: str) -> None:
    # For other tasks PEFT adds names such as `score`, and a model has only one of them.
    if config.task_type not in (None, "CAUSAL_LM"):
        return
    longest = max(map(len, replaced), default=0)
    for name in config.modules_to_save:
        saved = Pattern(rf"(^|.*\.){name}($|\..*)", f"{CONFIG}: modules_to_save", longest)
        if not any(saved.match(tensor.rpartition(".")[0]) for tensor in replaced):
            raise AdapterError(
                f"{file} has no tensor of {quoted(name)}, which modules_to_save in {CONFIG} names",
                hint="the adapter is incomplete; save it again with model.save_pretrained()",
            )
