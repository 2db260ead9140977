"""Which replicas start, stop and take requests while new ones replace old ones? Pure.

A replica is old if its folder or context length differs from what a new replica would get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from firectl.server.lifecycle.observed import Phase, ReplicaView


@dataclass(frozen=True)
class Turnover:
    """The ordinals of the replicas to start, to stop and that take requests (`serving`).

    `old` counts the old replicas, `new_able` the new ones that could answer.
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]
    serving: frozenset[int]
    old: int
    new_able: int


def turn_over(
    replicas: Sequence[ReplicaView],
    able: frozenset[int],
    folder: str | None,
    context: int | None,
    desired: int,
    room: int,
) -> Turnover:
    """Return the next step towards `desired` replicas with `folder` and `context`.

    `able` holds the ordinals of the replicas that could answer. `room` is how many replicas above `desired` may run.
    With room, old replicas serve until new ones can; without, an old one stops before a new one starts.
    If only `context` changed, replicas are replaced one by one. If the weights changed, all switch together, so that
    only one set of weights answers at any time.
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
        # Old replicas can have different weights if a change began during another: only the most common weights answer.
        folders = [r.folder for r in old_able]
        most = max(folders, key=folders.count)
        serving = {r.ordinal for r in old_able if r.folder == most}
    return Turnover(
        start=_free(replicas, starting),
        stop=tuple(sorted(ended)),
        serving=frozenset(serving - ended),
        old=len(old),
        new_able=len(new_able),
    )


def _last(replicas: Sequence[ReplicaView], able: frozenset[int], count: int) -> list[ReplicaView]:
    """Return `count` replicas to stop: first those that cannot answer, then those with the highest ordinals."""
    order = sorted(replicas, key=lambda r: (r.ordinal in able, -r.ordinal))
    return order[: max(0, count)]


def _free(replicas: Sequence[ReplicaView], count: int) -> tuple[int, ...]:
    taken = {replica.ordinal for replica in replicas}
    return tuple(ordinal for ordinal in range(len(taken) + count) if ordinal not in taken)[:count]
