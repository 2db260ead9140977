"""New replicas replace old ones: which start, stop and answer, step by step to the end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firectl.server.lifecycle.observed import Phase, ReplicaView
from firectl.server.lifecycle.turnover import turn_over

STARTING, SERVING, STOPPING = Phase.STARTING, Phase.SERVING, Phase.STOPPING


def old(ordinal: int, phase: Phase = SERVING, folder: str = "old") -> ReplicaView:
    return ReplicaView(ordinal, phase, folder)


def new(ordinal: int, phase: Phase = SERVING) -> ReplicaView:
    return ReplicaView(ordinal, phase, "new")


def step(*replicas: ReplicaView, desired: int = 1, room: int = 1) -> tuple[tuple[int, ...], tuple[int, ...], set[int]]:
    able = frozenset(r.ordinal for r in replicas if r.phase is SERVING)
    found = turn_over(replicas, able, "new", None, desired, room)
    return found.start, found.stop, set(found.serving)


def test_the_old_one_answers_until_the_new_one_can() -> None:
    assert step(old(0)) == ((1,), (), {0})
    assert step(old(0), new(1, STARTING)) == ((), (), {0})
    assert step(old(0), new(1)) == ((), (0,), {1})
    assert step(old(0, STOPPING), new(1)) == ((), (), {1})
    assert step(new(1)) == ((), (), {1})


def test_without_room_one_ends_before_the_next_starts() -> None:
    assert step(old(0), room=0) == ((), (0,), set())
    assert step(old(0, STOPPING), room=0) == ((), (), set())
    assert step(room=0) == ((0,), (), set())


def test_several_switch_at_once_where_their_weights_differ_and_there_is_room() -> None:
    assert step(old(0), old(1), desired=2, room=5) == ((2, 3), (), {0, 1})
    assert step(old(0), old(1), new(2), new(3, STARTING), desired=2, room=5) == ((), (), {0, 1})
    assert step(old(0), old(1), new(2), new(3), desired=2, room=5) == ((), (0, 1), {2, 3})


def test_weights_that_differ_never_answer_beside_each_other() -> None:
    assert step(old(0), old(1), new(2), desired=2, room=1) == ((), (0, 1), {2})


def test_with_the_same_weights_they_are_replaced_one_by_one_without_a_gap() -> None:
    def first(ordinal: int, phase: Phase = SERVING) -> ReplicaView:
        return replace(new(ordinal, phase), context=64)

    assert step(first(0), first(1), desired=2) == ((2,), (), {0, 1})
    assert step(first(0), first(1), new(2), desired=2) == ((), (1,), {0, 2})
    assert step(first(0), first(1, STOPPING), new(2), desired=2) == ((), (), {0, 2})
    assert step(first(0), new(2), desired=2) == ((1,), (), {0, 2})


def test_an_old_one_that_cannot_answer_goes_first() -> None:
    assert step(old(0), old(1, STARTING), desired=2, room=0) == ((), (1,), {0})


@pytest.mark.parametrize("desired", [0, 1])
def test_of_too_many_the_newest_end_first(desired: int) -> None:
    serving = set(range(desired))
    assert step(new(0), new(1), desired=desired) == ((), tuple(range(desired, 2)), serving)


@pytest.mark.parametrize("room", [0, 1, 2, 9])
@pytest.mark.parametrize("desired", [1, 2, 3])
@pytest.mark.parametrize("folder", ["old", "new"])
def test_it_always_comes_to_an_end_and_never_runs_more_than_there_is_room_for(
    desired: int, room: int, folder: str
) -> None:
    replicas = [replace(old(n, folder=folder), context=64) for n in range(desired)]
    gaps = 0
    for _ in range(40):
        able = frozenset(r.ordinal for r in replicas if r.phase is SERVING)
        found = turn_over(replicas, able, "new", None, desired, room)
        answering = {r.folder for r in replicas if r.ordinal in found.serving}
        assert len(answering) <= 1
        gaps += not answering
        if not (found.start or found.stop) and found.old == 0 and len(replicas) == desired == len(able):
            break
        # Transitions of the last round complete, then those of this round begin.
        replicas = [
            replace(r, phase=SERVING) if r.phase is STARTING else r for r in replicas if r.phase is not STOPPING
        ]
        replicas = [replace(r, phase=STOPPING) if r.ordinal in found.stop else r for r in replicas]
        replicas += [new(ordinal, STARTING) for ordinal in found.start]
        assert len(replicas) <= desired + room
    else:
        raise AssertionError("it does not end")
    assert gaps == 0 or (room == 0 and desired == 1)
