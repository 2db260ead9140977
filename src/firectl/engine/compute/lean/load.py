"""Read a folder's files into a `LeanModel`, tensor by tensor.

Must not import transformers, because this import takes longer than the rest of the start.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from firectl.engine.compute.attention import MaskRules
from firectl.engine.compute.lean.bank import modules_of
from firectl.engine.compute.lean.config import LeanConfig, eos_of
from firectl.engine.compute.lean.model import DOWN, GATE_UP, OUTPUT, QKV, DecoderLayer, LeanModel
from firectl.engine.compute.packed_linear import PackedLinear
from firectl.errors import AdapterError
from firectl.lora.read.base_model import BaseModel
from firectl.lora.weights import DTYPES, read_tensor


def readable(base: BaseModel) -> bool:
    """Whether all of the folder's tensors are plain floats."""
    return all(info.dtype in DTYPES for info in base.tensors.values())


def read_model(base: BaseModel, config: LeanConfig, dtype: torch.dtype, device: torch.device) -> LeanModel:
    """Read the model. AdapterError if a tensor of the model is missing or has another shape."""
    # transformers does not tie a model whose files contain a head, whatever the config says.
    tied = config.tied and base.tensor("lm_head.weight") is None
    shapes = _shapes(config, tied)
    found = {name: info for name, shape in shapes.items() if (info := base.tensor(name)) and info.shape == shape}
    lacking = [name for name in shapes if name not in found]
    if lacking:
        raise AdapterError(
            f"{base.path}: the checkpoint lacks {len(lacking)} tensors of the model, such as {lacking[0]}"
        )

    def read(*names: str) -> torch.Tensor:
        tensors = [read_tensor(found[name]).to(device, dtype) for name in names]
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    embeddings = read("model.embed_tokens.weight")
    layers = tuple(_decoder_layer(read, config, layer) for layer in range(config.layers))
    head = PackedLinear(embeddings if tied else read("lm_head.weight"))
    return LeanModel(config, embeddings, layers, read("model.norm.weight"), head)


def generation_eos(folder: Path) -> frozenset[int]:
    """Return the token ids in generation_config.json that end an answer."""
    try:
        settings = json.loads((folder / "generation_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return frozenset()
    return eos_of(settings) if isinstance(settings, dict) else frozenset()


def _decoder_layer(read: Callable[..., torch.Tensor], config: LeanConfig, layer: int) -> DecoderLayer:
    def linear(part: int, bias: bool = False) -> PackedLinear:
        names = [module.name for module in modules_of(config, layer, part)]
        weight = read(*(f"{name}.weight" for name in names))
        return PackedLinear(weight, read(*(f"{name}.bias" for name in names)) if bias else None)

    at = f"model.layers.{layer}"
    return DecoderLayer(
        linears=(linear(QKV, config.qkv_bias), linear(OUTPUT), linear(GATE_UP), linear(DOWN)),
        norms=(
            read(f"{at}.input_layernorm.weight"),
            read(f"{at}.post_attention_layernorm.weight"),
        ),
        head_norms=(read(f"{at}.self_attn.q_norm.weight"), read(f"{at}.self_attn.k_norm.weight"))
        if config.head_norms
        else None,
        mask_rules=MaskRules(config.head_size**-0.5, config.windows[layer]),
    )


def _shapes(config: LeanConfig, tied: bool) -> dict[str, tuple[int, ...]]:
    """Return tensor name in the checkpoint → shape, for every tensor of the model."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocabulary, config.hidden)}
    for layer in range(config.layers):
        at = f"model.layers.{layer}"
        shapes |= dict.fromkeys(
            (f"{at}.input_layernorm.weight", f"{at}.post_attention_layernorm.weight"), (config.hidden,)
        )
        for part in (QKV, OUTPUT, GATE_UP, DOWN):
            for module in modules_of(config, layer, part):
                shapes[f"{module.name}.weight"] = (module.features_out, module.features_in)
                if part == QKV and config.qkv_bias:
                    shapes[f"{module.name}.bias"] = (module.features_out,)
        if config.head_norms:
            shapes |= dict.fromkeys(
                (f"{at}.self_attn.q_norm.weight", f"{at}.self_attn.k_norm.weight"), (config.head_size,)
            )
    shapes["model.norm.weight"] = (config.hidden,)
    if not tied:
        shapes["lm_head.weight"] = (config.vocabulary, config.hidden)
    return shapes
