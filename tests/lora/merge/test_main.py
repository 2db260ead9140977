"""`lora/merge/__main__.py`: the merge as a process, its lines and exit codes, and that it may be killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from firectl.lora.merge.merge import merge
from tests.lora.conftest import Make
from tests.lora.merge.results import BIG, run_merge, tensors_of, written_record


def test_the_command_prints_progress_lines_and_the_record_last(base: Make, adapter: Make, tmp_path: Path) -> None:
    process = run_merge(adapter(base()), base(), tmp_path / "out")
    stdout, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, "")
    *progress, record = map(json.loads, stdout.splitlines())
    assert all(line.keys() == {"done", "total"} for line in progress)
    assert progress[-1]["done"] == progress[-1]["total"]
    assert record == written_record(tmp_path / "out")


def test_the_command_says_an_error_as_one_json_line_and_exits_2(base: Make, adapter: Make, tmp_path: Path) -> None:
    process = run_merge(adapter(base()), base(hidden=128), tmp_path / "out")
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (2, "")
    (line,) = stderr.splitlines()
    error = json.loads(line)["error"]
    assert error["message"].startswith("'base_model.model.model.layers.0.mlp.down_proj.lora_A.weight': the adapter")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_overflows_is_said_as_one_line_and_not_as_a_warning_too(
    base: Make, adapter: Make, tmp_path: Path, dtype: str
) -> None:
    from safetensors.torch import save_file

    lora = Path(shutil.copytree(adapter(base()), tmp_path / "lora"))
    huge = {name: value * 0 + 1e30 for name, value in tensors_of(lora).items()}
    save_file(huge, lora / "adapter_model.safetensors", {"format": "pt"})
    process = run_merge(lora, base(dtype=dtype), tmp_path / "out")
    _, stderr = process.communicate()
    assert process.returncode == 2
    (line,) = stderr.splitlines()
    assert json.loads(line)["error"]["message"].endswith(
        {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}[dtype]
    )
    assert not (tmp_path / "out").exists()


def test_a_killed_merge_leaves_no_result_and_the_next_one_cleans_up(base: Make, adapter: Make, tmp_path: Path) -> None:
    folder = base(**BIG)
    lora = adapter(folder)
    process = run_merge(lora, folder, tmp_path / "out")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert 0 < first["done"] < first["total"]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".out.")
    assert leftover.name.endswith(".partial")
    os.utime(leftover, (0, 0))
    merge(lora, folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
