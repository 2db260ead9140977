"""A request's result does not depend on the other requests in the batch, nor on how its prompt was cut.

Proves `engine/engine.py` through the harness.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.kv_slots import KVSlots
from firectl.engine.schedule.scheduler import Chunk
from firectl.engine.schedule.sequence import Sequence
from firectl.errors import ApiError, Code
from firectl.lora.weights import Factors
from firectl.schemas.openai import Sampling
from tests.engine.harness import GREEDY, Harness, metric

PROMPT = "the quick brown fox jumps over the lazy dog"


def crowd(harness: Harness, adapters: dict[str, Path], sampling: Sampling) -> list[Sequence]:
    """32 sequences of many lengths on the base and four adapters."""
    voices = [None, *(harness.adapter(path) for path in adapters.values())]
    words = random.Random(5)
    return [
        harness.sequence(
            "".join(words.choices("abcdefgh ", k=words.randint(1, 60))),
            replace(sampling, seed=number if sampling.seed is not None else None),
            12,
            voices[number % len(voices)],
        )
        for number in range(32)
    ]


def again(harness: Harness, sequence: Sequence) -> Sequence:
    return harness.sequence(sequence.prompt, sequence.sampling, sequence.max_tokens, sequence.adapter)


SEEDED = Sampling(temperature=1.0, seed=0, ignore_eos=True)


ALL_AT_ONCE = replace(SEEDED, top_p=0.95, top_k=200, presence_penalty=0.5, frequency_penalty=0.5, top_logprobs=3)


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED, ALL_AT_ONCE], ids=["greedy", "seeded", "all at once"])
def test_each_of_32_mixed_sequences_gets_what_it_gets_alone(
    sampling: Sampling, harness: Harness, adapters: dict[str, Path]
) -> None:
    together = crowd(harness, adapters, sampling)
    results = harness.run(together, max_num_seqs=32)
    for sequence, result in zip(together, results, strict=True):
        alone = harness.run([again(harness, sequence)])[0]
        assert result.tokens == alone.tokens
        assert result.text == alone.text
        assert len(result.tokens) == 12
        assert [each.token for each in result.logprobs] == [each.token for each in alone.logprobs]
        assert len(result.logprobs) == (0 if sampling.top_logprobs is None else 12)
        for mine, theirs in zip(result.logprobs, alone.logprobs, strict=True):
            assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-4)
    assert len({tuple(result.tokens) for result in results}) > 16


def test_adapters_answer_differently_from_the_base_and_each_other(harness: Harness, adapters: dict[str, Path]) -> None:
    voices = [None, *(harness.adapter(path) for path in adapters.values())]
    results = harness.run([harness.sequence(PROMPT, adapter=voice) for voice in voices])
    assert len({result.text for result in results}) == len(voices)


@pytest.mark.parametrize("step_tokens", [1, 3, 7, 64])
def test_a_prompt_read_in_chunks_gives_what_it_gives_in_one_piece(step_tokens: int, harness: Harness) -> None:
    whole = harness.run([harness.sequence(PROMPT)], max_step_tokens=512)[0]
    cut = harness.run([harness.sequence(PROMPT)], max_step_tokens=step_tokens, max_num_seqs=1)[0]
    assert cut.tokens == whole.tokens


def test_a_long_prompt_does_not_hold_up_one_that_is_generating(harness: Harness) -> None:
    generating, reading = harness.sequence("a", max_tokens=40), harness.sequence("b" * 400, max_tokens=1)
    with harness.running(max_step_tokens=32) as (engine, inbox):
        engine.submit([generating])
        inbox.steps.get(timeout=30)
        engine.submit([reading])
        inbox.wait(reading)
        # 400 tokens at 31 a step take 13 steps, and each of them also generates.
        assert generating.generated >= 13
        inbox.wait(generating)


def test_a_cancelled_sequence_is_gone_within_one_step(harness: Harness) -> None:
    leaving, staying = harness.sequence("a", max_tokens=400), harness.sequence("b", max_tokens=400)
    with harness.running(max_num_seqs=2) as (engine, inbox):
        engine.submit([leaving, staying])
        inbox.steps.get(timeout=30)
        waiting = harness.sequence("c", max_tokens=2)
        engine.cancel([leaving])
        engine.submit([waiting])
        inbox.wait(waiting)
        steps = []
        while not inbox.steps.empty():
            steps.append([progress.sequence for progress in inbox.steps.get()])
        first = next(number for number, step in enumerate(steps) if waiting in step)
        # The current step may still serve a cancelled sequence; the next one may not.
        assert all(leaving not in step for step in steps[first:])
        assert leaving.slot is None
        engine.cancel([staying])


def growing(harness: Harness) -> list[Sequence]:
    return [harness.sequence(letter * (190 + 10 * n), max_tokens=120) for n, letter in enumerate("abcdef")]


def test_sequences_that_outgrow_their_slots_move_and_end_the_same(harness: Harness) -> None:
    still = harness.run(growing(harness), max_num_seqs=6)
    moving = harness.run(growing(harness), max_num_seqs=6, answer_reserve=4)
    assert [result.tokens for result in moving] == [result.tokens for result in still]


def test_sequences_that_outgrow_the_memory_are_computed_again_and_end_the_same(harness: Harness) -> None:
    roomy = harness.run(growing(harness), max_num_seqs=6)
    crowded = growing(harness)
    with harness.running(kv_tokens=1024, max_num_seqs=6, answer_reserve=4) as (engine, inbox):
        engine.submit(crowded)
        assert [inbox.wait(sequence).tokens for sequence in crowded] == [result.tokens for result in roomy]
        assert metric(engine, "vllm:prompt_tokens_total") > sum(len(sequence.prompt) for sequence in crowded)
        assert metric(engine, "vllm:kv_cache_usage_perc") == 0


def test_a_slot_does_not_remember_who_had_it(harness: Harness) -> None:
    def pair() -> list[Sequence]:
        # Because of the longer sequence, the call reads past the end of the shorter one.
        return [harness.sequence("short"), harness.sequence("y" * 150)]

    fresh = harness.run(pair(), max_num_seqs=2)
    with harness.running(max_num_seqs=2) as (engine, inbox):
        poisoned = harness.sequence("x" * 200, adapter=_broken(float("inf")))
        engine.submit([poisoned])
        error = inbox.wait(poisoned).error
        assert error is not None
        assert "not finite" in error.message
        clean = pair()
        engine.submit(clean)
        assert [inbox.wait(sequence).tokens for sequence in clean] == [result.tokens for result in fresh]


def test_numbers_that_are_not_finite_fail_their_own_request_alone(harness: Harness) -> None:
    good, bad = harness.sequence(PROMPT), harness.sequence(PROMPT, adapter=_broken(float("nan")))
    results = harness.run([good, bad])
    assert results[0].tokens == harness.run([harness.sequence(PROMPT)])[0].tokens
    assert results[1].error is not None
    assert "adapter broken" in results[1].error.message


def test_when_the_engine_fails_requests_in_flight_get_the_error_and_new_ones_are_refused(
    harness: Harness, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = Factors(torch.ones(3, 2), torch.ones(2, 5), 1.0)
    wrong = EngineAdapter("wrong", "", {"model.layers.0.self_attn.q_proj": weights}, Path(), 2)
    with harness.running(max_num_seqs=1) as (engine, inbox):
        running, waiting = harness.sequence("a", max_tokens=400), harness.sequence("b")
        engine.submit([running, waiting])
        inbox.steps.get(timeout=30)
        engine.cancel([running])
        failing, behind = harness.sequence("c", adapter=wrong), harness.sequence("d")
        engine.submit([failing, behind])
        for sequence in (failing, behind):
            error = inbox.wait(sequence).error
            assert error is not None
            assert error.code is Code.INTERNAL
            assert error.http_status == 500
        with pytest.raises(ApiError) as refused:
            engine.submit([harness.sequence("e")])
        assert refused.value.http_status == 503
        with pytest.raises(ApiError):
            engine.call(lambda: None)
        assert "RuntimeError" in capfd.readouterr().err


def test_a_stopped_engine_ends_every_sequence_with_an_error(harness: Harness) -> None:
    sequences = [harness.sequence("a", max_tokens=400) for _ in range(4)]
    with harness.running(max_num_seqs=2) as (engine, inbox):
        engine.submit(sequences)
        inbox.steps.get(timeout=30)
    for sequence in sequences:
        assert inbox.wait(sequence, timeout=1).error is not None


def _broken(value: float) -> EngineAdapter:
    size = 64
    weights = Factors(torch.ones(size, 2), torch.full((2, size), value), 1.0)
    return EngineAdapter("broken", "", {"model.layers.0.self_attn.q_proj": weights}, Path(), 2)


def test_a_row_keeps_its_bits_beside_longer_ones(harness: Harness) -> None:
    def logits(*prompts: str) -> torch.Tensor:
        """The logits of the first prompt and of 20 tokens after it."""
        sequences = [harness.sequence(prompt) for prompt in prompts]
        memory = KVSlots(1024, 256, 4)
        for sequence in sequences:
            sequence.slot = memory.reserve(256)
        harness.loaded.runner.forget()
        found = []
        for _ in range(20):
            chunks = [Chunk(sequence, sequence.computed, sequence.pending) for sequence in sequences]
            sampled, rows = harness.loaded.runner.forward(chunks, memory.take_operations())
            found.append(rows[sampled.index(sequences[0])])
            for sequence, row in zip(sampled, rows, strict=True):
                sequence.computed = len(sequence.tokens)
                sequence.append(int(row.argmax()))
        return torch.stack(found)

    assert torch.equal(logits("Short."), logits("Short.", "Longer than the other one. " * 5, "Between the two."))
