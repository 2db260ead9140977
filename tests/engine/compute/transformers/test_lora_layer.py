"""LoRA in a linear layer: each adapter on its own rows, and the bits of the base everywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from firectl.engine.compute.attention import PackedStep
from firectl.engine.compute.kv_store import KVStore
from firectl.engine.compute.packing import pack
from firectl.engine.compute.transformers.lora_layer import LoraForward, LoraLayers
from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.kv_slots import Slot
from firectl.engine.schedule.scheduler import Chunk
from firectl.engine.schedule.sequence import Sequence
from firectl.engine.text.stream import TextStream
from firectl.errors import AdapterError
from firectl.lora.weights import Factors
from firectl.schemas.openai import Sampling


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(6, 4), nn.Linear(4, 9)

    def get_output_embeddings(self) -> nn.Module:
        return self.head


def adapter(name: str, module: str, features_in: int = 6, features_out: int = 4) -> EngineAdapter:
    weights = Factors(torch.randn(features_in, 2), torch.randn(2, features_out), 0.5)
    return EngineAdapter(name, "", {module: weights}, Path(), 2)


def test_each_adapter_changes_its_own_rows_alone() -> None:
    torch.manual_seed(0)
    model, step = TwoLayers(), PackedStep(KVStore())
    changes, other = adapter("changes", "inner"), adapter("other", "elsewhere")
    sequences = []
    for index, voice in enumerate((None, other, changes)):
        sequences.append(Sequence([1, 2, 3][: index + 1], Sampling(), 1, TextStream(lambda _: "", []), voice))
        sequences[-1].slot = Slot(0, index, 8)
    step.batch = pack([Chunk(each, 0, len(each.tokens)) for each in sequences], torch.device("cpu"))
    assert step.batch.adapters == ((other, 1, 3), (changes, 3, 6))
    x = torch.randn(1, 6, 6)
    with torch.inference_mode():
        base = model.inner(x)
        LoraLayers(model, step).carry([changes])
        assert isinstance(model.inner.forward, LoraForward)
        found = model.inner(x)
    weights = changes.modules["inner"]
    assert torch.equal(found[0, :3], base[0, :3])
    torch.testing.assert_close(found[0, 3:], base[0, 3:] + 0.5 * (x[0, 3:] @ weights.a) @ weights.b)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (adapter("head", "head", 4, 9), "head is not a layer that several adapters can share"),
        (adapter("unknown", "outer"), "outer is not a layer"),
        (adapter("shape", "inner", 5), "inner: expected 6→4 as in the base, got 5→4"),
    ],
    ids=["output layer", "unknown", "shape"],
)
def test_an_adapter_of_other_layers_is_refused(wrong: EngineAdapter, message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        LoraLayers(TwoLayers(), PackedStep(KVStore())).check(wrong)
