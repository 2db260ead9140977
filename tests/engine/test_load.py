"""From a folder to a model: which runner computes it, in which precision, and within which limits."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from firectl.engine.compute.lean.runner import LeanRunner
from firectl.engine.compute.transformers.runner import TransformersRunner
from firectl.engine.load import load
from firectl.engine.options import EngineOptions
from firectl.errors import AdapterError
from tests.engine.harness import Harness
from tests.engine.process import SOURCES
from tests.tiny import make_base


def test_the_common_families_are_lean_and_all_others_transformers(tmp_path: Path) -> None:
    for arch, runner in (("llama", LeanRunner), ("qwen3", LeanRunner), ("gemma", TransformersRunner)):
        assert isinstance(load(EngineOptions(make_base(tmp_path / arch, arch=arch), "base")).runner, runner)
    unusual = make_base(tmp_path / "gelu", config={"hidden_act": "gelu"})
    assert isinstance(load(EngineOptions(unusual, "base")).runner, TransformersRunner)


def test_an_answer_ends_at_the_tokens_of_all_files(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", config={"eos_token_id": [7]})
    (base / "generation_config.json").write_text('{"eos_token_id": [8, 9]}')
    assert load(EngineOptions(base, "base")).eos == {7, 8, 9, 257}  # the tokenizer's own is 257


def test_a_gpu_that_is_not_there_is_refused(base: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(AdapterError, match="--device cuda: torch finds no GPU"):
        load(EngineOptions(base, "base", device="cuda"))


def test_a_context_longer_than_the_model_or_the_memory_allows_is_refused(base: Path) -> None:
    options = EngineOptions(base, "base")
    with pytest.raises(AdapterError, match="--max-model-len 513 is more than the 512 tokens that this model supports"):
        load(replace(options, max_model_len=513))
    with pytest.raises(AdapterError, match="--max-model-len 512 needs 262144 bytes for keys"):
        load(replace(options, max_model_len=512, kv_memory=2**17))
    shortened = load(replace(options, kv_memory=2**17))
    # 2 layers of 2 heads of 16 floats of 4 bytes, for keys and for values.
    assert shortened.max_length == shortened.kv_tokens == 2**17 // (2 * 2 * 16 * 4 * 2) == 256


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_is_served_in_the_precision_that_is_asked_for(dtype: str, tmp_path: Path) -> None:
    harness = Harness(make_base(tmp_path / "base", dtype="bfloat16"), dtype=dtype)
    assert harness.loaded.dtype is getattr(torch, dtype)
    exact = Harness(harness.options.model, dtype="float32")
    prompt = list(range(40))
    logits = harness.logits([harness.sequence(prompt)], [(0, 20, 39, 40)])[0]
    expected = exact.logits([exact.sequence(prompt)], [(0, 40)])[0]
    assert 0 < (logits - expected).abs().max() < 0.1


def test_a_common_model_is_loaded_without_transformers(base: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from firectl.engine.load import load; from firectl.engine.options import EngineOptions\n"
        f"load(EngineOptions(model=Path({str(base)!r}), served_model_name='base'))\n"
        "import firectl.engine.start\n"
        "sys.exit('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0
