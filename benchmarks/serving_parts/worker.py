"""What transformers and PEFT do with the same model, and what the machine's memory does: a process of its own.

    python -m serving_parts.worker MERGED BASE A0 A1 A2 A3

Answers a word on a line with a number on a line: `float32`, `bfloat16`: tokens a second of generate() on a batch of 8;
`peft`: of PEFT's mixed batch, eight rows on four adapters; `read`: bytes a second that all threads read.
"""

from __future__ import annotations

import sys
import time
import warnings

ROWS, PROMPT, TOKENS = 8, 200, 64


def main(merged: str, base: str, *adapters: str) -> None:
    warnings.simplefilter("ignore")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.randint(32, 126, (ROWS, PROMPT))
    options = {
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": TOKENS,
        "min_new_tokens": TOKENS,
        "do_sample": False,
        "pad_token_id": 0,
    }
    plain = {
        name: AutoModelForCausalLM.from_pretrained(merged, dtype=getattr(torch, name)).eval()
        for name in ("float32", "bfloat16")
    }
    mixed = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapters[0], adapter_name="a0"
    )
    for number, folder in enumerate(adapters[1:], 1):
        mixed.load_adapter(folder, adapter_name=f"a{number}")
    mixed.eval()
    rows = [f"a{row % len(adapters)}" for row in range(ROWS)]
    block = torch.ones(64 << 20, dtype=torch.float32)

    def read() -> float:
        started = time.perf_counter()
        block.sum()
        return block.numel() * 4 / (time.perf_counter() - started)

    def generate(name: str) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            if name == "peft":
                mixed.generate(ids, adapter_names=rows, **options)
            else:
                plain[name].generate(ids, **options)
        return ROWS * TOKENS / (time.perf_counter() - started)

    print("ready", flush=True)
    for line in sys.stdin:
        word = line.strip()
        print(max(read() for _ in range(5)) if word == "read" else generate(word), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
