"""A prefix that was computed once is copied, for the adapter that computed it and for no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.engine.engine import Engine
from firectl.engine.schedule.kv_slots import KVSlots
from firectl.engine.schedule.prefix_cache import PrefixCache, common_length
from firectl.engine.schedule.sequence import Sequence
from firectl.engine.text.stream import TextStream
from firectl.schemas.openai import Sampling
from tests.engine.harness import Harness, Inbox, metric
from tests.tiny import make_adapter

PROMPT = "The quick brown fox jumps over the lazy dog, and the dog lets it."
"""Longer than the shortest prefix that is kept."""


def hits(engine: Engine) -> float:
    return metric(engine, "vllm:prefix_cache_hits_total")


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_the_common_length_is_what_counting_gives(one: list[int], other: list[int]) -> None:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    assert common_length(one, other) == length


def test_a_repeated_prompt_is_copied_and_answered_the_same(harness: Harness) -> None:
    with harness.running() as (engine, inbox):
        answers = []
        for _ in range(3):
            sequence = harness.sequence(PROMPT)
            engine.submit([sequence])
            answers.append(inbox.wait(sequence).tokens)
        assert answers[0] == answers[1] == answers[2]
        assert hits(engine) == 2 * (len(sequence.prompt) - 1)
        assert metric(engine, "vllm:prompt_tokens_total") == len(sequence.prompt) + 2
        assert metric(engine, "vllm:kv_cache_usage_perc") == 0


def test_the_next_turn_reuses_the_last_one(harness: Harness) -> None:
    with harness.running() as (engine, inbox):
        first = harness.sequence(PROMPT)
        engine.submit([first])
        inbox.wait(first)
        turn = [*first.tokens, *harness.sequence(" And then?").prompt]
        second = harness.sequence(turn)
        engine.submit([second])
        reused = inbox.wait(second)
        assert hits(engine) == len(first.tokens) - 1  # the last token was picked, and not computed
    assert reused.tokens == harness.run([harness.sequence(turn)])[0].tokens


def test_running_sequences_share_their_prefixes(harness: Harness) -> None:
    # The first reads its prompt in one step; the others start after that.
    with harness.running(max_num_seqs=4) as (engine, inbox):
        first = harness.sequence(PROMPT + " A", max_tokens=60)
        engine.submit([first])
        inbox.steps.get(timeout=30)
        others = [harness.sequence(PROMPT + letter) for letter in (" B", " C")]
        engine.submit(others)
        together = [inbox.wait(other).tokens for other in others]
        assert hits(engine) >= 2 * (len(first.prompt) - 2)
    alone = [harness.run([harness.sequence(PROMPT + letter)])[0].tokens for letter in (" B", " C")]
    assert together == alone


def test_no_adapter_is_served_what_another_one_or_the_base_computed(
    harness: Harness, base: Path, tmp_path: Path
) -> None:
    one = harness.adapter(make_adapter(tmp_path / "one", base, r=8, seed=31), "one")
    two = harness.adapter(make_adapter(tmp_path / "two", base, r=8, seed=32), "two")
    renewed = replace(two, name="one")  # other content under the name of the first
    asked = [None, one, two, renewed]
    alone = [harness.run([harness.sequence(PROMPT, adapter=adapter)])[0].tokens for adapter in asked]
    with harness.running() as (engine, inbox):
        answers = []
        for adapter in asked:
            sequence = harness.sequence(PROMPT, adapter=adapter)
            engine.submit([sequence])
            answers.append(inbox.wait(sequence).tokens)
        assert hits(engine) == 0
        assert answers == alone
        again = harness.sequence(PROMPT, adapter=replace(one))  # loaded once more: another object, the same adapter
        engine.submit([again])
        assert inbox.wait(again).tokens == alone[1]
        assert hits(engine) == len(again.prompt) - 1


def test_a_cancelled_sequence_serves_as_a_prefix(harness: Harness) -> None:
    with harness.running() as (engine, inbox):
        given_up = harness.sequence(PROMPT, max_tokens=400)
        engine.submit([given_up])
        inbox.steps.get(timeout=30)
        engine.cancel([given_up])
        sequence = harness.sequence(PROMPT)
        engine.submit([sequence])
        inbox.wait(sequence)
        assert hits(engine) == len(sequence.prompt) - 1


def test_prefixes_are_evicted_before_a_sequence_waits(harness: Harness) -> None:
    prompts = [letter * 100 for letter in "abcdefgh"]
    alone = [harness.run([harness.sequence(prompt, max_tokens=100)])[0].tokens for prompt in prompts]

    def all_in(engine: Engine, inbox: Inbox) -> list[list[int]]:
        sequences = [harness.sequence(prompt, max_tokens=100) for prompt in prompts]
        engine.submit(sequences)
        return [inbox.wait(sequence).tokens for sequence in sequences]

    with harness.running(kv_tokens=2048, max_num_seqs=8, answer_reserve=100) as (engine, inbox):
        for _ in range(3):
            assert all_in(engine, inbox) == alone
        assert metric(engine, "vllm:num_preemptions_total") == 0
        assert metric(engine, "vllm:kv_cache_usage_perc") == 0


def test_reuse_can_be_turned_off(harness: Harness) -> None:
    with harness.running(prefix_caching=False) as (engine, inbox):
        for _ in range(2):
            sequence = harness.sequence(PROMPT)
            engine.submit([sequence])
            inbox.wait(sequence)
        assert hits(engine) == 0


@pytest.mark.parametrize("room", [64, 128, 512])
def test_the_cache_never_exceeds_its_share(room: int) -> None:
    memory = KVSlots(4 * room, room, 2)
    prefixes = PrefixCache(memory)
    for letter in range(8):
        sequence = Sequence([letter] * 60, Sampling(), 4, TextStream(lambda _: "", []))
        sequence.slot, sequence.computed = memory.reserve(60), 60
        prefixes.keep(sequence)
        assert sequence.slot is not None
        memory.release(sequence.slot, 60)
        assert 0 < prefixes.size <= room


def test_nothing_is_evicted_for_a_prefix_that_does_not_fit() -> None:
    memory = KVSlots(2048, 1024, 4)
    prefixes = PrefixCache(memory)

    def end(tokens: list[int]) -> None:
        sequence = Sequence(tokens, Sampling(), 4, TextStream(lambda _: "", []))
        sequence.slot, sequence.computed = memory.reserve(len(tokens)), len(tokens)
        assert sequence.slot is not None
        prefixes.keep(sequence)
        memory.release(sequence.slot, len(tokens))

    end([1] * 200)
    end([1] * 200 + [2] * 400)  # begins the same, and is more than a quarter of the memory
    assert prefixes.size == 200
    taken = [memory.reserve(1024), *(memory.reserve(256) for _ in range(2))]
    assert None not in taken
    end([3] * 250)  # the last slot: nothing is left to keep it in
    assert prefixes.size == 200
