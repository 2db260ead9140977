"""Explain a command line that cannot be parsed: the error in one line, and what to type instead.

Imported only after an error. The decision that a command line is invalid is made elsewhere.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

import click

from firectl.cli.grammar.syntax import NounGroup, UnknownWord, split_help
from firectl.cli.grammar.typed import typed_words
from firectl.cli.tree import entry_of
from firectl.errors import InputError

LIKE = 0.7
"""The similarity (0 to 1) from which a word counts as a misspelling of another word."""

SAME: Mapping[str, str] = {
    "ls": "list",
    "show": "get",
    "describe": "get",
    "rm": "delete",
    "remove": "delete",
    "destroy": "delete",
    "new": "create",
    "add": "create",
    "edit": "update",
    "set": "update",
    "restore": "undelete",
    "resize": "scale",
    "push": "upload",
    "pull": "download",
}
"""Name of a verb in other tools → the verb of firectl."""
LOADING: Mapping[str, str] = {"load": "firectl load-lora", "unload": "firectl unload-lora"}
SAME_FLAGS: Mapping[str, Sequence[str]] = {
    "name": ("--deployment-id", "--display-name"),
    "deployment-name": ("--deployment-id", "--display-name"),
    "model-name": ("--display-name",),
    "id": ("--deployment-id",),
    "replicas": ("--replica-count", "--min-replica-count", "--max-replica-count"),
    "base": ("--base-model",),
}
"""Wrong name of a flag, without leading hyphens → the flags that may be meant, if the command has them."""


def usage_error(error: click.UsageError) -> InputError:
    """Convert an error of click to an InputError with our wording and a hint."""
    ctx = error.ctx
    path = ctx.command_path if ctx else "firectl"
    see = f"{path} --help"
    message = error.format_message().rstrip(".")
    if isinstance(error, UnknownWord):
        return InputError(message, hint=_of_word(error.word, error.known, ctx, path))
    if isinstance(error, click.NoSuchOption):
        params = ctx.command.get_params(ctx) if ctx else []
        known = [name for param in params for name in param.opts if name.startswith("--")]
        meant = _flags(error.option_name.lstrip("-"), known)
        hint = f"did you mean {' or '.join(meant)}? See: {see}" if meant else see
        return InputError(f"{path} has no flag {error.option_name!r}", hint=hint)
    if message and message[0].isupper() and not message[1:2].isupper():
        message = message[0].lower() + message[1:]
    # click has no error type for an extra argument, so its message is tested. If it changes, only the example is lost.
    if ctx is not None and (isinstance(error, click.MissingParameter) or "unexpected extra arg" in message):
        _, examples = split_help(ctx.command.help or "")
        steps = examples[:1]
        if isinstance(error, click.MissingParameter):
            steps = _with_flag(ctx, error.param) or [*_list_instead(ctx), *steps]
        return InputError(" ".join(message.split()), hint=f"{'; '.join(steps)}; more: {see}" if steps else see)
    return InputError(message, hint=see)


def _of_word(word: str, known: Sequence[str], ctx: click.Context | None, path: str) -> str:
    see = f"{path} --help"
    same = SAME.get(word, "")
    meant = same if same in known else _near(word, known)
    if meant is not None:
        return f"did you mean {meant}? See: {see}"
    if word in LOADING:
        return f"did you mean {LOADING[word]}? See: {LOADING[word]} --help"
    noun_wanted = ctx is not None and isinstance(ctx.command, NounGroup) and ctx.command.wants == "noun"
    if noun_wanted and entry_of(word) is None:
        return f"add the noun: {path} NOUN {shlex.quote(word)}, where NOUN is one of {', '.join(known)}"
    return see


def _flags(word: str, known: Sequence[str]) -> list[str]:
    same = [name for name in SAME_FLAGS.get(word, ()) if name in known]
    if same:
        return same
    bare = {name.lstrip("-"): name for name in known}
    near = _near(word, bare)
    return [bare[near]] if near is not None else []


def _near(word: str, known: Iterable[str]) -> str | None:
    known = list(known)
    begun = [name for name in known if name.startswith(word)]
    return next(iter(begun or get_close_matches(word, known, n=1, cutoff=LIKE)), None)


def _with_flag(ctx: click.Context, missing: click.Parameter | None) -> list[str]:
    """Return the corrected command line if the value of a missing flag was typed as an extra argument. Else []."""
    words = typed_words(ctx)
    places = sum(isinstance(param, click.Argument) for param in ctx.command.params)
    if not isinstance(missing, click.Option) or len(words) != places + 1 or any(w.startswith("-") for w in words):
        return []
    return [shlex.join([*ctx.command_path.split(), *words[:-1], missing.opts[0], words[-1]])]


def _list_instead(ctx: click.Context) -> list[str]:
    """Return the command that lists the names, for a `get` without a name. Else []."""
    if ctx.command.name != "get" or ctx.parent is None:
        return []
    # In the older grammar (`get NOUN`) the noun follows the verb.
    noun = ctx.info_name if ctx.info_name != "get" else ctx.parent.info_name
    entry = entry_of(noun or "")
    return [f"firectl {entry.name} list shows what there is"] if entry is not None else []
