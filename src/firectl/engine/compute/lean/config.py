"""Decide from config.json which models the lean forward pass supports, and read their sizes.

A config that relies on defaults of its family, or has features that are not listed here, gives None. transformers
then computes the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_ROPE_KINDS = frozenset({"default", "linear", "llama3"})


@dataclass(frozen=True, slots=True)
class Rope:
    kind: str
    theta: float
    parameters: Mapping[str, float]
    """The factor for `linear`; the factor and wavelengths for `llama3`."""


@dataclass(frozen=True, slots=True)
class LeanConfig:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    max_positions: int
    epsilon: float
    rope: Rope
    windows: tuple[int | None, ...]
    """By layer: how many positions a row attends to; None for all."""
    qkv_bias: bool
    head_norms: bool
    """Whether queries and keys are normalised per head (Qwen3)."""
    tied: bool
    eos: frozenset[int]


def lean_config(config: Mapping[str, Any]) -> LeanConfig | None:
    """Read the config of a model that the lean pass computes exactly. None for any other model."""
    kind = config.get("model_type")
    if kind not in FAMILIES or config.get("hidden_act") != "silu" or config.get("quantization_config"):
        return None
    if config.get("attention_bias") or config.get("mlp_bias"):
        return None
    try:
        layers, heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
        hidden, kv_heads = int(config["hidden_size"]), int(config["num_key_value_heads"])
        size = config.get("head_dim") or (hidden // heads if kind != "qwen3" else None)
        rope, windows = _rope(config), _windows(config, layers)
        if rope is None or windows is None or size is None or int(size) % 2 or heads % kv_heads:
            return None
        return LeanConfig(
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=kv_heads,
            head_size=int(size),
            intermediate=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            max_positions=int(config["max_position_embeddings"]),
            epsilon=float(config["rms_norm_eps"]),
            rope=rope,
            windows=windows,
            qkv_bias=kind == "qwen2",
            head_norms=kind == "qwen3",
            tied=bool(config.get("tie_word_embeddings", False)),
            eos=eos_of(config),
        )
    except (KeyError, TypeError, ValueError):
        return None


def eos_of(config: Mapping[str, Any]) -> frozenset[int]:
    """Return the token ids that end an answer, from a config or a generation config."""
    ids = config.get("eos_token_id")
    listed = ids if isinstance(ids, list) else [ids]
    return frozenset(number for number in listed if isinstance(number, int) and not isinstance(number, bool))


def _rope(config: Mapping[str, Any]) -> Rope | None:
    """Read `rope_theta` with `rope_scaling`, or `rope_parameters`. None for a kind that is not supported."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = given.get("rope_theta", config.get("rope_theta", 10000.0))
    kind = given.get("rope_type", given.get("type", "default"))
    partial = given.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    if kind not in _ROPE_KINDS or partial != 1.0 or any(isinstance(value, dict) for value in given.values()):
        return None
    wanted: dict[str, tuple[str, ...]] = {
        "linear": ("factor",),
        "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    }
    return Rope(kind, float(theta), {name: float(given[name]) for name in wanted.get(kind, ())})


DEFAULT_WINDOW = 4096
"""transformers' default window for Mistral, Qwen2 and Qwen3 if the config has no `sliding_window`."""


def _windows(config: Mapping[str, Any], layers: int) -> tuple[int | None, ...] | None:
    kind = config["model_type"]
    window = config.get("sliding_window", DEFAULT_WINDOW)
    window = int(window) if window is not None else None
    types = config.get("layer_types")
    if kind == "llama":
        return None if types else (None,) * layers
    if kind == "mistral":
        return None if types else (window,) * layers
    if not config.get("use_sliding_window", False):
        window = None
    if types:
        known = {"full_attention": None, "sliding_attention": window}
        return tuple(known[each] for each in types) if set(types) <= set(known) and len(types) == layers else None
    if window is None:
        return (None,) * layers
    first = int(config["max_window_layers"])
    return tuple(window if layer >= first else None for layer in range(layers))
