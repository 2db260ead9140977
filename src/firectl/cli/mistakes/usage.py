"""What a command line that cannot be read was meant to be: the refusal in one line, and what to type instead.

Imported only once something is wrong; decides nothing about what is right.
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
"""How much a word must resemble another to be taken for a mistyped one."""

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
"""What other tools call the verbs."""
LOADING: Mapping[str, str] = {"load": "firectl load-lora", "unload": "firectl unload-lora"}
SAME_FLAGS: Mapping[str, Sequence[str]] = {
    "name": ("--deployment-id", "--display-name"),
    "deployment-name": ("--deployment-id", "--display-name"),
    "model-name": ("--display-name",),
    "id": ("--deployment-id",),
    "replicas": ("--replica-count", "--min-replica-count", "--max-replica-count"),
    "base": ("--base-model",),
}
"""What people call the flags, without its hyphens, and those that it may be, as far as the command has them."""


def usage_error(error: click.UsageError) -> InputError:
    """The refusal of click in our words, with the hint."""
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
    # click has no type of its own for an argument too many; another wording of it would cost the example, no more.
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
        return f"say of what: {path} NOUN {shlex.quote(word)}, with NOUN one of {', '.join(known)}"
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
    """Where the value of a missing flag was written as one word more: the command line with the flag."""
    words = typed_words(ctx)
    places = sum(isinstance(param, click.Argument) for param in ctx.command.params)
    if not isinstance(missing, click.Option) or len(words) != places + 1 or any(w.startswith("-") for w in words):
        return []
    return [shlex.join([*ctx.command_path.split(), *words[:-1], missing.opts[0], words[-1]])]


def _list_instead(ctx: click.Context) -> list[str]:
    """For `get` of nothing in particular: the command that shows what there is."""
    if ctx.command.name != "get" or ctx.parent is None:
        return []
    # In the older grammar the noun is what comes after the verb.
    noun = ctx.info_name if ctx.info_name != "get" else ctx.parent.info_name
    entry = entry_of(noun or "")
    return [f"firectl {entry.name} list shows what there is"] if entry is not None else []
