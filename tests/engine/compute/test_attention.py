"""Attention over a packed batch: each row sees its own sequence, up to itself, within its window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from firectl.engine.compute.attention import STEP_ATTRIBUTE, MaskRules, PackedStep, Rows, attend, packed_attention
from firectl.engine.compute.kv_store import KVStore
from firectl.engine.compute.packing import pack
from firectl.engine.schedule.kv_slots import Create, Slot
from firectl.engine.schedule.scheduler import Chunk
from firectl.engine.schedule.sequence import Sequence
from firectl.engine.text.stream import TextStream
from firectl.errors import AdapterError
from firectl.schemas.openai import Sampling
from tests.engine.parity import check_parity
from tests.tiny import make_adapter, make_base

HEADS, KV_HEADS, SIZE = 4, 2, 8
RULES = {
    "plain": MaskRules(SIZE**-0.5),
    "window": MaskRules(SIZE**-0.5, window=3),
    "soft cap": MaskRules(SIZE**-0.5, softcap=2.0),
}


def expected(rows: Rows, rules: MaskRules) -> torch.Tensor:
    """What a whole sequence attends to, position by position: [rows, heads, size]."""
    out = torch.zeros_like(rows.queries)
    for place in range(len(rows.queries)):
        first = 0 if rules.window is None else max(0, place + 1 - rules.window)
        for head in range(HEADS):
            shared = head * KV_HEADS // HEADS
            scores = rows.keys[first : place + 1, shared] @ rows.queries[place, head] * rules.scale
            if rules.softcap is not None:
                scores = torch.tanh(scores / rules.softcap) * rules.softcap
            out[place, head] = torch.softmax(scores, 0) @ rows.values[first : place + 1, shared]
    return out


@pytest.mark.parametrize("name", RULES)
def test_prompts_in_chunks_and_single_tokens_attend_to_all_before_them(name: str) -> None:
    rules, lengths = RULES[name], (9, 5, 7)
    torch.manual_seed(1)
    whole = [Rows(*(torch.randn(length, heads, SIZE) for heads in (HEADS, KV_HEADS, KV_HEADS))) for length in lengths]
    sequences = []
    for index, length in enumerate(lengths):
        sequences.append(Sequence(list(range(length)), Sampling(), 1, TextStream(lambda _: "", [])))
        sequences[-1].slot = Slot(0, index, 16)
    store = KVStore()
    store.apply([Create(0, 3, 16)])
    found = [torch.zeros(length, HEADS, SIZE) for length in lengths]
    # The last step has a chunk of the first sequence beside single tokens of the others.
    for cuts in ([(0, 4), (0, 4), (0, 6)], [(4, 9), (4, 5), (6, 7)]):
        batch = pack([Chunk(each, a, b - a) for each, (a, b) in zip(sequences, cuts, strict=True)], torch.device("cpu"))
        order = sorted(range(3), key=lambda number: (cuts[number][1] - cuts[number][0] > 1, number))
        parts = [whole[number].take(slice(*cuts[number])) for number in order]
        rows = Rows(
            *(torch.cat(tensors) for tensors in zip(*((p.queries, p.keys, p.values) for p in parts), strict=True))
        )
        out = torch.zeros(rows.queries.shape)
        attend(batch, store, 0, rows, rules, out)
        first = 0
        for number in order:
            a, b = cuts[number]
            found[number][a:b] = out[first : first + b - a]
            first += b - a
    for mine, rows in zip(found, whole, strict=True):
        torch.testing.assert_close(mine, expected(rows, rules))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"attention_mask": torch.zeros(1)}, "its own attention mask"),
        ({"dropout": 0.1}, "dropout"),
        ({"s_aux": torch.zeros(1)}, "s_aux"),
    ],
)
def test_what_a_model_asks_beyond_what_is_supported_is_refused(asked: dict[str, Any], message: str) -> None:
    layer = nn.Module()
    layer.layer_idx = 0  # type: ignore[assignment]
    setattr(layer, STEP_ATTRIBUTE, PackedStep(KVStore()))
    tensor = torch.zeros(1, 2, 3, 8)
    with pytest.raises(AdapterError, match=f"needs {message}, which this engine does not support"):
        packed_attention(layer, tensor, tensor, tensor, **{"attention_mask": None} | asked)


@pytest.mark.parametrize("window", [4, 16, 64])
def test_a_sliding_window_hides_what_lies_before_it(window: int, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", arch="mistral", config={"sliding_window": window})
    check_parity(base, {"all": make_adapter(tmp_path / "all", base, seed=1)})


def test_windows_and_full_attention_take_turns_by_layer(tmp_path: Path) -> None:
    config = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
    base = make_base(tmp_path / "base", arch="qwen2", layers=3, config=config)
    check_parity(base, {"all": make_adapter(tmp_path / "all", base, seed=1)})
