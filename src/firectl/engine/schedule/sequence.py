"""Describe a choice that is being generated: its tokens, how many the KV memory holds, and its adapter.

Must not depend on tensors.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field

from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.kv_slots import Slot
from firectl.engine.text.stream import TextStream
from firectl.schemas.openai import Sampling

_arrivals = itertools.count()


@dataclass(eq=False, slots=True)
class Sequence:
    """A prompt and its generated tokens, on the adapter that its name meant when the request came."""

    prompt: list[int]
    sampling: Sampling
    max_tokens: int
    text: TextStream
    adapter: EngineAdapter | None = None
    random: random.Random = field(default_factory=random.Random)
    tokens: list[int] = field(init=False)
    computed: int = 0
    """Number of `tokens` whose keys and values are in `slot`."""
    slot: Slot | None = None
    counts: Counter[int] = field(default_factory=Counter)
    """Token id → how often it was generated, for the penalties."""
    arrival: int = field(default_factory=lambda: next(_arrivals))

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)

    @property
    def pending(self) -> int:
        """Number of tokens left to compute: 1 while generating, usually more while reading the prompt."""
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        return len(self.tokens) - len(self.prompt)

    @property
    def longest(self) -> int:
        """Largest number of tokens that the sequence can reach, prompt included."""
        return len(self.prompt) + self.max_tokens

    def append(self, token: int) -> None:
        self.tokens.append(token)
        self.counts[token] += 1


def random_for(seed: int | None, choice: int) -> random.Random:
    """Make the random generator of one choice. The same seed and choice give the same numbers."""
    return random.Random(None if seed is None else f"{seed}/{choice}")
