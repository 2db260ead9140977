"""Which sequences run next, without a model: the test marks chunks as computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.kv_slots import KVSlots
from firectl.engine.schedule.prefix_cache import PrefixCache
from firectl.engine.schedule.scheduler import Chunk, Scheduler
from firectl.engine.schedule.sequence import Sequence
from firectl.engine.text.stream import TextStream
from firectl.schemas.openai import Sampling


def sequence(prompt: int, max_tokens: int = 8, adapter: EngineAdapter | None = None) -> Sequence:
    return Sequence([0] * prompt, Sampling(), max_tokens, TextStream(lambda _: "", []), adapter)


def adapter(name: str) -> EngineAdapter:
    return EngineAdapter(name, "", {}, Path(), 4)


def scheduler(*, budget: int = 4096, longest: int = 1024, running: int = 4, step: int = 16) -> Scheduler:
    memory = KVSlots(budget, longest, running)
    return Scheduler(memory, PrefixCache(memory), running, step, answer_reserve=0)


def step(scheduler: Scheduler) -> list[Chunk]:
    """Schedule, and mark the chunks as computed."""
    chunks = scheduler.schedule()
    for chunk in chunks:
        samples = chunk.samples
        chunk.sequence.computed = chunk.stop
        if samples:
            chunk.sequence.append(1)
            if chunk.sequence.generated == chunk.sequence.max_tokens:
                scheduler.remove(chunk.sequence)
    return chunks


def shape(chunks: list[Chunk]) -> list[tuple[Sequence, int, int]]:
    return [(chunk.sequence, chunk.start, chunk.stop) for chunk in chunks]


def test_a_prompt_is_read_in_chunks_and_only_its_last_one_samples() -> None:
    one, s = sequence(40), scheduler()
    s.add(one)
    seen = []
    for _ in range(3):
        chunks = s.schedule()
        seen += [(chunk.start, chunk.stop, chunk.samples) for chunk in chunks]
        one.computed = chunks[0].stop
    assert seen == [(0, 16, False), (16, 32, False), (32, 40, True)]


def test_generating_sequences_come_first_and_prompts_get_the_rest() -> None:
    one, two, s = sequence(2), sequence(100), scheduler(step=16)
    s.add(one)
    step(s)
    s.add(two)
    assert shape(step(s)) == [(one, 2, 3), (two, 0, 15)]
    assert shape(step(s)) == [(one, 3, 4), (two, 15, 30)]


def test_the_limit_of_running_sequences_holds_and_the_next_starts_when_one_ends() -> None:
    sequences, s = [sequence(1, max_tokens=2) for _ in range(3)], scheduler(running=2)
    for each in sequences:
        s.add(each)
    assert [chunk.sequence for chunk in step(s)] == sequences[:2]
    assert [chunk.sequence for chunk in step(s)] == sequences[:2]
    assert [chunk.sequence for chunk in step(s)] == sequences[2:]


def test_a_step_never_exceeds_its_tokens() -> None:
    s = scheduler(running=4, step=5)
    for prompt in (7, 1, 30, 2, 9):
        s.add(sequence(prompt))
    while chunks := step(s):
        assert sum(chunk.count for chunk in chunks) <= 5


def test_an_adapter_with_many_waiting_does_not_keep_another_one_out() -> None:
    busy, rare, s = adapter("busy"), adapter("rare"), scheduler(running=2)
    first = [sequence(1, adapter=busy) for _ in range(5)]
    late = sequence(1, adapter=rare)
    for each in [*first, late]:
        s.add(each)
    assert [chunk.sequence for chunk in step(s)] == [first[0], late]


def test_within_one_adapter_the_oldest_comes_first() -> None:
    sequences, s = [sequence(1, max_tokens=1) for _ in range(4)], scheduler(running=1)
    for each in sequences:
        s.add(each)
    assert [step(s)[0].sequence for _ in range(4)] == sequences


def test_no_sequence_overtakes_one_that_waits_for_memory() -> None:
    s = scheduler(budget=1024, longest=1024)
    running, long, short = sequence(200, max_tokens=40), sequence(1000), sequence(1)
    s.add(running)
    step(s)
    s.add(long)
    s.add(short)
    for _ in range(20):
        step(s)
    assert list(s.waiting) == [long, short]


def test_one_that_outgrows_its_slot_moves_and_keeps_what_was_computed() -> None:
    one, s = sequence(250, max_tokens=20), scheduler(step=250)
    s.add(one)
    while one.generated < 8:
        step(s)
    assert one.slot is not None
    assert one.slot.capacity == 512
    assert one.computed == 257


def test_the_youngest_is_preempted_and_returns_with_its_tokens() -> None:
    s = scheduler(budget=1024, longest=512, step=256)
    old, young = sequence(250, max_tokens=40), sequence(250, max_tokens=40)
    third, fourth = sequence(200, max_tokens=5), sequence(200, max_tokens=5)
    for each in (old, young, third, fourth):
        s.add(each)
    order = []
    while s.running or s.waiting:
        order += [chunk.sequence for chunk in step(s) if chunk.samples and chunk.sequence.generated >= 40]
    assert old.generated == young.generated == 40
    assert third.generated == fourth.generated == 5
    assert s.taken == 0


def test_a_sequence_too_long_beside_others_ends_alone() -> None:
    s = scheduler(budget=512, longest=512, running=2, step=64)
    both = [sequence(240, max_tokens=272), sequence(240, max_tokens=272)]
    for each in both:
        s.add(each)
    steps = 0
    while s.running or s.waiting:
        assert step(s), "the scheduler stalled"
        steps += 1
        assert steps < 2000
    assert [each.generated for each in both] == [272, 272]


def test_a_cancelled_sequence_leaves_queue_and_memory() -> None:
    s = scheduler(running=1)
    running, waiting = sequence(4), sequence(4)
    s.add(running)
    s.add(waiting)
    step(s)
    s.remove(waiting)
    s.remove(running)
    s.remove(running)
    assert (s.running, list(s.waiting), s.taken) == ([], [], 0)
    assert s.schedule() == []


def test_a_step_too_small_for_all_running_sequences_is_refused() -> None:
    with pytest.raises(ValueError, match="a step of 2 tokens cannot serve 4 sequences"):
        scheduler(running=4, step=2)
