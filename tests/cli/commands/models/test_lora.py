"""`cli/commands/models/lora.py`: what each verb prints for people and for scripts, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_a_sound_adapter_is_described_and_exits_0(cli: Cli, made: Path) -> None:
    ran = cli("lora", "check", str(made / "adapter"), "--base-model", str(made / "base"), "--deep")
    assert (ran.code, ran.err) == (0, "")
    first, format_, files, size, *rest = ran.out.splitlines()
    assert (first, format_) == ("Valid: true", "Format: safetensors")
    assert files.startswith("Files: adapter_config.json (1.")
    assert size.endswith(" kB, 16,384 numbers of F32")
    assert rest == [
        "Rank: 8",
        "Alpha: 16",
        "Scaling: 2",
        "Targets: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj (14 modules)",
        "Recorded Base Model: org/tiny",
        "Base Model: llama, 21 tensors, head untied",
        "Live Merge: true",
        "Multi LoRA: true",
    ]


def test_json_is_one_object_good_or_bad(cli: Cli, made: Path, tmp_path: Path) -> None:
    for adapter, code in ((made / "adapter", 0), (tmp_path / "none", 2)):
        ran = cli("lora", "check", str(adapter), "-o", "json")
        assert (ran.code, ran.err) == (code, "")
        assert ran.json["valid"] is (code == 0)
        assert isinstance(ran.json["findings"], list)
    assert ran.json["findings"] == [
        {"severity": "error", "where": "adapter", "what": f"adapter folder {tmp_path / 'none'} does not exist"}
    ]


def test_an_adapter_that_does_not_fit_exits_2_and_every_finding_is_on_stdout(cli: Cli, made: Path) -> None:
    ran = cli("lora", "check", str(made / "base"), "--base-model", str(made / "adapter"))
    assert (ran.code, ran.err) == (2, "")
    assert ran.out.startswith("Valid: false\nError: adapter: adapter_config.json is missing")


def test_a_folder_that_is_mistyped_is_told_what_it_resembles(
    cli: Cli, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    ran = cli("lora", "check", "adapter", "--base-model", "./bas")
    assert ran.err.splitlines()[-1] == "Hint: did you mean ./base?"
    ran = cli("lora", "merge", "adaptr", "--base-model", "base", "--out", "out")
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "Hint: did you mean adapter?")
    ran = cli("lora", "parity", "head", "--base-model", "none")
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "Hint: did you mean base?")
    ran = cli("lora", "check", "adapter", "--base-model", "bsae")
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "Hint: did you mean base?")
    ran = cli("model", "create", "m", "./heed")
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "Hint: did you mean head?")


def test_an_8b_base_of_headers_alone_is_checked_without_anything_heavy(cli: Cli, made: Path, tmp_path: Path) -> None:
    """Sparse files: the headers of 32 layers of 4096, and no weights behind them."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    shapes = {"q_proj": (4096, 4096), "k_proj": (1024, 4096), "v_proj": (1024, 4096), "o_proj": (4096, 4096)}
    shapes |= {"gate_proj": (14336, 4096), "up_proj": (14336, 4096), "down_proj": (4096, 14336)}
    weights: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (128256, 4096),
        "lm_head.weight": (128256, 4096),
    }
    factors: dict[str, tuple[int, ...]] = {}
    for layer in range(32):
        for name, (rows, columns) in shapes.items():
            module = f"model.layers.{layer}.{'self_attn' if name[0] in 'qkvo' else 'mlp'}.{name}"
            weights[f"{module}.weight"] = (rows, columns)
            factors[f"base_model.model.{module}.lora_A.weight"] = (16, columns)
            factors[f"base_model.model.{module}.lora_B.weight"] = (rows, 16)
    _sparse(base / "model.safetensors", weights)
    _sparse(adapter / "adapter_model.safetensors", factors)
    (base / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": False}))
    config = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": [*shapes]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert (base / "model.safetensors").stat().st_size > 15e9
    script = (
        "import json, sys\nsys.argv[0] = 'firectl'\nfrom firectl.cli.main import main\n"
        "try:\n    main()\nfinally:\n    sys.stderr.write(json.dumps(sorted(sys.modules)))"
    )
    done = _run(script, "lora", "check", str(adapter), "--base-model", str(base), "-o", "json")
    assert json.loads(done.stdout)["valid"] is True
    heavy = {"torch", "numpy", "safetensors", "transformers", "peft", "pydantic", "httpx", "rich"}
    assert not heavy & set(json.loads(done.stderr))


def _sparse(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    header, end = {}, 0
    for name, (rows, columns) in shapes.items():
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [end, end + 2 * rows * columns]}
        end += 2 * rows * columns
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)


def _run(script: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True)


def test_parity_shows_the_ways_side_by_side(cli: Cli, made: Path) -> None:
    ran = cli("lora", "parity", str(made / "adapter"), "--base-model", str(made / "base"), "--prompt", "Hello there")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[:4] == ["Valid: true", "Changes Answers: true", "Ways Agree: true", "Tokens: 11"]
    assert [line.split()[:2] for line in lines[5:10]] == [
        ["dynamic", "merged"],
        ["base", "dynamic"],
        ["base", "merged"],
        ["peft", "merged"],
        ["peft", "dynamic"],
    ]
    assert lines[10].startswith("Loss On The Prompts: ")
