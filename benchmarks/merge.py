"""How fast, how small and how exact is a merge? Beside `cp -r` of the base and beside PEFT, in alternating rounds.

    python benchmarks/merge.py [--rounds 5] [--small] [--json FILE] [--folder DIR]

Makes a random Llama of 1.2 billion bfloat16 numbers (2.5 GB in five shards) and a rank-16 adapter on all seven
projections, in a temporary folder that is removed at the end. Each run ends with a `sync`, which counts. What is
compared: `cp -r BASE OUT`; `firectl lora merge` as a command, and its merge alone, after the imports; a script of
PEFT: load, merge_and_unload, save_pretrained. Needs `.[dev]`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FULL = {"hidden": 2048, "layers": 16, "intermediate": 8192, "heads": 32, "kv": 8, "vocab": 128256}
SMALL = {"hidden": 1024, "layers": 8, "intermediate": 2816, "heads": 16, "kv": 4, "vocab": 32000}
RANK, ALPHA = 16, 24

PEFT_SCRIPT = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, local_files_only=True)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
"""
AFTER_IMPORTS = """
import os, sys, time
from pathlib import Path
from firectl.lora.merge.merge import merge
from firectl.lora.merge import arithmetic
arithmetic.numpy()
adapter, base, out = map(Path, sys.argv[1:])
began = time.perf_counter()
merge(adapter, base, out)
os.sync()
print(time.perf_counter() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a model of 100 MB, to see that it works")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report = measure(Path(folder), SMALL if options.small else FULL, options.rounds)
    show(report)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def measure(folder: Path, shape: Mapping[str, int], rounds: int) -> dict[str, Any]:
    base, adapter, out = folder / "base", folder / "adapter", folder / "out"
    numbers = make_base(base, shape)
    make_adapter(adapter, base, shape)
    ours = [sys.executable, "-m", "firectl", "lora", "merge", adapter, "--base-model", base, "--out", out, "--quiet"]
    ways: dict[str, Sequence[Any]] = {
        "cp": ["cp", "-r", base, out],
        "command": ours,
        "after_imports": [sys.executable, "-c", AFTER_IMPORTS, adapter, base, out],
        "peft": [sys.executable, "-c", PEFT_SCRIPT, base, adapter, out],
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    peaks: dict[str, int] = dict.fromkeys(ways, 0)
    off = {}
    os.sync()
    for number in range(rounds):
        for way, command in ways.items():
            taken, peak, printed = run(command)
            seconds[way].append(float(printed) if way == "after_imports" else taken)
            peaks[way] = max(peaks[way], peak)
            if way in ("command", "peft") and number == 0:
                off[way] = compare(base, adapter, out, truth=way == "command")
            shutil.rmtree(out)
            os.sync()
    middle = {way: statistics.median(times) for way, times in seconds.items()}
    size, adapter_size = tree_size(base), tree_size(adapter)
    formula = off["command"]["result : torch"]
    limit = 0.15 * size + adapter_size + 500e6
    return {
        "parameters": numbers,
        "base_bytes": size,
        "adapter_bytes": adapter_size,
        "rounds": rounds,
        "seconds": seconds,
        "median_seconds": middle,
        "peak_bytes": peaks,
        "after_imports_over_cp": middle["after_imports"] / middle["cp"],
        "peft_over_command": middle["peft"] / middle["command"],
        "peak_limit_bytes": limit,
        "numbers_off": off,
        "met": {
            "after imports at most 4 x cp": middle["after_imports"] <= 4 * middle["cp"],
            "command at least 4 x faster than PEFT": middle["peft"] >= 4 * middle["command"],
            "peak memory within 15 % of the base + adapter + 500 MB": peaks["command"] <= limit,
            "at most 1 number in 1,000 off by one last place, none by more": formula["off"] <= numbers / 1000
            and formula["farthest"] <= 1,
        },
    }


def run(command: Sequence[Any]) -> tuple[float, int, str]:
    """(seconds with a sync at the end, peak resident bytes with mapped pages, what it printed)."""
    began = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    printed, _ = process.communicate()
    watcher.join()
    os.sync()
    taken = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{command[0]} … ended with {process.returncode}")
    return taken, peak, printed


def resident(pid: int) -> int:
    """The most bytes resident so far, pages of mapped files among them; 0 once the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def tree_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def modules(shape: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Every projection and its [out, in]."""
    hidden, kv, inner = shape["hidden"], shape["hidden"] // shape["heads"] * shape["kv"], shape["intermediate"]
    kinds = {f"self_attn.{name}": size for name, size in zip("qkvo", (hidden, kv, kv, hidden), strict=True)}
    found = {f"{name}_proj": (size, hidden) for name, size in kinds.items()}
    found |= {"mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner)}
    return {f"model.layers.{n}.{name}": size for n in range(shape["layers"]) for name, size in found.items()}


def make_base(folder: Path, shape: Mapping[str, int]) -> int:
    """A random Llama with a tied head, in five shards and an index; returns how many numbers it has."""
    folder.mkdir()
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16",
        "hidden_size": shape["hidden"], "intermediate_size": shape["intermediate"],
        "num_hidden_layers": shape["layers"], "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv"], "vocab_size": shape["vocab"], "tie_word_embeddings": True,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    hidden = shape["hidden"]
    sizes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (shape["vocab"], hidden)}
    sizes |= {f"{name}.weight": size for name, size in modules(shape).items()}
    for n in range(shape["layers"]):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            sizes[f"model.layers.{n}.{norm}.weight"] = (hidden,)
    sizes["model.norm.weight"] = (hidden,)
    random = np.random.default_rng(0)
    # Every weight is some stretch of the same random numbers: making a billion of them would take longer than merging.
    pool = bits(random.standard_normal(1 << 24, dtype=np.float32) * 0.02)
    total = sum(math.prod(size) for size in sizes.values())
    shards: list[dict[str, tuple[int, ...]]] = [{} for _ in range(5)]
    done = 0
    for name, size in sizes.items():
        shards[min(4, 5 * done // total)][name] = size
        done += math.prod(size)
    weight_map: dict[str, str] = {}
    for number, tensors in enumerate(shards):
        file = f"model-{number + 1:05d}-of-00005.safetensors"
        weight_map |= dict.fromkeys(tensors, file)
        with (folder / file).open("wb") as target:
            write_header(target, {name: ("BF16", size) for name, size in tensors.items()})
            for size in tensors.values():
                count = math.prod(size)
                start = int(random.integers(len(pool)))
                target.write(np.resize(np.roll(pool, -start) if count < len(pool) else pool, count).tobytes())
    index = {"metadata": {"total_size": 2 * total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total


def make_adapter(folder: Path, base: Path, shape: Mapping[str, int]) -> None:
    folder.mkdir()
    random = np.random.default_rng(1)
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "inference_mode": True,
        "target_modules": sorted({name.rpartition(".")[2] for name in modules(shape)}),
        "base_model_name_or_path": str(base),
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    factors = {}
    for name, (rows, columns) in modules(shape).items():
        factors[f"base_model.model.{name}.lora_A.weight"] = (RANK, columns)
        factors[f"base_model.model.{name}.lora_B.weight"] = (rows, RANK)
    with (folder / "adapter_model.safetensors").open("wb") as target:
        write_header(target, {name: ("F32", size) for name, size in factors.items()})
        for size in factors.values():
            target.write((random.standard_normal(size, dtype=np.float32) * 0.03).tobytes())


def bits(values: Any) -> Any:
    """Float32 numbers cut to bfloat16, as their 16 bits."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def write_header(target: Any, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    header, end = {}, 0
    for name, (dtype, size) in tensors.items():
        count = math.prod(size) * (4 if dtype == "F32" else 2)
        header[name] = {"dtype": dtype, "shape": size, "data_offsets": [end, end + count]}
        end += count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target.write(len(text).to_bytes(8, "little") + text)


def compare(base: Path, adapter: Path, out: Path, *, truth: bool) -> dict[str, dict[str, float]]:
    """How far a result is from the formula as torch computes it in float32, and, with `truth`, both from float64.

    In last places of bfloat16: of the result, and of the largest of base, change and result. Where base and change
    cancel, the result's last place is far below what float32 knows of either.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    factors = load_file(adapter / "adapter_model.safetensors")
    results: dict[str, Path] = {}
    for shard in sorted(out.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            results |= dict.fromkeys(file.keys(), shard)
    pairs = ("result : torch", "result : float64", "torch : float64") if truth else ("result : torch",)
    found = {
        pair: {"numbers": 0.0, "off": 0.0, "off_by_more": 0.0, "farthest": 0.0, "of_larger": 0.0} for pair in pairs
    }
    for shard in sorted(base.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                weight = file.get_tensor(name)
                with safe_open(results[name], "pt") as merged:
                    theirs = merged.get_tensor(name)
                module = f"base_model.model.{name.removesuffix('.weight')}"
                if f"{module}.lora_A.weight" not in factors:
                    same = torch.equal(theirs.view(torch.int16), weight.view(torch.int16))
                    assert same, f"{name}, which the adapter does not touch, was changed"
                    for counts in found.values():
                        counts["numbers"] += weight.numel()
                    continue
                a, b = (factors[f"{module}.lora_{part}.weight"] for part in "AB")
                for first in range(0, len(b), 1024):
                    old, some = weight[first : first + 1024], b[first : first + 1024]
                    change = ALPHA / RANK * (some.float() @ a.float())
                    ways = {"result": theirs[first : first + 1024], "torch": (old.float() + change).to(torch.bfloat16)}
                    if truth:
                        exact = old.double() + ALPHA / RANK * (some.double() @ a.double())
                        ways["float64"] = exact.to(torch.bfloat16)
                    larger = torch.maximum(torch.maximum(old.float().abs(), change.abs()), ways["torch"].float().abs())
                    for pair, counts in found.items():
                        left, right = (ways[way] for way in pair.split(" : "))
                        count(counts, left, right, larger)
    return found


def count(counts: dict[str, float], left: Any, right: Any, larger: Any) -> None:
    """Add one matrix of bfloat16 numbers to the counts; `larger`: the largest of what met in each."""
    import torch

    def place(values: Any) -> Any:
        """The numbers' places in their order, zero at 0 whatever its sign."""
        bits = values.view(torch.int16).int()
        return torch.where(bits < 0, -(bits & 0x7FFF), bits)

    apart = (place(left) - place(right)).abs()
    counts["numbers"] += apart.numel()
    counts["off"] += int((apart > 0).sum())
    counts["off_by_more"] += int((apart > 1).sum())
    counts["farthest"] = max(counts["farthest"], int(apart.max()))
    at = apart > 0
    if at.any():
        last_place = torch.exp2(torch.floor(torch.log2(larger[at])) - 7)
        counts["of_larger"] = max(
            counts["of_larger"], float(((left[at].float() - right[at].float()).abs() / last_place).max())
        )


def show(report: Mapping[str, Any]) -> None:
    print(f"{report['parameters'] / 1e9:.2f} billion numbers, {report['base_bytes'] / 1e9:.2f} GB in five shards")
    print(f"{'':16} {'median s':>9} {'x cp':>6} {'peak MB':>8}")
    for way, seconds in report["median_seconds"].items():
        ratio = seconds / report["median_seconds"]["cp"]
        print(f"{way:16} {seconds:9.2f} {ratio:6.2f} {report['peak_bytes'][way] / 1e6:8.0f}")
    print(f"PEFT / command: {report['peft_over_command']:.2f}")
    print(f"{'off, in last places':26} {'1 or more':>10} {'more than 1':>12} {'farthest':>9} {'of largest':>10}")
    for way, pairs in report["numbers_off"].items():
        for pair, counts in pairs.items():
            label = f"{way}: {pair}"
            shares = f"{counts['off'] / counts['numbers']:10.1e} {counts['off_by_more'] / counts['numbers']:12.1e}"
            print(f"{label:26} {shares} {counts['farthest']:9.0f} {counts['of_larger']:10.2g}")
    for claim, met in report["met"].items():
        print(f"{'met' if met else 'NOT MET'}: {claim}")


if __name__ == "__main__":
    main()
