"""Load a Hugging Face folder as a model that computes packed batches.

AdapterError for a folder with incomplete files, and for a model with features that packed batches do not support.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from firectl.engine.base_folder import open_base, weight_bytes
from firectl.engine.compute.lean.config import lean_config
from firectl.engine.compute.lean.load import generation_eos, read_model, readable
from firectl.engine.compute.lean.runner import LeanRunner
from firectl.engine.compute.runner import ReadModel, Runner
from firectl.engine.compute.transformers.verify import run_packed
from firectl.engine.options import EngineOptions
from firectl.engine.text.tokenizer import Tokenizer
from firectl.errors import AdapterError
from firectl.lora.read.base_model import BaseModel

GIB = 2**30
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    base: BaseModel
    """Config and tensor headers of the model's folder."""
    runner: Runner
    tokenizer: Tokenizer
    eos: frozenset[int]
    """Token ids that end an answer."""
    vocabulary: int
    """All token ids are below this number."""
    max_length: int
    kv_tokens: int
    """Number of tokens whose keys and values fit into the KV memory."""
    dtype: torch.dtype
    device: torch.device


def load(options: EngineOptions) -> LoadedModel:
    """Load the model and its tokenizer. AdapterError for a folder that cannot be served as it is."""
    base = open_base(options.model)
    device = _device(options.device)
    dtype = _dtype(options, base, device)
    model = _read(base, dtype, device)
    tokenizer = Tokenizer(options.model)
    max_length, kv_tokens = _limits(options, model.longest, model.runner.kv_bytes_per_token, device)
    return LoadedModel(
        base=base,
        runner=model.runner,
        tokenizer=tokenizer,
        eos=tokenizer.eos | model.eos | generation_eos(base.path),
        vocabulary=model.vocabulary,
        max_length=max_length,
        kv_tokens=kv_tokens,
        dtype=dtype,
        device=device,
    )


def _read(base: BaseModel, dtype: torch.dtype, device: torch.device) -> ReadModel:
    """Read the model for the lean forward pass if that supports it, else for transformers."""
    config = lean_config(base.config)
    if config is None or not readable(base):
        # Imported here, because importing transformers takes longer than the rest of the start.
        from firectl.engine.compute.transformers.load import read_any

        return read_any(base.path, dtype, device)
    runner = LeanRunner(read_model(base, config, dtype, device), device, dtype)
    run_packed(runner, [[1, 2, 3], [2]], [(0, 2, 3), (0, 1)])  # warm-up
    runner.forget()
    return ReadModel(runner, config.max_positions, config.vocabulary, config.eos)


def _limits(options: EngineOptions, longest: int, token_bytes: int, device: torch.device) -> tuple[int, int]:
    """Return the length of the longest sequence and the size of the KV memory, both in tokens."""
    memory = options.kv_memory or _kv_memory(device)
    kv_tokens = memory // token_bytes
    wanted = options.max_model_len
    if wanted is not None and wanted > longest:
        raise AdapterError(f"--max-model-len {wanted} is more than the {longest} tokens that this model supports")
    if wanted is not None and wanted > kv_tokens:
        raise AdapterError(
            f"--max-model-len {wanted} needs {wanted * token_bytes} bytes for keys and values, but has {memory}",
            hint="set a higher --kv-memory-mib, or a lower --max-model-len",
        )
    return min(wanted or longest, kv_tokens), kv_tokens


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
        raise AdapterError("--device cuda: torch finds no GPU")
    return torch.device(name)


def _dtype(options: EngineOptions, base: BaseModel, device: torch.device) -> torch.dtype:
    if options.dtype != "auto":
        return _DTYPES[options.dtype]
    stored = _DTYPES.get(str(base.config.get("dtype") or base.config.get("torch_dtype")), torch.float32)
    if device.type == "cuda" or stored == torch.float32:
        return stored
    if stored == torch.bfloat16 and _cpu_multiplies_bfloat16():
        return stored
    # A CPU without 16-bit instructions computes 16-bit floats several times slower than 32-bit ones.
    return torch.float32 if 2 * weight_bytes(base) < _physical_memory() // 2 else stored


def _cpu_multiplies_bfloat16() -> bool:
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test() for test in tests if test)
