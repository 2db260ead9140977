"""Which words were typed after a command? Kept in click's context, for messages that repeat or reorder them."""

from __future__ import annotations

from collections.abc import Sequence

import click

_TYPED = "firectl.typed"


def remember(ctx: click.Context, args: Sequence[str]) -> None:
    """Keep the words that follow the command of `ctx`, before anything changes them."""
    ctx.meta[_TYPED] = tuple(args)


def typed_words(ctx: click.Context) -> tuple[str, ...]:
    """The words that followed the command that was read last."""
    words: tuple[str, ...] = ctx.meta.get(_TYPED, ())
    return words


def words_after(ctx: click.Context) -> list[str]:
    """The words that follow a noun. click keeps the first one apart, under a name that depends on its version."""
    first = getattr(ctx, "_protected_args", None)
    return [*(first if first is not None else ctx.protected_args), *ctx.args]
