"""How many of a thing, in words: `1 file`, `2 files`, `1 file is`. Stdlib only."""

from __future__ import annotations


def counted(count: int, what: str, one: str = "", many: str = "") -> str:
    """`what` in the singular; its plural must be an s more. `one` and `many`: a verb that follows."""
    return " ".join(
        filter(None, (f"{count} {what}" if count == 1 else f"{count} {what}s", one if count == 1 else many))
    )
