"""How long are the prompts and answers? One number, or a distribution that numbers are drawn from. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Literal

LONGEST = 10_000_000

Kind = Literal["fixed", "uniform", "normal", "exponential"]

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_FORMS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("fixed", re.compile(r"([0-9]+)", re.ASCII)),
    ("uniform", re.compile(r"uniform:([0-9]+)-([0-9]+)", re.ASCII)),
    ("normal", re.compile(rf"normal:{_NUMBER},{_NUMBER}", re.ASCII)),
    ("exponential", re.compile(rf"exponential:{_NUMBER}", re.ASCII)),
)
FORMS = "200, uniform:50-150, normal:200,40 (mean, standard deviation) or exponential:200 (mean)"


@dataclass(frozen=True)
class Lengths:
    """A distribution of integers from `least` to `most`. `a` and `b` are the parameters of the distribution.

    fixed        always a
    uniform      from a to b
    normal       mean a, standard deviation b, clipped to four standard deviations
    exponential  mean a, clipped to ten times the mean
    """

    kind: Kind
    a: float
    b: float = 0.0

    @property
    def least(self) -> int:
        if self.kind == "normal":
            return max(1, round(self.a - 4 * self.b))
        return max(1, int(self.a)) if self.kind in ("fixed", "uniform") else 1

    @property
    def most(self) -> int:
        if self.kind == "normal":
            return max(1, round(self.a + 4 * self.b))
        if self.kind == "exponential":
            return max(1, round(10 * self.a))
        return int(self.b) if self.kind == "uniform" else int(self.a)

    def draw(self, random: Random) -> int:
        if self.kind == "fixed":
            return int(self.a)
        if self.kind == "uniform":
            return random.randint(int(self.a), int(self.b))
        drawn = random.gauss(self.a, self.b) if self.kind == "normal" else random.expovariate(1 / self.a)
        return min(max(round(drawn), self.least), self.most)

    def __str__(self) -> str:
        if self.kind == "uniform":
            return f"uniform:{self.a:g}-{self.b:g}"
        if self.kind == "normal":
            return f"normal:{self.a:g},{self.b:g}"
        return f"{self.a:.0f}" if self.kind == "fixed" else f"exponential:{self.a:g}"


def fixed(number: int) -> Lengths:
    return Lengths("fixed", number)


def parse_lengths(text: str) -> Lengths:
    """Read a distribution in one of FORMS. ValueError for any other text, and for numbers out of range."""
    for kind, form in _FORMS:
        found = form.fullmatch(text)
        if found is not None:
            numbers = [float(number) for number in found.groups()]
            lengths = Lengths(kind, *numbers)
            if numbers[0] < 1:
                raise ValueError(f"{text!r}: expected a first number of at least 1")
            if kind == "uniform" and numbers[1] < numbers[0]:
                raise ValueError(f"{text!r}: expected a second number of at least the first")
            if max(numbers) > LONGEST or lengths.most > LONGEST:
                raise ValueError(f"{text!r}: expected at most {LONGEST:,}")
            return lengths
    raise ValueError(f"expected a length such as {FORMS}, got {text!r}")
