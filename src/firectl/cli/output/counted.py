"""Write a count with its noun: `1 file`, `2 files`, `1 file is`. Uses only the standard library."""

from __future__ import annotations


def counted(count: int, what: str, one: str = "", many: str = "") -> str:
    """Return the count and its noun. `what`: a noun whose plural adds s. `one`, `many`: its verb for 1 and others."""
    noun, verb = (what, one) if count == 1 else (f"{what}s", many)
    return f"{count} {noun} {verb}".rstrip()
