"""Check that base, merge, multi-LoRA and PEFT agree: compare their answers on the same tokens.

Loads whole models one after the other, with torch and transformers. Compares PEFT if it is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firectl.errors import AdapterError, InputError
from firectl.lora.check.rules import merge_only
from firectl.lora.merge.merge import merge
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.base_model import BaseModel
from firectl.lora.weights import Factors, load_weights

if TYPE_CHECKING:
    from torch import Tensor

PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a small village by the sea, there lived",
    "def fibonacci(n):\n    ",
    "Question: What is 12 times 11?\nAnswer:",
    "Dear Sir or Madam,\n\nI am writing to",
)
"""The default prompts."""
EXACT = 1e-4
"""Largest allowed difference of float32 logits, as a share of the largest logit (at least 1)."""
SHARE = 0.25
"""Largest allowed mean difference of 16-bit logits, as a share of the adapter's mean change."""
NOISE = 0.01
"""Like `SHARE`, but as a share of the logits' standard deviation: for an adapter that changes little."""


def parity(adapter: Path, base: Path, prompts: Sequence[str] = PROMPTS) -> dict[str, Any]:
    """Compare the ways to apply one adapter to its base, with a merge in a temporary folder.

    Returns `{"valid", "changes", "agrees", "allowed", "tokens", "ways", "comparisons", "loss", "skipped"}`.
    InputError if torch or transformers is missing, AdapterError if the adapter does not fit.
    """
    require("torch", "transformers")
    lora, opened = Adapter.open(adapter), BaseModel.open(base)
    inputs = tokens_of(base, prompts)
    with tempfile.TemporaryDirectory(prefix="firectl-parity-") as folder:
        merged = Path(folder) / "merged"
        merge(adapter, base, merged)
        model = load(base)
        logits = {"base": logits_of(model, inputs)}
        skipped = {}
        if blocked := merge_only(lora):
            skipped["dynamic"] = blocked[0].what
        else:
            with applied(model, lora, opened):
                logits["dynamic"] = logits_of(model, inputs)
        if importlib.util.find_spec("peft") is None:
            skipped["peft"] = "peft is not installed"
        else:
            logits["peft"] = logits_of(with_peft(model, [(adapter, 1.0)]), inputs)
        del model
        logits["merged"] = logits_of(load(merged), inputs)
    return report(logits, inputs, skipped, exact=_is_exact(opened))


def verify(adapters: Sequence[tuple[Path, float]], base: Path, merged: Path) -> dict[str, Any]:
    """Compare a merged folder's answers with PEFT's unmerged ones, on random tokens.

    Returns `{"agrees", "max_difference", "mean_difference", "top1_agreement", "allowed", "tokens"}`.
    InputError if torch, transformers or PEFT is missing.
    """
    import torch

    require("torch", "transformers", "peft")
    opened = BaseModel.open(base)
    model = load(base)
    size = int(model.get_input_embeddings().weight.shape[0])
    inputs = list(torch.randint(0, size, (4, 32), generator=torch.Generator().manual_seed(0)))
    plain = logits_of(model, inputs)
    expected = logits_of(with_peft(model, adapters), inputs)
    del model
    compared = compare(expected, logits_of(load(merged), inputs))
    measure, allowed = tolerance(plain, expected, exact=_is_exact(opened))
    return {**compared, "allowed": allowed, "agrees": compared[measure] <= allowed, "tokens": sum(map(len, inputs))}


def require(*libraries: str) -> None:
    """Raise InputError that names the first of `libraries` that is not installed."""
    for name in libraries:
        if importlib.util.find_spec(name) is None:
            extra = "peft" if name == "peft" else "'firectl[local]'"
            raise InputError(
                f"{name} is not installed, and answers cannot be compared without it", hint=f"pip install {extra}"
            )


def report(
    logits: Mapping[str, Sequence[Tensor]], inputs: Sequence[Tensor], skipped: Mapping[str, str], *, exact: bool
) -> dict[str, Any]:
    """Return the result of `parity`. Each way's logits are a list with a tensor [tokens, vocabulary] per prompt."""
    ways = list(logits)
    reference = "dynamic" if "dynamic" in logits else "peft" if "peft" in logits else "base"
    pairs = [(reference, "merged"), ("base", reference), ("base", "merged"), ("peft", "merged"), ("peft", "dynamic")]
    comparisons: list[dict[str, Any]] = [
        {"left": left, "right": right, **compare(logits[left], logits[right])}
        for left, right in dict.fromkeys(pairs)
        if left != right and left in logits and right in logits
    ]
    measure, allowed = tolerance(logits["base"], logits[reference], exact=exact)
    same_adapter = [found for found in comparisons if found["left"] != "base"]
    agrees = all(found[measure] <= allowed for found in same_adapter) if same_adapter else None
    changes = compare(logits["base"], logits["merged"])["max_difference"] > 0
    return {
        "valid": agrees is True and changes,
        "changes": changes,
        "agrees": agrees,
        "allowed": {"measure": measure, "value": allowed},
        "tokens": sum(map(len, inputs)),
        "ways": ways,
        "comparisons": comparisons,
        "loss": {way: loss(logits[way], inputs) for way in ("base", "merged")},
        "skipped": dict(skipped),
    }


def compare(left: Sequence[Tensor], right: Sequence[Tensor]) -> dict[str, float]:
    """Return `{"max_difference", "mean_difference", "top1_agreement"}` over all tokens of all prompts."""
    import torch

    apart = [(mine - theirs).abs() for mine, theirs in zip(left, right, strict=True)]
    same = [mine.argmax(-1) == theirs.argmax(-1) for mine, theirs in zip(left, right, strict=True)]
    return {
        "max_difference": float(max(piece.max() for piece in apart)),
        "mean_difference": float(torch.cat([piece.flatten() for piece in apart]).mean()),
        "top1_agreement": float(torch.cat(same).float().mean()),
    }


def tolerance(base: Sequence[Tensor], changed: Sequence[Tensor], *, exact: bool) -> tuple[str, float]:
    """Return (key of `compare`, largest allowed value) for two ways to apply the same adapter. `exact`: in float32."""
    import torch

    values = torch.cat([piece.flatten() for piece in changed])
    if exact:
        return "max_difference", EXACT * max(1.0, float(values.abs().max()))
    return "mean_difference", max(SHARE * compare(base, changed)["mean_difference"], NOISE * float(values.std()))


def loss(logits: Sequence[Tensor], inputs: Sequence[Tensor]) -> float | None:
    """Return the mean negative log-likelihood of each next token. None if no prompt has two tokens."""
    import torch

    pieces = [
        -torch.log_softmax(given[:-1], -1).gather(-1, tokens[1:, None]).flatten()
        for given, tokens in zip(logits, inputs, strict=True)
    ]
    flat = torch.cat(pieces)
    return float(flat.mean()) if flat.numel() else None


def load(folder: Path) -> Any:
    """Load the model in its own dtype. Downloads nothing and runs no code of the folder."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", local_files_only=True, trust_remote_code=False
    ).eval()


def logits_of(model: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return float32 logits: a tensor [tokens, vocabulary] for each prompt."""
    import torch

    with torch.no_grad():
        return [model(input_ids=tokens[None]).logits[0].float() for tokens in inputs]


@contextmanager
def applied(model: Any, adapter: Adapter, base: BaseModel) -> Iterator[None]:
    """Apply the adapter as multi-LoRA does, inside the `with` block: y + scaling·(x·Aᵀ)·Bᵀ in the model's dtype."""
    weights = load_weights(adapter, base, next(model.parameters()).dtype)

    def add(factors: Factors, _: Any, given: tuple[Tensor, ...], result: Tensor) -> Tensor:
        return result + (given[0] @ factors.a) @ factors.b * factors.scaling

    handles = [
        model.get_submodule(name).register_forward_hook(partial(add, factors)) for name, factors in weights.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def with_peft(model: Any, adapters: Sequence[tuple[Path, float]]) -> Any:
    """Add PEFT's layers to `model` and return the result. Each adapter's scaling is multiplied by its weight."""
    peft = importlib.import_module("peft")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tied weights and fan_in_fan_out
        names = [f"adapter{number}" for number in range(len(adapters))]
        wrapped = peft.PeftModel.from_pretrained(model, str(adapters[0][0]), adapter_name=names[0])
        for name, (path, _) in zip(names[1:], adapters[1:], strict=True):
            wrapped.load_adapter(str(path), adapter_name=name)
        wrapped.base_model.set_adapter(names)
    for module in wrapped.modules():
        scaling = getattr(module, "scaling", None)
        if isinstance(scaling, dict):
            for name, (_, weight) in zip(names, adapters, strict=True):
                if name in scaling:
                    scaling[name] *= weight
    return wrapped.eval()


def tokens_of(folder: Path, prompts: Sequence[str]) -> list[Tensor]:
    """Return the prompts' tokens. AdapterError if the base's tokenizer cannot be read or a prompt has no tokens."""
    import torch
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    # transformers may raise any error of its parsers of a dozen formats.
    except Exception as error:
        raise AdapterError(f"the base model's tokenizer cannot be read ({type(error).__name__})") from None
    found = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    if not all(found):
        raise AdapterError("a prompt has no tokens", hint="--prompt 'The capital of France is'")
    return [torch.tensor(ids) for ids in found]


def _is_exact(base: BaseModel) -> bool:
    return all(info.dtype == "F32" for info in base.tensors.values())
