"""Logits of packed batches against transformers and PEFT, computed one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.engine.harness import Harness
from tests.tiny import load_reference, make_adapter

PROMPTS = [[(31 * place + 7 * number) % 250 for place in range(length)] for number, length in enumerate((3, 17, 40))]


CUTS = {3: (0, 3), 17: (0, 16, 17), 40: (0, 9, 30, 31, 32, 40)}
"""In one piece; with the last token as a decode; and in pieces of every kind."""


def reference(base: Path, adapter: Path | None) -> list[torch.Tensor]:
    model = load_reference(base, adapter)
    with torch.no_grad():
        return [model(input_ids=torch.tensor([prompt])).logits[0, -1] for prompt in PROMPTS]


def check_parity(base: Path, adapters: dict[str, Path]) -> None:
    """Compare every prompt on the base and on every adapter, in one batch, with PEFT one by one."""
    harness = Harness(base, enable_lora=True)
    voices: list[Any] = [None, *(harness.adapter(path, name) for name, path in adapters.items())]
    sequences = [harness.sequence(prompt, adapter=voice) for prompt in PROMPTS for voice in voices]
    packed = harness.logits(sequences, [CUTS[len(sequence.prompt)] for sequence in sequences])
    base_logits = reference(base, None)
    for number, voice in enumerate(voices):
        expected = reference(base, voice.path) if voice else base_logits
        for place, logits in enumerate(packed[number :: len(voices)]):
            assert torch.allclose(logits, expected[place], rtol=0, atol=1e-4), (voice and voice.name, place)
            if voice:
                assert (logits - base_logits[place]).abs().max() > 0.05, f"{voice.name} changes nothing"


def make_adapters(folder: Path, base: Path) -> dict[str, Path]:
    """Adapters of four kinds: small, large with rsLoRA, of attention only, and with patterns."""
    return {
        "small": make_adapter(folder / "small", base, r=4, seed=1),
        "rslora": make_adapter(folder / "rslora", base, r=64, rslora=True, seed=2),
        "attention": make_adapter(folder / "attention", base, targets=("q_proj", "v_proj"), seed=3),
        "patterns": make_adapter(
            folder / "patterns", base, rank_pattern={"down_proj": 16}, alpha_pattern={"q_proj": 4}, seed=4
        ),
    }
