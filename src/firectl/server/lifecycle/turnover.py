"""Which replicas start, which end, and which take requests while old ones are replaced by new ones? Pure.

A replica is old when it was started with another folder or other settings than a new one would be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from firectl.server.lifecycle.observed import Phase, ReplicaView


@dataclass(frozen=True)
class Turnover:
    """`start` and `stop` are ordinals; `serving` those that requests may go to. `old` counts what is to be replaced."""

    start: tuple[int, ...]
    stop: tuple[int, ...]
    serving: frozenset[int]
    old: int
    new_able: int
    other_weights: bool
    """Whether old ones answer otherwise than new ones: then requests go to the one kind or to the other, never both."""


def turn_over(
    replicas: Sequence[ReplicaView],
    able: frozenset[int],
    folder: str | None,
    context: int | None,
    desired: int,
    room: int,
) -> Turnover:
    """The next step towards `desired` replicas of `folder` and `context`. `able` are the ordinals that could answer.

    Old ones serve until new ones can, as far as `room` for more than `desired` replicas at once allows; without room
    one ends before another starts. Other settings: one after the other. Other weights: all at once, so that at any
    moment one kind answers.
    """
    alive = [replica for replica in replicas if replica.phase is not Phase.STOPPING]
    new = [r for r in alive if (r.folder, r.context) == (folder, context)]
    old = [r for r in alive if r not in new]
    new_able = [r for r in new if r.ordinal in able]
    old_able = [r for r in old if r.ordinal in able]
    other_weights = any(r.folder != folder for r in old)
    surge = min(desired if other_weights else 1, max(room, 0)) if old else 0
    missing = desired - len(new) if folder is not None else 0
    starting = max(0, min(missing, desired + surge - len(replicas)))
    stop: list[ReplicaView] = []
    if desired == 0:
        stop = alive
    elif not old:
        stop = _last(new, able, len(new) - desired)
    elif other_weights and len(new_able) >= max(1, min(desired, surge)):
        stop = old
    elif not other_weights:
        stop = _last(old, able, len(new_able) + len(old) - desired)
    under_way = starting > 0 or len(replicas) > len(alive) or len(new) > len(new_able)
    if old and not stop and not under_way:
        stop = _last(old, able, 1)
    ended = {r.ordinal for r in stop}
    if not old or not other_weights:
        serving = {r.ordinal for r in (*new_able, *old_able)}
    elif stop == old or not old_able:
        serving = {r.ordinal for r in new_able}
    else:
        # A change may come while another is half done: of the old, too, only one kind answers, the one with most.
        kinds = [r.folder for r in old_able]
        most = max(kinds, key=kinds.count)
        serving = {r.ordinal for r in old_able if r.folder == most}
    return Turnover(
        start=_free(replicas, starting),
        stop=tuple(sorted(ended)),
        serving=frozenset(serving - ended),
        old=len(old),
        new_able=len(new_able),
        other_weights=other_weights,
    )


def _last(replicas: Sequence[ReplicaView], able: frozenset[int], count: int) -> list[ReplicaView]:
    """Those to do without first: what cannot answer, then the highest numbers."""
    order = sorted(replicas, key=lambda r: (r.ordinal in able, -r.ordinal))
    return order[: max(0, count)]


def _free(replicas: Sequence[ReplicaView], count: int) -> tuple[int, ...]:
    taken = {replica.ordinal for replica in replicas}
    free = (ordinal for ordinal in range(len(taken) + count) if ordinal not in taken)
    return tuple(ordinal for ordinal, _ in zip(free, range(count), strict=False))
