"""Keep the words typed after a command in click's context, for messages that repeat or reorder these words."""

from __future__ import annotations

from collections.abc import Sequence

import click

_TYPED = "firectl.typed"


def remember(ctx: click.Context, args: Sequence[str]) -> None:
    """Store the words after the command of `ctx`, exactly as they were typed."""
    ctx.meta[_TYPED] = tuple(args)


def typed_words(ctx: click.Context) -> tuple[str, ...]:
    """Return the words after the command that was parsed last."""
    words: tuple[str, ...] = ctx.meta.get(_TYPED, ())
    return words


def words_after(ctx: click.Context) -> list[str]:
    """Return the words after a noun. The click version decides which attribute has the first word."""
    first = getattr(ctx, "_protected_args", None)
    return [*(first if first is not None else ctx.protected_args), *ctx.args]
