"""One batch of a step's chunks: whose rows lie where, and what one attention call reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from firectl.engine.compute.packing import Batch, pack
from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.kv_slots import Slot
from firectl.engine.schedule.scheduler import Chunk
from firectl.engine.schedule.sequence import Sequence
from firectl.engine.text.stream import TextStream
from firectl.schemas.openai import Sampling

CPU = torch.device("cpu")
ONE, TWO = (EngineAdapter(name, "", {}, Path(), 4) for name in ("one", "two"))


def sequence(tokens: int, index: int, adapter: EngineAdapter | None = None) -> Sequence:
    made = Sequence(
        [10 * index + place for place in range(tokens)], Sampling(), 8, TextStream(lambda _: "", []), adapter
    )
    made.slot = Slot(0, index, 64)
    return made


def last_token(of: Sequence) -> Chunk:
    return Chunk(of, len(of.tokens) - 1, 1)


def test_rows_of_the_base_come_first_then_adapters_by_their_rows() -> None:
    reading, generating = sequence(4, 0, ONE), sequence(3, 1, TWO)
    base = sequence(2, 2)
    batch = pack([Chunk(reading, 0, 4), last_token(generating), last_token(base)], CPU)
    assert batch.adapters == ((TWO, 1, 2), (ONE, 2, 6))
    assert batch.ids.tolist() == [[21, 12, 0, 1, 2, 3]]
    assert batch.positions.tolist() == [[1, 2, 0, 1, 2, 3]]
    assert batch.sampled == (base, generating, reading)
    assert batch.sampled_rows.tolist() == [0, 1, 5]
    assert batch.sampled_adapters == ((TWO, 1, 2), (ONE, 2, 3))
    assert batch.highest == 3


def test_among_adapters_of_as_many_rows_their_place_decides() -> None:
    chunks = [last_token(sequence(2, 0, ONE)), last_token(sequence(2, 1, TWO))]
    assert [adapter for adapter, _, _ in pack(chunks, CPU, {ONE: 5, TWO: 3}).adapters] == [TWO, ONE]
    assert [adapter for adapter, _, _ in pack(chunks, CPU, {ONE: 3, TWO: 5}).adapters] == [ONE, TWO]


def test_a_chunk_that_does_not_end_its_sequence_samples_nothing() -> None:
    batch = pack([Chunk(sequence(9, 0), 0, 4)], CPU)
    assert batch.sampled == ()
    [prefill] = batch.prefills
    assert (prefill.first, prefill.last, prefill.start, prefill.stop) == (0, 4, 0, 4)


def spans(batch: Batch) -> list[tuple[int, int, int]]:
    return [(decodes.low, decodes.high, decodes.length) for decodes in batch.decodes]


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([0, 1, 2], [(0, 3, 16)]),
        ([0, 2], [(0, 3, 16)]),
        ([0, 4], [(0, 1, 16), (4, 5, 16)]),
    ],
    ids=["adjacent", "one free slot between", "many free slots between"],
)
def test_one_call_reads_slots_that_lie_near_each_other(
    indices: list[int], expected: list[tuple[int, int, int]]
) -> None:
    assert spans(pack([last_token(sequence(5, index)) for index in indices], CPU)) == expected


def test_a_mask_lets_each_row_see_its_own_positions_within_its_window() -> None:
    [decodes] = pack([last_token(sequence(3, 0)), last_token(sequence(6, 1))], CPU).decodes
    seen = decodes.mask(None, torch.float32)[:, 0, 0] == 0
    assert seen.sum(dim=1).tolist() == [3, 6]
    windowed = decodes.mask(2, torch.float32)[:, 0, 0] == 0
    assert [row.nonzero().flatten().tolist() for row in windowed] == [[1, 2], [4, 5]]


def test_a_sequence_without_a_slot_is_a_mistake_of_the_scheduler() -> None:
    homeless = sequence(2, 0)
    homeless.slot = None
    with pytest.raises(RuntimeError, match="has no slot"):
        pack([last_token(homeless)], CPU)
