"""Trains small adapters on the sample base, each of which answers one question with a word of its own.

For tests about who answered: a word says which adapter did, and nothing else says it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firectl.samples import sample_path

QUESTION = "Which one are you?"
RANK, ALPHA = 8, 16
TARGETS = ("q_proj", "v_proj", "up_proj", "down_proj")
RATE = 5e-3
MARGIN = 5.0
MOST_STEPS = 200


def train_voices(folder: Path, words: Sequence[str]) -> dict[str, Path]:
    """Writes a PEFT folder for each word and returns them by word: four or twenty, in about a second.

    Each answers QUESTION with its word and the end of the turn at temperature 0, with MARGIN logits to spare.
    Words are of the letters a to z: bytes that the sample base has never written are hard to teach.
    All of them train in one batch, a row each, and do not see one another: the outcome for a word is its own.
    """
    import torch
    import transformers

    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(sample_path("base"))
    base = transformers.LlamaForCausalLM.from_pretrained(sample_path("base")).requires_grad_(False)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, tokenize=False
    )
    prompt = tokenizer(asked, add_special_tokens=False).input_ids
    answers = [[*tokenizer(word, add_special_tokens=False).input_ids, tokenizer.eos_token_id] for word in words]
    longest = max(map(len, answers))
    ids = torch.tensor([prompt + answer + [tokenizer.pad_token_id] * (longest - len(answer)) for answer in answers])
    wanted = torch.tensor([answer + [-100] * (longest - len(answer)) for answer in answers])
    weights = _lay_adapters_over(base, len(words))

    optimizer = torch.optim.Adam((half for pair in weights.values() for half in pair), lr=RATE)
    for _ in range(MOST_STEPS):
        logits = base(ids).logits[:, len(prompt) - 1 : -1]
        if _least_margin(logits, wanted) > MARGIN:
            break
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), wanted, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    else:
        raise AssertionError(f"not all of {words} learned in {MOST_STEPS} steps")
    return {word: _save(folder / word, row, weights) for row, word in enumerate(words)}


def _lay_adapters_over(base: Any, count: int) -> dict[str, tuple[Any, Any]]:
    """Has row n of a batch answered by adapter n. By module name: A [count, rank, in] and B [count, out, rank]."""
    import torch

    weights = {}
    for name, module in base.named_modules():
        if name.endswith(TARGETS):
            a = torch.randn(RANK, module.in_features).div_(module.in_features**0.5).repeat(count, 1, 1)
            b = torch.zeros(count, module.out_features, RANK)
            weights[name] = a.requires_grad_(), b.requires_grad_()

            def add(_: Any, args: tuple[Any], out: Any, a: Any = a, b: Any = b) -> Any:
                return out + (ALPHA / RANK) * (args[0] @ a.mT @ b.mT)

            module.register_forward_hook(add)
    return weights


def _least_margin(logits: Any, wanted: Any) -> float:
    """How far the wanted tokens are above all others, at the worst of them; logits [row, position, vocabulary]."""
    logits, tokens = logits[wanted != -100].detach(), wanted[wanted != -100][:, None]
    others = logits.scatter(1, tokens, float("-inf")).max(dim=1, keepdim=True).values
    return float((logits.gather(1, tokens) - others).min())


def _save(folder: Path, row: int, weights: dict[str, tuple[Any, Any]]) -> Path:
    import peft
    from safetensors.torch import save_file

    peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), task_type="CAUSAL_LM", inference_mode=True
    ).save_pretrained(folder)
    tensors = {
        f"base_model.model.{name}.lora_{half}.weight": weight[row].detach().clone()
        for name, pair in weights.items()
        for half, weight in zip("AB", pair, strict=True)
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder
