"""How the answers of an adapter's base, of the two merged, and of the two side by side compare."""

from __future__ import annotations

from firectl.schemas.base import Time, Wire


class ParityComparison(Wire):
    """Two ways to answer, over all tokens of some fixed prompts: how far their logits lie apart, and how often the
    likeliest next token is the same (0…1)."""

    left: str | None = None
    right: str | None = None
    max_difference: float | None = None
    mean_difference: float | None = None
    top1_agreement: float | None = None


class Parity(Wire):
    """`changes_answers`: the adapter does something; `ways_agree`: merged and side by side (`dynamic`) it does the
    same. `error` says why there are no figures."""

    model: str | None = None
    changes_answers: bool | None = None
    ways_agree: bool | None = None
    tokens: int | None = None
    comparisons: list[ParityComparison] | None = None
    measure_time: Time | None = None
    error: str | None = None
