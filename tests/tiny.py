"""Small but real folders for tests: Hugging Face bases with random weights, and PEFT adapters for them.

Bases are written with numpy alone (milliseconds, no torch); adapters go through the peft library.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ARCHS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "mixtral", "gpt2")
ALL_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GPT2_TARGETS = ("c_attn", "c_proj", "c_fc")
SPECIAL_TOKENS = (
    "<|bos|>",
    "<|eos|>",
    "<|pad|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|tool|>",
    "<|endoftext|>",
)
VOCAB = 256 + len(SPECIAL_TOKENS)
"""Token id n < 256 is the byte n; the special tokens follow."""
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma": "GemmaForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}


def make_base(
    folder: Path,
    *,
    arch: str = "llama",
    layers: int = 2,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    intermediate: int = 128,
    tied: bool = False,
    dtype: str = "float32",
    seed: int = 0,
    shards: int = 1,
    vocab: int = VOCAB,
    max_positions: int = 512,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a base model folder and return it. `dtype` is float32, float16 or bfloat16; gpt2 and gemma are tied."""
    folder.mkdir(parents=True, exist_ok=True)
    tied = tied or arch in ("gpt2", "gemma")
    shapes = dict(_shapes(arch, layers, hidden, heads, kv_heads, intermediate, vocab, max_positions, tied))
    _write_weights(folder, arch, shapes, dtype, seed, shards)
    common: dict[str, Any] = {
        "architectures": [_CLASSES[arch]],
        "model_type": arch,
        "dtype": dtype,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 258,
    }
    if arch == "gpt2":
        common |= {"n_layer": layers, "n_embd": hidden, "n_head": heads, "n_inner": intermediate}
        common |= {"n_positions": max_positions, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    else:
        common |= {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads}
        common |= {"num_key_value_heads": kv_heads, "intermediate_size": intermediate, "head_dim": hidden // heads}
        common |= {"max_position_embeddings": max_positions, "rms_norm_eps": 1e-5, "hidden_act": "silu"}
    if arch == "mixtral":
        common |= {"num_local_experts": 2, "num_experts_per_tok": 2}
    if arch == "gemma":
        common |= {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}
    if arch in ("mistral", "mixtral"):
        common |= {"sliding_window": None}
    _write_json(folder / "config.json", common | dict(config or {}))
    _write_json(
        folder / "generation_config.json",
        {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258, "do_sample": False},
    )
    write_tokenizer(folder)
    return folder


def make_adapter(
    folder: Path,
    base: Path,
    *,
    r: int = 8,
    alpha: int = 16,
    targets: Sequence[str] | str = ALL_TARGETS,
    rslora: bool = False,
    dora: bool = False,
    bias: str = "none",
    lora_bias: bool = False,
    rank_pattern: Mapping[str, int] | None = None,
    alpha_pattern: Mapping[str, int] | None = None,
    modules_to_save: Sequence[str] | None = None,
    fan_in_fan_out: bool = False,
    seed: int = 0,
    scale: float = 0.5,
    dtype: str = "float32",
    **options: Any,
) -> Path:
    """Write a PEFT adapter for `base` and return its folder. A and B are random, B non-zero.

    `scale` is about how large the change of each weight is against the weight itself; 0 leaves B zero.
    """
    import warnings

    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's remarks about tied weights and fan_in_fan_out
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
        peft = get_peft_model(
            model,
            LoraConfig(
                r=r,
                lora_alpha=alpha,
                target_modules=targets if isinstance(targets, str) else list(targets),
                use_rslora=rslora,
                use_dora=dora,
                bias=bias,
                lora_bias=lora_bias,
                rank_pattern=dict(rank_pattern or {}),
                alpha_pattern=dict(alpha_pattern or {}),
                modules_to_save=list(modules_to_save) if modules_to_save else None,
                fan_in_fan_out=fan_in_fan_out,
                task_type="CAUSAL_LM",
                **options,
            ),
        )
    generator = torch.Generator().manual_seed(seed)
    factors: dict[str, float] = {}
    for name, module in peft.named_modules():
        if hasattr(module, "lora_A"):
            factors[name] = float(module.scaling["default"])
    for name, parameter in peft.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if ".lora_A." in name:
            parameter.data = noise / math.sqrt(parameter.shape[1])
        elif ".lora_embedding_A." in name:
            parameter.data = noise / math.sqrt(parameter.shape[0])
        elif ".lora_B." in name and name.endswith(".bias"):
            parameter.data = noise * scale * 0.1
        elif ".lora_B." in name or ".lora_embedding_B." in name:
            size = factors[name.split(".lora_")[0]] * math.sqrt(parameter.shape[1])
            parameter.data = noise * scale / size
        elif ".lora_magnitude_vector." in name:
            parameter.data = parameter.data * (1 + 0.1 * scale * noise)
        elif parameter.requires_grad:  # bias and modules_to_save
            parameter.data = parameter.data + noise * scale * 0.1
    wanted = getattr(torch, dtype)
    for parameter in peft.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft.save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def load_reference(base: Path, adapter: Path | None = None, *, dtype: str = "float32") -> Any:
    """The transformers model of `base`, with `adapter` applied by peft (unmerged): what parity is measured against."""
    import warnings

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft uses names that transformers deprecates
        model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype), local_files_only=True)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, str(adapter))
    return model.eval()


def write_tokenizer(folder: Path) -> None:
    """A byte-level `tokenizer.json` (id = byte, then the special tokens) and its config with a chat template."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocab={symbol: byte for byte, symbol in enumerate(_byte_symbols())}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|bos|>",
            "eos_token": "<|eos|>",
            "pad_token": "<|pad|>",
            "clean_up_tokenization_spaces": False,
            "model_max_length": 512,
            "chat_template": CHAT_TEMPLATE,
        },
    )


def write_safetensors(
    path: Path,
    tensors: Mapping[str, tuple[str, Sequence[int], bytes]],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write raw tensors, `{name: (dtype as in the file, shape, bytes)}`, as a safetensors file."""
    header: dict[str, Any] = {"__metadata__": dict(metadata or {"format": "pt"})}
    start = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, start + len(data)]}
        start += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values()))
    return path


def _shapes(
    arch: str,
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int,
    intermediate: int,
    vocab: int,
    max_positions: int,
    tied: bool,
) -> Iterator[tuple[str, tuple[int, ...]]]:
    if arch not in ARCHS:
        raise ValueError(f"make_base knows {', '.join(ARCHS)}, not {arch}")
    if arch == "gpt2":
        yield "transformer.wte.weight", (vocab, hidden)
        yield "transformer.wpe.weight", (max_positions, hidden)
        for layer in range(layers):
            at = f"transformer.h.{layer}"
            for norm in ("ln_1", "ln_2"):
                yield f"{at}.{norm}.weight", (hidden,)
                yield f"{at}.{norm}.bias", (hidden,)
            # Conv1D: stored [in, out].
            for name, rows, columns in (
                ("attn.c_attn", hidden, 3 * hidden),
                ("attn.c_proj", hidden, hidden),
                ("mlp.c_fc", hidden, intermediate),
                ("mlp.c_proj", intermediate, hidden),
            ):
                yield f"{at}.{name}.weight", (rows, columns)
                yield f"{at}.{name}.bias", (columns,)
        yield "transformer.ln_f.weight", (hidden,)
        yield "transformer.ln_f.bias", (hidden,)
        return
    head = hidden // heads
    yield "model.embed_tokens.weight", (vocab, hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", (hidden,)
        for name, rows in (("q", heads * head), ("k", kv_heads * head), ("v", kv_heads * head)):
            yield f"{at}.self_attn.{name}_proj.weight", (rows, hidden)
            if arch == "qwen2":
                yield f"{at}.self_attn.{name}_proj.bias", (rows,)
        yield f"{at}.self_attn.o_proj.weight", (hidden, heads * head)
        if arch == "qwen3":
            yield f"{at}.self_attn.q_norm.weight", (head,)
            yield f"{at}.self_attn.k_norm.weight", (head,)
        yield f"{at}.post_attention_layernorm.weight", (hidden,)
        if arch == "mixtral":
            yield f"{at}.block_sparse_moe.gate.weight", (2, hidden)
            for expert in range(2):
                yield f"{at}.block_sparse_moe.experts.{expert}.w1.weight", (intermediate, hidden)
                yield f"{at}.block_sparse_moe.experts.{expert}.w2.weight", (hidden, intermediate)
                yield f"{at}.block_sparse_moe.experts.{expert}.w3.weight", (intermediate, hidden)
        else:
            yield f"{at}.mlp.gate_proj.weight", (intermediate, hidden)
            yield f"{at}.mlp.up_proj.weight", (intermediate, hidden)
            yield f"{at}.mlp.down_proj.weight", (hidden, intermediate)
    yield "model.norm.weight", (hidden,)
    if not tied:
        yield "lm_head.weight", (vocab, hidden)


def _write_weights(
    folder: Path, arch: str, shapes: Mapping[str, tuple[int, ...]], dtype: str, seed: int, shards: int
) -> None:
    import numpy as np

    random = np.random.default_rng(seed)
    stored_as = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[dtype]
    tensors: dict[str, tuple[str, Sequence[int], bytes]] = {}
    for name, shape in shapes.items():
        values = random.standard_normal(shape, dtype=np.float32)
        if len(shape) == 1:
            values *= 0.1
            if name.endswith(".weight") and arch != "gemma":
                values += 1.0
        elif "embed_tokens" in name or "wte" in name:
            values *= 0.02 if arch == "gemma" else 0.2  # gemma scales its embeddings up
        elif "wpe" in name:
            values *= 0.1
        else:
            fan_in = shape[0] if arch == "gpt2" else shape[1]
            values *= (2.0 if name == "lm_head.weight" else 1.0) / math.sqrt(fan_in)
        if dtype == "bfloat16":
            bits = values.view(np.uint32)
            data = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
        else:
            data = values.astype({"float32": "<f4", "float16": "<f2"}[dtype]).tobytes()
        tensors[name] = (stored_as, shape, data)
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors)
        return
    names = list(tensors)
    weight_map: dict[str, str] = {}
    per_shard = math.ceil(len(names) / shards)
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        chunk = names[number * per_shard : (number + 1) * per_shard]
        write_safetensors(folder / file, {name: tensors[name] for name in chunk})
        weight_map |= dict.fromkeys(chunk, file)
    total = sum(len(data) for _, _, data in tensors.values())
    _write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def _byte_symbols() -> list[str]:
    """The printable character GPT-2's byte-level tokenizers write for each byte, in byte order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")
