"""How long does `firectl lora check` take for a base of 8 billion numbers? Beside importing two libraries.

    python benchmarks/check.py [--rounds 15] [--json FILE]

Writes the headers of an 8B-shaped Llama in four shards, with holes for weights (no disk is used), and a rank-16 adapter
on all seven projections. Compared in turns, as whole processes: `python -c pass`; `python -c "import click, pydantic"`,
which is what the goal is measured by; `lora check`; and the same with `--deep`, which reads the adapter's 84 MB.
Exits 1 when the goal is missed. Needs `.[dev]`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

HIDDEN, LAYERS, INNER, KEYS, VOCAB, RANK = 4096, 32, 14336, 1024, 128256, 16
GOAL = 3.0
HEAVY = ("torch", "numpy", "safetensors", "transformers", "peft")
CHECK = "import sys; sys.argv[0] = 'firectl'; from firectl.cli.main import main; main()"
LOADED = CHECK.replace("main()", "\ntry:\n    main()\nfinally:\n    sys.stderr.write('\\n'.join(sys.modules))")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base, adapter = make_base(Path(folder, "base")), make_adapter(Path(folder, "adapter"))
        check = ["lora", "check", str(adapter), "--base-model", str(base), "-o", "json"]
        seconds = measure(
            {
                "python -c pass": ["pass"],
                "import click, pydantic": ["import click, pydantic"],
                "lora check": [CHECK, *check],
                "lora check --deep": [CHECK, *check, "--deep"],
            },
            options.rounds,
        )
        loaded = run([LOADED, *check]).stderr.split()
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    ratio = middle["lora check"] / middle["import click, pydantic"]
    heavy = sorted(set(HEAVY) & set(loaded))
    print(f"{'process':24} {'median':>8} {'fastest':>8} {'slowest':>8}   ms, of {options.rounds}")
    for name, times in seconds.items():
        print(f"{name:24} {1000 * middle[name]:8.1f} {1000 * min(times):8.1f} {1000 * max(times):8.1f}")
    met = ratio < GOAL and not heavy
    said = ", ".join(heavy) or "nothing heavy"
    print(f"lora check : import click, pydantic = {ratio:.2f}, below {GOAL:g}; loads {said}")
    print("met" if met else "NOT MET")
    if options.json is not None:
        document = {"seconds": seconds, "median_seconds": middle, "ratio": ratio, "heavy": heavy, "met": met}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if met else 1


def measure(ways: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, in turns, after one that fills the caches."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, code in ways.items():
            began = time.perf_counter()
            run(code)
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def run(code: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", *code], check=True, capture_output=True, text=True)


def modules() -> dict[str, tuple[int, int]]:
    """Every projection and its [out, in]."""
    attention = {"q": (HIDDEN, HIDDEN), "k": (KEYS, HIDDEN), "v": (KEYS, HIDDEN), "o": (HIDDEN, HIDDEN)}
    inner = {"gate": (INNER, HIDDEN), "up": (INNER, HIDDEN), "down": (HIDDEN, INNER)}
    found = {f"self_attn.{name}_proj": size for name, size in attention.items()}
    found |= {f"mlp.{name}_proj": size for name, size in inner.items()}
    return {f"model.layers.{n}.{name}": size for n in range(LAYERS) for name, size in found.items()}


def make_base(folder: Path) -> Path:
    folder.mkdir()
    sizes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCAB, HIDDEN),
        "lm_head.weight": (VOCAB, HIDDEN),
    }
    sizes |= {f"{name}.weight": size for name, size in modules().items()}
    for n in range(LAYERS):
        sizes |= {f"model.layers.{n}.{norm}_layernorm.weight": (HIDDEN,) for norm in ("input", "post_attention")}
    sizes["model.norm.weight"] = (HIDDEN,)
    weight_map: dict[str, str] = {}
    for number in range(4):
        file = f"model-{number + 1:05d}-of-00004.safetensors"
        part = dict(list(sizes.items())[number::4])
        weight_map |= dict.fromkeys(part, file)
        hollow(folder / file, part)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    config = {"model_type": "llama", "tie_word_embeddings": False, "_name_or_path": "org/base"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def make_adapter(folder: Path) -> Path:
    folder.mkdir()
    factors: dict[str, tuple[int, ...]] = {}
    for name, (rows, columns) in modules().items():
        factors[f"base_model.model.{name}.lora_A.weight"] = (RANK, columns)
        factors[f"base_model.model.{name}.lora_B.weight"] = (rows, RANK)
    hollow(folder / "adapter_model.safetensors", factors)
    targets = sorted({name.rpartition(".")[2] for name in modules()})
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 32, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "org/base"}))
    return folder


def hollow(path: Path, sizes: Mapping[str, tuple[int, ...]]) -> None:
    """A safetensors file of bfloat16 whose numbers are a hole."""
    header, end = {}, 0
    for name, size in sizes.items():
        count = 2 * math.prod(size)
        header[name] = {"dtype": "BF16", "shape": size, "data_offsets": [end, end + count]}
        end += count
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)


if __name__ == "__main__":
    raise SystemExit(main())
