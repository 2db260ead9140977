"""A count in words: `1 file`, `2 files`, `1 file is`. Stdlib only."""

from __future__ import annotations


def counted(count: int, what: str, one: str = "", many: str = "") -> str:
    """`what` in the singular; its plural must end in s. `one` and `many`: the verb after it."""
    noun, verb = (what, one) if count == 1 else (f"{what}s", many)
    return f"{count} {noun} {verb}".rstrip()
