"""Parse a command line: nouns, verbs, Go-style booleans, and flags before or after the verb. Also format the help.

Extends click. Must not depend on a command; tree.py lists the commands.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from firectl.cli.grammar.spelling import spell_out
from firectl.cli.grammar.typed import remember, words_after
from firectl.cli.grammar.types import Boolean, Named, Seconds
from firectl.cli.output.formats import DOCUMENT, FORMATS, NAMED, RESOURCE, TEXT

__all__ = ["DOCUMENT", "NAMED", "RESOURCE", "TEXT", "NounGroup", "Verb", "verb"]


class GlobalOption(click.Option):
    """A flag that is accepted after `firectl`, after the noun and after the verb. The last of these wins."""


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    if value is not None:
        ctx.find_root().obj.set_flag(str(param.name), value)
    return value


def _global(*names: str, **settings: Any) -> GlobalOption:
    return GlobalOption(names, expose_value=False, callback=_keep, **settings)


def global_options() -> list[click.Parameter]:
    """Return new parameters for the global flags. Each command needs its own, because click binds them to it."""
    return [
        _global(
            "-a", "--account-id", type=Named("account"), metavar="ID", help="The account; default: the key's only one."
        ),
        _global("--api-key", metavar="KEY", help="The API key; other users can see it while the command runs."),
        _global("-p", "--profile", type=Named("profile"), metavar="NAME", help="The section of the settings files."),
        _global("-s", "--server", metavar="HOST[:PORT]|URL", help="The API server."),
        _global("-o", "--output", type=click.Choice(list(FORMATS)), help="The format of the result; default: text."),
        _global("-q", "--quiet", type=Boolean(), help="No progress and no hints, only results and errors."),
        _global("-v", "--verbose", type=Boolean(), help="Show every request on stderr, and tracebacks."),
        _global("--no-color", type=Boolean(), help="No colours."),
        _global(
            "--timeout", type=Seconds(), metavar="DURATION", help="The time limit of one request (60s; chat: 10m)."
        ),
    ]


class _Parsing(click.Command):
    """Base class of verbs and nouns: adds global flags and Go-style booleans. Help shows the command's flags first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"], "max_content_width": 120})
        kwargs["params"] = [*(kwargs.get("params") or ()), *global_options()]
        super().__init__(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        remember(ctx, args)
        try:
            return super().parse_args(ctx, list(spell_out(args, self.get_params(ctx), ctx.allow_interspersed_args)))
        except click.UsageError as error:
            # When a flag has no value, click raises the error without a context, so it is added here.
            error.ctx = error.ctx or ctx
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = None if isinstance(param, click.Argument) else param.get_help_record(ctx)
            if record is not None:
                (shared if isinstance(param, GlobalOption) or param.name == "help" else own).append(record)
        for title, records in (("Flags", own), ("Global flags", shared)):
            if records:
                with formatter.section(title):
                    formatter.write_dl([(names.replace(" BOOLEAN", ""), text) for names, text in records])

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        text, examples = split_help(self.help or "")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)
        if examples:
            with formatter.section("Example" if len(examples) == 1 else "Examples"):
                for line in examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[flags]" if piece == self.options_metavar else piece for piece in super().collect_usage_pieces(ctx)]


class Verb(_Parsing):
    """A command that runs a function; the App is its first argument. `formats`: the values of `-o` that it accepts."""

    def __init__(self, *args: Any, formats: frozenset[str] = RESOURCE, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.formats = formats

    def invoke(self, ctx: click.Context) -> Any:
        app = ctx.find_root().obj
        app.ran = ctx
        wanted = app.flags.get("output", "text")
        if wanted not in self.formats:
            known = ", ".join(name for name in FORMATS if name in self.formats)
            raise click.UsageError(f"{ctx.command_path} cannot write {wanted!r}, only {known}", ctx)
        return ctx.invoke(self.callback, app, **ctx.params) if self.callback else None


class NounGroup(_Parsing, click.Group):
    """A noun: the group of the verbs on one kind of resource. Its module adds verbs with the decorator `verb`."""

    wants = "verb"
    """The kind of word that follows this group, for messages."""

    def __init__(self, name: str, help: str, **kwargs: Any) -> None:
        super().__init__(name=name, help=help, no_args_is_help=False, **kwargs)

    def verb(
        self, name: str | None = None, *, formats: frozenset[str] = RESOURCE, hidden: bool = False
    ) -> Callable[[Callable[..., Any]], Verb]:
        """Return a decorator that makes a function a verb of this noun. The function's docstring is the help."""

        def decorate(function: Callable[..., Any]) -> Verb:
            command = verb(name, formats=formats, hidden=hidden)(function)
            self.add_command(command)
            return command

        return decorate

    def list_commands(self, ctx: click.Context) -> list[str]:
        # Keep the order of definition (create, get, list, …), because it is easier to read than alphabetical order.
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing and args[0][:1] != "-":
            raise UnknownWord(args[0], self.words(ctx), ctx)
        return super().resolve_command(ctx, args)

    def words(self, ctx: click.Context) -> list[str]:
        """Return the words that may follow this group. The error about an unknown word lists them."""
        return [name for name, _ in self.visible(ctx)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Show the whole first line of each command's help. click would truncate it.
        rows = [(name, split_help(command.help or "")[0].split("\n")[0]) for name, command in self.visible(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def visible(self, ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                yield name, command

    def invoke(self, ctx: click.Context) -> Any:
        if not words_after(ctx):
            words = ", ".join(self.words(ctx))
            raise click.UsageError(f"{ctx.command_path} needs a {self.wants}: {words}", ctx)
        return super().invoke(ctx)


def verb(
    name: str | None = None, *, formats: frozenset[str] = RESOURCE, hidden: bool = False
) -> Callable[[Callable[..., Any]], Verb]:
    """Return a decorator that makes a function a command.

    The function gets the App as its first argument. The function's docstring is the help.
    """

    def decorate(function: Callable[..., Any]) -> Verb:
        called = name or function.__name__.rstrip("_").replace("_", "-")
        return click.command(called, cls=Verb, hidden=hidden, formats=formats)(function)

    return decorate


class UnknownWord(click.UsageError):
    """Error for a noun or verb that does not exist. `known`: the words that exist."""

    def __init__(self, word: str, known: Sequence[str], ctx: click.Context) -> None:
        super().__init__(f"{ctx.command_path} has no command {word!r}", ctx)
        self.word = word
        self.known = tuple(known)


def split_help(text: str) -> tuple[str, list[str]]:
    """Split a docstring into its prose and its example command lines. An example line begins with `$ `."""
    lines = inspect.cleandoc(text).splitlines()
    examples = [line[2:] for line in lines if line.startswith("$ ")]
    return "\n".join(line for line in lines if not line.startswith("$ ")).strip(), examples
