"""The words typed after a command, kept in click's context for messages that repeat or reorder them."""

from __future__ import annotations

from collections.abc import Sequence

import click

_TYPED = "firectl.typed"


def remember(ctx: click.Context, args: Sequence[str]) -> None:
    """Keeps the words after the command of `ctx`, as they were typed."""
    ctx.meta[_TYPED] = tuple(args)


def typed_words(ctx: click.Context) -> tuple[str, ...]:
    """The words after the command that was parsed last."""
    words: tuple[str, ...] = ctx.meta.get(_TYPED, ())
    return words


def words_after(ctx: click.Context) -> list[str]:
    """The words after a noun. click keeps the first one in an attribute whose name depends on its version."""
    first = getattr(ctx, "_protected_args", None)
    return [*(first if first is not None else ctx.protected_args), *ctx.args]
