"""The comparison of the ways to apply an adapter: what it measures, what it allows, and what it says of the samples."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from firectl.errors import AdapterError, InputError
from firectl.lora.merge.merge import merge
from firectl.lora.parity import (
    EXACT,
    applied,
    compare,
    load,
    logits_of,
    loss,
    parity,
    report,
    require,
    tokens_of,
    tolerance,
    verify,
)
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.base_model import BaseModel
from firectl.samples import sample_path
from tests.lora.conftest import Make


def test_the_samples_that_ship_pick_the_same_token_99_times_in_100_in_16_bits(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(sample_path("base"), tmp_path / "base"))
    for shard in folder.glob("*.safetensors"):
        save_file({name: value.to(torch.bfloat16) for name, value in load_file(shard).items()}, shard, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {"dtype": "bfloat16", "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("pirate", "poet"):
        report = parity(
            sample_path(name), folder, ["Hello!", "What is the capital of France?", "Tell me about the sea."]
        )
        assert (report["valid"], report["changes"], report["skipped"]) == (True, True, {})
        agreement = {(found["left"], found["right"]): found["top1_agreement"] for found in report["comparisons"]}
        assert agreement["dynamic", "merged"] >= 0.99
        assert agreement["peft", "merged"] >= 0.99


def tensor(*rows: list[float]) -> Any:
    import torch

    return torch.tensor(rows)


def test_differences_are_taken_over_all_tokens_of_all_prompts() -> None:
    left = [tensor([0.0, 1.0], [5.0, 0.0]), tensor([0.0, 0.0])]
    right = [tensor([0.0, 1.5], [0.0, 0.5]), tensor([0.0, 0.0])]
    assert compare(left, right) == {
        "max_difference": 5.0,
        "mean_difference": pytest.approx(1.0),
        "top1_agreement": pytest.approx(2 / 3),
    }


def test_float32_is_allowed_a_largest_and_16_bits_a_mean_difference() -> None:
    base, changed = [tensor([0.0, 0.0])], [tensor([40.0, 0.0])]
    measure, allowed = tolerance(base, changed, exact=True)
    assert (measure, allowed == pytest.approx(40 * EXACT)) == ("max_difference", True)
    measure, allowed = tolerance(base, changed, exact=False)
    assert (measure, allowed == pytest.approx(0.25 * 20)) == ("mean_difference", True)
    # If an adapter changes nothing, a share of the logits' spread is allowed.
    assert tolerance(changed, changed, exact=False)[1] == pytest.approx(0.01 * float(changed[0].std()))


def test_the_loss_is_of_the_next_tokens_and_needs_two() -> None:
    import torch

    uniform = [torch.zeros(3, 4)]
    assert loss(uniform, [torch.tensor([0, 1, 2])]) == pytest.approx(float(torch.log(torch.tensor(4.0))))
    assert loss([torch.zeros(1, 4)], [torch.tensor([0])]) is None


@pytest.mark.parametrize(
    ("merged", "dynamic", "valid", "changes", "agrees"),
    [
        ([2.0, 0.0], [2.0, 0.0], True, True, True),
        ([2.0, 0.0], [2.1, 0.0], False, True, False),
        ([1.0, 0.0], [1.0, 0.0], False, False, True),
        ([2.0, 0.0], None, False, True, None),
    ],
    ids=["agree", "differ", "change nothing", "nothing to compare"],
)
def test_a_report_is_valid_if_the_adapter_changes_answers_and_all_ways_agree(
    merged: list[float], dynamic: list[float] | None, valid: bool, changes: bool, agrees: bool | None
) -> None:
    import torch

    logits = {"base": [tensor([1.0, 0.0])], "merged": [tensor(merged)]}
    if dynamic is not None:
        logits["dynamic"] = [tensor(dynamic)]
    found = report(logits, [torch.tensor([0])], {"peft": "is not installed"}, exact=True)
    assert (found["valid"], found["changes"], found["agrees"]) == (valid, changes, agrees)
    assert found["skipped"] == {"peft": "is not installed"}
    assert found["allowed"]["measure"] == "max_difference"


def test_an_adapter_is_applied_inside_the_block_alone(base: Make, adapter: Make, tmp_path: Path) -> None:
    import torch

    inputs = [torch.arange(20)]
    model = load(base())
    before = logits_of(model, inputs)[0]
    with applied(model, Adapter.open(adapter(base())), BaseModel.open(base())):
        inside = logits_of(model, inputs)[0]
    merge(adapter(base()), base(), tmp_path / "out")
    assert (inside - logits_of(load(tmp_path / "out"), inputs)[0]).abs().max() < 1e-4
    assert (inside - before).abs().max() > 0.1
    assert torch.equal(logits_of(model, inputs)[0], before)


def test_verify_finds_a_merge_with_another_weight(base: Make, adapter: Make, tmp_path: Path) -> None:
    lora = adapter(base())
    merge([(lora, 0.5)], base(), tmp_path / "out")
    assert verify([(lora, 0.5)], base(), tmp_path / "out")["agrees"] is True
    assert verify([(lora, 1.0)], base(), tmp_path / "out")["agrees"] is False


def test_what_is_missing_is_named(base: Make, tmp_path: Path) -> None:
    require("json")
    with pytest.raises(InputError, match="no_such_library is not installed") as caught:
        require("json", "no_such_library")
    assert caught.value.hint == "pip install 'firectl[local]'"
    assert [tokens.tolist() for tokens in tokens_of(base(), ["Hé"])] == [list("Hé".encode())]
    with pytest.raises(AdapterError, match="a prompt has no tokens"):
        tokens_of(base(), ["Hi", ""])
    bare = Path(shutil.copytree(base(), tmp_path / "bare"))
    for path in bare.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(AdapterError, match="the base model's tokenizer cannot be read"):
        tokens_of(bare, ["Hi"])
