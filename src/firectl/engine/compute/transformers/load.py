"""Load a model of any family with transformers' classes. Slower than the lean forward pass.

AdapterError for a folder with incomplete files, and for a model with features that packed batches do not support.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from firectl.engine.compute import attention
from firectl.engine.compute.lean.config import eos_of
from firectl.engine.compute.runner import ReadModel
from firectl.engine.compute.transformers.runner import TransformersRunner
from firectl.engine.compute.transformers.verify import VERIFIED, measure, verify
from firectl.errors import AdapterError

_LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")


def read_any(folder: Path, dtype: torch.dtype, device: torch.device) -> ReadModel:
    """Load and test the model. AdapterError for a folder that cannot be served as it is."""
    model = _load(folder, dtype).to(device)
    _refuse_unsupported(model.config)
    runner = TransformersRunner(model, device)
    runner.kv_bytes_per_token = _try_out(runner, model)
    return ReadModel(
        runner,
        _longest(model.config),
        model.get_input_embeddings().weight.shape[0],
        eos_of(model.config.to_dict()),
    )


def _try_out(runner: TransformersRunner, model: Any) -> int:
    """Test the model and return the bytes of keys and values per token. AdapterError if packed batches do not work."""
    try:
        token_bytes = measure(runner, int(model.config.num_hidden_layers))
        if model.config.model_type not in VERIFIED:
            verify(runner, model)
    except (RuntimeError, AttributeError, TypeError, ValueError, KeyError) as error:
        kind = model.config.model_type
        raise AdapterError(f"{kind} models do not work in packed batches: {type(error).__name__}: {error}") from error
    return token_bytes


def _load(folder: Path, dtype: torch.dtype) -> Any:
    from transformers import AttentionInterface, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    AttentionInterface.register(attention.NAME, attention.packed_attention)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=attention.NAME,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError) as error:
        raise AdapterError(f"{folder}: the model cannot be loaded: {error}") from error
    missing = sorted(map(str, report["missing_keys"])) + sorted(map(str, report["mismatched_keys"]))
    if missing:
        # transformers would use random numbers for missing tensors.
        raise AdapterError(f"{folder}: the checkpoint lacks {len(missing)} tensors of the model, such as {missing[0]}")
    model.eval()
    model.requires_grad_(False)
    return model


def _refuse_unsupported(config: Any) -> None:
    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False) or not getattr(config, "is_causal", True):
        raise AdapterError(f"{kind} models are not causal decoders")
    other = sorted(set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"})
    if other:
        raise AdapterError(f"this {kind} model has {', '.join(other)} layers, which this engine does not support")


def _longest(config: Any) -> int:
    longest = int(config.max_position_embeddings)
    rope = getattr(config, "rope_parameters", None) or {}
    for parameters in [rope, *(value for value in rope.values() if isinstance(value, dict))]:
        if parameters.get("rope_type") in _LENGTH_DEPENDENT_ROPE:
            # Beyond the original length, the rotation of every token depends on the length of its sequence.
            original = parameters.get("original_max_position_embeddings")
            longest = min(longest, int(original or config.max_position_embeddings))
    return longest
