"""What was wanted and what came of it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One line of the final table. `goal` is at least or at most a number; None: stated, nothing was wanted of it."""

    name: str
    measured: float
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"
    note: str = ""
    excused: bool = False
    """Met by the other condition that the goal names; `note` says which."""

    @property
    def goal(self) -> str:
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return f"at most {self.at_most:g}" if self.at_most is not None else ""

    @property
    def met(self) -> bool | None:
        if self.at_least is not None:
            return self.excused or self.measured >= self.at_least
        if self.at_most is not None:
            return self.excused or self.measured <= self.at_most
        return None

    def to_document(self) -> dict[str, Any]:
        document = {name: value for name, value in asdict(self).items() if value not in (None, "", False)}
        return document | {"measured": round(self.measured, 4), "goal": self.goal or None, "met": self.met}


def table(figures: Sequence[Figure]) -> str:
    verdicts = {True: "met", False: "MISSED", None: ""}
    lines = [f"{'figure':<62}{'measured':>10}    {'goal':<15}"]
    for figure in figures:
        measured = f"{figure.measured:.2f} {figure.unit}"
        note = f"  ({figure.note})" if figure.note else ""
        lines.append(f"{figure.name:<62}{measured:>12}  {figure.goal:<15}{verdicts[figure.met]}{note}")
    return "\n".join(lines)


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of ours ÷ theirs: what slows a round down slows both in it."""
    return statistics.median(ratios(ours, theirs))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def spread(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """What single rounds gave, for a note; empty where there was one."""
    found = ratios(ours, theirs)
    return f"rounds {min(found):.2f} to {max(found):.2f}" if len(found) > 1 else ""
