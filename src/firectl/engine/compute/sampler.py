"""Pick tokens from logits, by each request's own parameters and random numbers.

A result depends only on its own row, never on other rows. Must not change a sequence.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch

from firectl.engine.schedule.sequence import Sequence
from firectl.schemas.openai import Sampling

_GREEDY_BELOW = 1e-5
"""Division by a lower temperature would overflow, so the likeliest token is picked instead."""


@dataclass(frozen=True, slots=True)
class Picked:
    token: int
    logprob: float | None = None
    """The log probability in the model's own distribution: before penalties, temperature, top_k and top_p."""
    top: tuple[tuple[int, float], ...] = ()


def pick(sequences: Items[Sequence], logits: torch.Tensor) -> list[Picked | None]:
    """Pick each sequence's next token from its row of [n, vocabulary]; None if the row has no finite maximum."""
    if not sequences:
        return []
    best, likeliest = logits.max(dim=-1)
    maxima, tokens = best.tolist(), likeliest.tolist()
    picked: list[Picked | None] = []
    for row, sequence in enumerate(sequences):
        if not math.isfinite(maxima[row]):
            picked.append(None)
            continue
        sampling = sequence.sampling
        token = tokens[row]
        penalised = _penalised(logits[row], sequence)
        if sampling.temperature >= _GREEDY_BELOW:
            token = _draw(logits[row] if penalised is None else penalised, sampling, sequence.random)
        elif penalised is not None:
            token = int(penalised.argmax())
        picked.append(_with_logprobs(token, logits[row], sampling.top_logprobs))
    return picked


def _penalised(row: torch.Tensor, sequence: Sequence) -> torch.Tensor | None:
    """Return the row minus the penalties for generated tokens, or None without penalties."""
    sampling = sequence.sampling
    if not sequence.counts or not (sampling.presence_penalty or sampling.frequency_penalty):
        return None
    seen = torch.tensor(list(sequence.counts), device=row.device)
    often = torch.tensor(list(sequence.counts.values()), device=row.device, dtype=row.dtype)
    row = row.clone()
    row[seen] -= sampling.presence_penalty + sampling.frequency_penalty * often
    return row


def _draw(row: torch.Tensor, sampling: Sampling, source: random.Random) -> int:
    # Use float64: over 100,000 tokens, the error of a float32 sum exceeds the weight of many of them.
    row = row.double() / sampling.temperature
    order = None
    if 0 < sampling.top_k < row.shape[0]:
        row, order = torch.topk(row, sampling.top_k)
    elif sampling.top_p < 1:
        row, order = torch.sort(row, descending=True, stable=True)
    weights = torch.softmax(row, dim=-1)
    if sampling.top_p < 1:
        weights[weights.cumsum(dim=-1) - weights >= sampling.top_p] = 0
    sums = weights.cumsum(dim=-1)
    # right=True never picks a token of weight 0.
    place = int(torch.searchsorted(sums, sums[-1] * source.random(), right=True))
    place = min(place, sums.shape[0] - 1)
    return place if order is None else int(order[place])


def _with_logprobs(token: int, row: torch.Tensor, count: int | None) -> Picked:
    if count is None:
        return Picked(token)
    logprobs = torch.log_softmax(row, dim=-1)
    values, tokens = torch.topk(logprobs, min(count, row.shape[0]))
    return Picked(token, float(logprobs[token]), tuple(zip(tokens.tolist(), values.tolist(), strict=True)))
