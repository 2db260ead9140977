"""For tests with random bytes and values: a reader returns a result or raises AdapterError, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from firectl.errors import AdapterError

T = TypeVar("T")


MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEW = settings(MANY, max_examples=60)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def answer(read: Callable[[], T], begins: str) -> T | None:
    """What `read` returns, or None if it refuses, saying so in one printable line that names the file."""
    try:
        return read()
    except AdapterError as error:
        message = error.message
    assert message.startswith(begins)
    assert message.isprintable()
    return None
