"""How many of a thing, in words: `1 file`, `2 files`. Stdlib only."""

from __future__ import annotations


def counted(count: int, what: str) -> str:
    """`what` in the singular; its plural must be an s more."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
