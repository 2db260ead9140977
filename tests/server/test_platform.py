"""Locks by name: one thread at a time for one name."""

from __future__ import annotations

import threading

import pytest

from firectl.server.platform import Locks


def test_one_name_is_held_once_and_other_names_in_between() -> None:
    locks, entered = Locks(), threading.Event()
    order: list[str] = []

    def second() -> None:
        entered.set()
        with locks.hold("a"):
            order.append("second")

    thread = threading.Thread(target=second)
    with locks.hold("a"):
        thread.start()
        assert entered.wait(10)
        with locks.hold("b"):
            order.append("other name")
        order.append("first")
    thread.join(10)
    assert order == ["other name", "first", "second"]


def test_a_lock_is_free_again_after_an_error() -> None:
    locks, taken = Locks(), threading.Event()
    with pytest.raises(KeyError), locks.hold("a"):
        raise KeyError

    def take() -> None:
        with locks.hold("a"):
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    assert taken.wait(10)
