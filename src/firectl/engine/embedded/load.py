"""From a Hugging Face folder to a model that computes packed batches, or a refusal that says why not.

A model is refused when its files are incomplete or when it needs something the packed batch does not do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from firectl.engine.embedded import attention
from firectl.engine.embedded.base_folder import open_base
from firectl.engine.embedded.options import EngineOptions
from firectl.engine.embedded.runner import Runner
from firectl.engine.embedded.tokenizer import Tokenizer
from firectl.engine.embedded.verify import VERIFIED, measure, verify
from firectl.errors import AdapterError
from firectl.lora.base_model import BaseModel

GIB = 2**30
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    base: BaseModel
    """Config and headers of the folder."""
    runner: Runner
    tokenizer: Tokenizer
    eos: frozenset[int]
    vocabulary: int
    """Token ids are below this."""
    max_length: int
    kv_tokens: int
    """How many tokens' keys and values fit the memory for them."""
    dtype: torch.dtype
    device: torch.device


def load(options: EngineOptions) -> LoadedModel:
    """AdapterError for a folder that cannot be served as it is."""
    base = open_base(options.model)
    device = _device(options.device)
    dtype = _dtype(options, base, device)
    model = _load_model(options.model, dtype).to(device)
    _refuse_unsupported(model.config)
    runner = Runner(model, device)
    token_bytes = _try_out(runner, model)
    tokenizer = Tokenizer(options.model)
    max_length, kv_tokens = _limits(options, model.config, token_bytes, device)
    return LoadedModel(
        base=base,
        runner=runner,
        tokenizer=tokenizer,
        eos=tokenizer.eos | _eos(model.config) | _eos(getattr(model, "generation_config", None)),
        vocabulary=model.get_input_embeddings().weight.shape[0],
        max_length=max_length,
        kv_tokens=kv_tokens,
        dtype=dtype,
        device=device,
    )


def _try_out(runner: Runner, model: Any) -> int:
    """Bytes of keys and values per token; AdapterError for a model that the packed batch does not suit."""
    try:
        token_bytes = measure(runner, int(model.config.num_hidden_layers))
        if model.config.model_type not in VERIFIED:
            verify(runner, model)
    except (RuntimeError, AttributeError, TypeError, ValueError, KeyError) as error:
        kind = model.config.model_type
        raise AdapterError(f"{kind} models do not work in packed batches: {type(error).__name__}: {error}") from error
    return token_bytes


def _load_model(folder: Path, dtype: torch.dtype) -> Any:
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
        # transformers would go on with random numbers in their place.
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
        raise AdapterError(f"this {kind} model has {', '.join(other)} layers, which the embedded engine does not do")


def _limits(options: EngineOptions, config: Any, token_bytes: int, device: torch.device) -> tuple[int, int]:
    """The longest sequence, and the tokens that the KV memory holds."""
    memory = options.kv_memory or _kv_memory(device)
    kv_tokens = memory // token_bytes
    longest = _longest(config)
    wanted = options.max_model_len
    if wanted is not None and wanted > longest:
        raise AdapterError(f"--max-model-len {wanted} is more than the {longest} tokens this model can do")
    if wanted is not None and wanted > kv_tokens:
        raise AdapterError(
            f"--max-model-len {wanted} needs {wanted * token_bytes} bytes for keys and values, there are {memory}",
            hint="give more with --kv-memory-mib, or ask for a shorter context",
        )
    return min(wanted or longest, kv_tokens), kv_tokens


def _longest(config: Any) -> int:
    longest = int(config.max_position_embeddings)
    rope = getattr(config, "rope_parameters", None) or {}
    for parameters in [rope, *(value for value in rope.values() if isinstance(value, dict))]:
        if parameters.get("rope_type") in _LENGTH_DEPENDENT_ROPE:
            # Past this, the rotation of every token depends on how long its sequence is.
            original = parameters.get("original_max_position_embeddings")
            longest = min(longest, int(original or config.max_position_embeddings))
    return longest


def _kv_memory(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * 0.8)
    return min(4 * GIB, _physical_memory() // 8)


def _physical_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise AdapterError("--device cuda: torch sees no GPU")
    return torch.device(name)


def _dtype(options: EngineOptions, base: BaseModel, device: torch.device) -> torch.dtype:
    if options.dtype != "auto":
        return _DTYPES[options.dtype]
    stored = _DTYPES.get(str(base.config.get("dtype") or base.config.get("torch_dtype")), torch.float32)
    if device.type == "cuda" or stored == torch.float32:
        return stored
    if stored == torch.bfloat16 and _cpu_multiplies_bfloat16():
        return stored
    # Without instructions for it, a CPU is several times slower on 16-bit floats than on 32-bit ones.
    size = sum((base.path / shard).stat().st_size for shard in base.shards)
    return torch.float32 if 2 * size < _physical_memory() // 2 else stored


def _cpu_multiplies_bfloat16() -> bool:
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test() for test in tests if test)


def _eos(config: Any) -> frozenset[int]:
    tokens = getattr(config, "eos_token_id", None)
    return frozenset(tokens if isinstance(tokens, list) else [] if tokens is None else [tokens])
