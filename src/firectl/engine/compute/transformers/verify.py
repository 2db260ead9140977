"""Check at load that a model computes the same in a packed batch as it does alone.

The tests compare the families in VERIFIED with a reference. Any other family is compared here with transformers' own
attention, and refused when it differs. Must not serve requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from firectl.engine.compute.runner import Runner
from firectl.engine.schedule.kv_slots import KVSlots
from firectl.engine.schedule.scheduler import Chunk
from firectl.engine.schedule.sequence import Sequence
from firectl.engine.text.stream import TextStream
from firectl.errors import AdapterError
from firectl.schemas.openai import Sampling

if TYPE_CHECKING:
    from firectl.engine.compute.transformers.runner import TransformersRunner

VERIFIED = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gpt2", "mixtral"})
_LENGTH = 12
_CUTS = (0, 5, 11, 12)
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""dtype → largest allowed difference, as a share of the largest logit."""


def measure(runner: TransformersRunner, layers: int) -> int:
    """Measure the bytes of one token's keys and values in a first step, which also warms up the model.

    AdapterError if a layer does not use the packed attention, or needs a feature that the attention lacks.
    """
    run_packed(runner, [[1, 2, 3], [2]], [(0, 2, 3), (0, 1)])
    others = layers - len(runner.step.layers)
    if others:
        raise AdapterError(
            f"{others} of the model's {layers} layers do not use the attention interface of "
            "transformers, which this engine needs"
        )
    size = runner.step.store.bytes_per_token
    runner.forget()
    return size


def verify(runner: TransformersRunner, model: nn.Module) -> None:
    """Raise AdapterError unless two prompts, packed and in chunks, give the logits that each gives alone."""
    prompts = [[(7 * place + 3 * number + 1) % 97 for place in range(_LENGTH)] for number in range(2)]
    packed = run_packed(runner, prompts, [_CUTS, _CUTS])
    runner.forget()
    config: Any = model.config
    implementation = config._attn_implementation
    model.set_attn_implementation("eager")  # type: ignore[operator]
    try:
        with torch.inference_mode():
            ids = torch.tensor(prompts, device=next(model.parameters()).device)
            alone = model(input_ids=ids, use_cache=False).logits[:, -1].float()
    finally:
        model.set_attn_implementation(implementation)  # type: ignore[operator]
    off = float((packed - alone).abs().max() / alone.abs().max())
    allowed = _TOLERANCE[next(model.parameters()).dtype]
    if not off <= allowed:
        raise AdapterError(
            f"{config.model_type} is not a verified family ({', '.join(sorted(VERIFIED))}), and its logits in a packed "
            f"batch differ by {off:.1%} (at most {allowed:.1%} is accepted): this engine cannot serve it"
        )


def run_packed(runner: Runner, prompts: list[list[int]], cuts: list[tuple[int, ...]]) -> torch.Tensor:
    """Run prompts side by side, each cut into chunks at its `cuts`. Returns the last logits [prompts, vocabulary]."""
    memory = KVSlots(256 * len(prompts), 256, len(prompts))
    sequences = [Sequence(prompt, Sampling(), 1, TextStream(lambda _: "", [])) for prompt in prompts]
    last: dict[Sequence, torch.Tensor] = {}
    for sequence in sequences:
        sequence.slot = memory.reserve(len(sequence.prompt))
    for step in range(max(map(len, cuts)) - 1):
        chunks = [
            Chunk(sequence, places[step], places[step + 1] - places[step])
            for sequence, places in zip(sequences, cuts, strict=True)
            if step + 1 < len(places)
        ]
        sampled, logits = runner.forward(chunks, memory.take_operations())
        last.update(zip(sampled, logits, strict=True))
    return torch.stack([last[sequence] for sequence in sequences])
