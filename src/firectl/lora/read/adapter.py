"""What an adapter folder holds: its config, and for every module it changes the tensors that do it.

Every tensor of the file finds its place or is refused by name. Reads headers only, whatever the size of the weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.errors import AdapterError
from firectl.lora.read.adapter_config import CONFIG, AdapterConfig, parse_config
from firectl.lora.read.folder import open_folder, quoted, read_json, refuse_outside_links, regular_file, some
from firectl.lora.read.patterns import Pattern, by_pattern
from firectl.lora.read.safetensors import TensorInfo, read_header

if TYPE_CHECKING:
    from firectl.lora.read.bin_file import SafetensorsCopy

SAFETENSORS = "adapter_model.safetensors"
BIN = "adapter_model.bin"
EXTRA_FILES = ("fireworks.json",)
"""Files that belong to an adapter when they are there."""

PREFIX = "base_model.model."
FLOATS = ("F32", "F16", "BF16")
MAX_MODULES = 200_000

# The adapter's name stands in the middle of some: PEFT wrote `lora_A.default.weight` once.
_NAMED = r"(?:\.(?!weight$|bias$)[^.]+)?"
_FACTOR = re.compile(
    rf"(?P<module>.+)\.(?P<part>lora_(?:A|B){_NAMED}\.weight|lora_B{_NAMED}\.bias|lora_embedding_(?:A|B){_NAMED}"
    rf"|lora_magnitude_vector{_NAMED}(?:\.weight)?)"
)
_EMBEDDINGS = ("embed_tokens", "lm_head")
"""Layers that PEFT saves whole beside their adapter, or when the vocabulary was resized."""


@dataclass(frozen=True, slots=True)
class LoraPair:
    """The change of one module: scaling · B·A, of shapes A [rank, in] and B [out, rank].

    For an embedding A is [rank, vocabulary] and B [hidden, rank], and the change of its table is the transpose.
    """

    a: TensorInfo
    b: TensorInfo
    rank: int
    scaling: float
    embedding: bool = False
    magnitude: TensorInfo | None = None
    """DoRA's magnitude of each output, [out]."""
    b_bias: TensorInfo | None = None
    """lora_bias: added to the module's bias, times scaling, [out]."""

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return tuple(info for info in (self.a, self.b, self.magnitude, self.b_bias) if info is not None)


@dataclass(frozen=True, slots=True)
class Replacement:
    """A tensor of the base that the adapter carries whole."""

    info: TensorInfo
    why: str
    """modules_to_save, bias, or embedding (saved beside its adapter, or because it was resized)."""


@dataclass(frozen=True, slots=True)
class Adapter:
    path: Path
    config: AdapterConfig
    format: str
    """safetensors or bin."""
    files: tuple[str, ...]
    """The names of the files that are the adapter."""
    modules: Mapping[str, LoraPair]
    """By the module's name in the base: `model.layers.0.self_attn.q_proj`."""
    replaced: Mapping[str, Replacement]
    """By the tensor's name in the base: `lm_head.weight`."""
    tensors: Mapping[str, TensorInfo]
    """By the name in the adapter's file."""
    ignored_files: tuple[str, ...] = ()
    """Weights that lie in the folder too and are not read."""
    copy: SafetensorsCopy | None = field(default=None, repr=False, compare=False)
    """Keeps the file that `tensors` of a `.bin` lie in."""

    @classmethod
    def open(cls, path: Path) -> Adapter:
        """Read the folder's config and headers. AdapterError names the file, field or tensor that is wrong."""
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
    from firectl.lora.read.bin_file import SafetensorsCopy  # as much to import again, for a format that few still write

    return SafetensorsCopy(path)


def _no_adapter(folder: Path) -> AdapterError:
    if regular_file(folder, "adapters.safetensors") is not None or regular_file(folder, "adapters.npz") is not None:
        return AdapterError(
            "adapters.safetensors is an MLX adapter's; only PEFT adapters are read",
            hint=f"convert it to a PEFT folder ({CONFIG} with peft_type LORA, {SAFETENSORS})",
        )
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
                hint="only PEFT's names are read; save the adapter with model.save_pretrained()",
            )
        if info.dtype not in FLOATS:
            raise AdapterError(f"{file}: tensor {quoted(name)} is {info.dtype}, not one of {', '.join(FLOATS)}")
        found = _FACTOR.fullmatch(name.removeprefix(PREFIX))
        if found is None:
            whole[name] = info
            continue
        part = found["part"].partition(".")[0] + (".bias" if found["part"].endswith(".bias") else "")
        module = parts.setdefault(found["module"], {})
        if part in module:
            raise AdapterError(f"{file}: tensors {quoted(module[part].name)} and {quoted(name)} are the same one twice")
        module[part] = info
    if not parts:
        raise AdapterError(f"{file} holds no lora_A or lora_B tensor: no LoRA adapter")
    if len(parts) > MAX_MODULES:
        raise AdapterError(f"{file} changes {len(parts)} modules; the limit is {MAX_MODULES}")
    tied = [module for module in parts if module.endswith(_EMBEDDINGS)]
    if config.ensure_weight_tying and (tied or set(config.modules_to_save) & {*_EMBEDDINGS}):
        raise AdapterError(
            f"{CONFIG}: ensure_weight_tying is set, and the adapter changes the embedding or the head: not supported",
            hint="merge it with PEFT and deploy the merged model",
        )
    _refuse_untargeted(parts, config, file)
    ranks = by_pattern(config.rank_pattern, parts, config.r, f"{CONFIG}: rank_pattern")
    alphas = by_pattern(config.alpha_pattern, parts, config.alpha, f"{CONFIG}: alpha_pattern")
    modules = {
        module: _pair(module, found, ranks[module], config.scaling(ranks[module], alphas[module]), config, file)
        for module, found in sorted(parts.items(), key=lambda item: natural(item[0]))
    }
    return modules, _replacements(whole, config, file)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A sort key that puts layer 10 after layer 9."""
    return tuple((int(piece), "") if piece.isdecimal() else (-1, piece) for piece in name.split("."))


def _refuse_untargeted(modules: Iterable[str], config: AdapterConfig, file: str) -> None:
    names = list(modules)
    targeted = config.targets.matcher(max(map(len, names)))
    strays = [
        name for name in names if not targeted(name) or (config.targets.all_linear and name.endswith(_EMBEDDINGS))
    ]
    if strays:
        raise AdapterError(
            f"{file} changes {some(strays)}, which target_modules in {CONFIG} does not name",
            hint="one of the two files is not this adapter's; save it again with model.save_pretrained()",
        )


def _pair(
    module: str, found: Mapping[str, TensorInfo], rank: int, scaling: float, config: AdapterConfig, file: str
) -> LoraPair:
    embedding = "lora_embedding_A" in found or "lora_embedding_B" in found
    names = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A", "lora_B")
    for name in names:
        if name not in found:
            raise AdapterError(f"{file}: module {quoted(module)} has no {name}", hint="the adapter is incomplete")
    allowed = {*names}
    if config.dora:
        allowed.add("lora_magnitude_vector")
        if "lora_magnitude_vector" not in found:
            raise AdapterError(f"{file}: use_dora is set, but module {quoted(module)} has no lora_magnitude_vector")
    if config.lora_bias:
        allowed.add("lora_B.bias")
        if "lora_B.bias" not in found:
            raise AdapterError(f"{file}: lora_bias is set, but module {quoted(module)} has no lora_B bias")
    for part, info in found.items():
        if part not in allowed:
            raise AdapterError(f"{file}: tensor {quoted(info.name)} is not part of this adapter by its {CONFIG}")
    a, b = (found[name] for name in names)
    for info, axis, side in ((a, 0, "rows"), (b, 1, "columns")):
        if len(info.shape) != 2 or 0 in info.shape:
            raise AdapterError(
                f"{file}: tensor {quoted(info.name)} has the shape {list(info.shape)}, not two dimensions",
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
                f"{file}: tensor {quoted(vector.name)} has the shape {list(vector.shape)}, not [{b.shape[0]}]"
            )
    if embedding and (magnitude or b_bias):
        raise AdapterError(f"{file}: DoRA or lora_bias on the embedding {quoted(module)} cannot be applied")
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
            raise AdapterError(
                f"{file}: tensor {quoted(name)} is not part of a LoRA adapter", hint=f"{CONFIG} does not announce it"
            )
        target = f"{module.removesuffix('.base_layer')}.{kind}"
        if target in replaced:
            raise AdapterError(f"{file}: tensors {quoted(replaced[target].info.name)} and {quoted(name)} are one twice")
        replaced[target] = Replacement(info, why)
    _require_saved(replaced, config, file)
    return replaced


def _require_saved(replaced: Mapping[str, Replacement], config: AdapterConfig, file: str) -> None:
    # For other tasks PEFT adds names of its own, such as `score`, of which a model has one or the other.
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
