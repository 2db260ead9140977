"""A sequence counts its tokens, and each choice draws its own random numbers."""

from __future__ import annotations

from firectl.engine.schedule.sequence import Sequence, random_for
from firectl.engine.text.stream import TextStream
from firectl.schemas.openai import Sampling


def test_a_sequence_counts_what_is_pending_and_generated() -> None:
    sequence = Sequence([5, 6, 7], Sampling(), 4, TextStream(lambda _: "", []))
    assert (sequence.pending, sequence.generated, sequence.longest) == (3, 0, 7)
    sequence.computed = 3
    sequence.append(9)
    sequence.append(9)
    assert sequence.tokens == [5, 6, 7, 9, 9]
    assert sequence.prompt == [5, 6, 7]
    assert (sequence.pending, sequence.generated, sequence.counts[9]) == (2, 2, 2)


def test_sequences_are_numbered_in_order_of_arrival() -> None:
    first, second = (Sequence([1], Sampling(), 1, TextStream(lambda _: "", [])) for _ in range(2))
    assert first.arrival < second.arrival


def test_a_seed_and_a_choice_give_their_own_numbers() -> None:
    def draws(seed: int | None, choice: int) -> list[float]:
        numbers = random_for(seed, choice)
        return [numbers.random() for _ in range(3)]

    assert draws(1, 0) == draws(1, 0)
    assert draws(1, 0) != draws(1, 1)
    assert draws(1, 0) != draws(2, 0)
    assert draws(None, 0) != draws(None, 0)
