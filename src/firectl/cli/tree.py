"""Which commands there are, and where each lives: a table, and the root that imports a command only to run it.

`firectl --help` is printed from the table alone. Knows no command's flags.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import click

from firectl._version import __version__
from firectl.cli.grammar.syntax import NounGroup, UnknownWord, Verb
from firectl.cli.grammar.typed import words_after
from firectl.errors import InputError
from firectl.names.nouns import HOSTED, NOUNS


class Entry(NamedTuple):
    """A word after `firectl`. `module` is below cli/commands, `attribute` the click command in it."""

    name: str
    module: str
    attribute: str
    help: str
    aliases: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    """The verbs of a noun; those that are words of the table live there."""
    hidden: bool = False

    @property
    def section(self) -> str:
        """Where the help lists it: by the folder of its module."""
        return SECTIONS[self.module.partition(".")[0]]


SECTIONS = {
    "deploy": "Deploy",
    "models": "Models",
    "talk": "Talk to it",
    "machine": "On this machine",
    "settings": "Settings",
}

_IN_ANY_ORDER = (
    *(
        Entry(noun.word, f"{noun.group}.{noun.page}", noun.page, noun.help, (noun.plural, *noun.aliases), noun.verbs)
        for noun in NOUNS
        if noun.group
    ),
    Entry("load-lora", "deploy.lora_loading", "load_lora", "Load a LoRA onto a deployment that takes addons."),
    Entry("unload-lora", "deploy.lora_loading", "unload_lora", "Take a LoRA off a deployment."),
    Entry("scale", "deploy.deployment", "scale", "Set how many replicas a deployment has."),
    Entry("deployment-metrics", "deploy.deployment_metrics", "deployment_metrics", "Tokens and requests over time.",
          aliases=("deployment-metric",), verbs=("list",)),
    Entry("prepare-model", "models.model", "prepare", "Prepare a model for deployment in a precision."),
    Entry("lora", "models.lora", "lora", "An adapter's folder: check it, merge it, compare it."),
    Entry("chat", "talk.chat", "chat", "Send one message to a route."),
    Entry("bench", "talk.bench", "bench", "Send a load to routes and measure them side by side."),
    Entry("route", "talk.route", "route", "Check the string that goes into `model`."),
    Entry("local", "machine.local", "local", "The platform on this machine."),
    Entry("quickstart", "machine.quickstart", "quickstart", "The whole tutorial, here, with sample weights."),
    Entry("whoami", "settings.whoami", "whoami", "Which account and server commands go to, and why."),
    Entry("set-api-key", "settings.set_api_key", "set_api_key", "Keep an API key in the profile."),
    Entry("completion", "settings.completion", "completion", "Shell completion for bash, zsh and fish."),
    Entry("version", "settings.version", "version", "Print the version."),
    Entry("signin", "settings.elsewhere", "signin", "Sign in.", hidden=True),
    Entry("upgrade", "settings.elsewhere", "upgrade", "Upgrade this tool.", hidden=True),
)  # fmt: skip
COMMANDS = [entry for section in SECTIONS.values() for entry in _IN_ANY_ORDER if entry.section == section]
"""As the help lists them: by section, nouns first."""

VERBS = frozenset((
    "create", "get", "list", "update", "delete", "undelete", "scale", "upload", "download", "prepare", "match",
))  # fmt: skip
"""Verbs that the older `firectl VERB NOUN` begins with."""

NOT_HERE = {
    "undeploy": "firectl unload-lora MODEL --deployment DEPLOYMENT, or firectl deployment delete DEPLOYMENT",
    "deploy": "firectl load-lora MODEL --deployment DEPLOYMENT, or firectl deployment create MODEL",
    "import": "firectl model create MODEL_ID PATH",
    "signout": "remove the profile from ~/.fireworks/auth.ini",
    "login": "firectl set-api-key - < FILE",
    "logout": "remove the profile from ~/.fireworks/auth.ini",
    "config": "firectl whoami to see the settings, and firectl set-api-key to keep a key, an account and a server",
} | {
    word: f"firectl local {word}" for word in ("up", "down", "status", "logs", "env", "serve")
} | dict.fromkeys(
    (
        *(word for noun in (*NOUNS, *HOSTED) if not noun.group for word in (noun.word, noun.plural)),
        "quota", "sftj", "dpoj", "rftj", "rlor", "rft-step", "bij", "evalj", "billing", "audit-logs", "log",
        "aws-iam-role", "snapshot", "cancel", "resume", "export",
    ),
    "the service's web console or its REST API, https://docs.fireworks.ai",
)  # fmt: skip
"""Words of the official tool that this one does not have, or has elsewhere, and what does their work."""

_BY_NAME = {name: entry for entry in COMMANDS for name in (entry.name, *entry.aliases)}


def entry_of(word: str) -> Entry | None:
    """The line of the table that a word, or an alias, stands for."""
    return _BY_NAME.get(word)


def load(entry: Entry) -> click.Command:
    """The command itself; imports its module."""
    module = importlib.import_module(f"firectl.cli.commands.{entry.module}")
    command: click.Command = getattr(module, entry.attribute)
    if isinstance(command, NounGroup):
        for name in entry.verbs:
            if name not in command.commands:
                command.add_command(load(_BY_NAME[name]))
    return command


class Root(NounGroup):
    """`firectl`: reads the table, so that help and version import no command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in COMMANDS if not entry.hidden]

    def words(self, ctx: click.Context) -> list[str]:
        return [*self.list_commands(ctx), *sorted(VERBS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _BY_NAME.get(cmd_name)
        if entry is not None:
            return load(entry)
        if cmd_name in VERBS:
            return VerbFirst(cmd_name)
        return _not_here(cmd_name) if cmd_name in NOT_HERE else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] == "help" and len(args) == 1:
            click.echo(ctx.get_help())
            ctx.exit()
        if args[0] == "help":
            args = [*args[1:], "--help"]
        if len(args) > 1 and args[0] in VERBS and _is_resource(args[1]):
            # `scale` is a command of its own, and in `scale deployment D` the verb of the older grammar.
            return args[0], VerbFirst(args[0]), args[1:]
        name, command, rest = super().resolve_command(ctx, args)
        # The name of a command, not the alias that was typed, is what usage lines and errors show.
        entry = _BY_NAME.get(name or "")
        return (entry.name if entry else name), command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(entry.name) for entry in COMMANDS)
        for section in SECTIONS.values():
            with formatter.section(section):
                rows = [(e.name, e.help) for e in COMMANDS if e.section == section and not e.hidden]
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])

    def invoke(self, ctx: click.Context) -> Any:
        if not words_after(ctx):
            click.echo(ctx.get_help())
            return None
        return super().invoke(ctx)


class VerbFirst(NounGroup):
    """The older grammar, `firectl VERB NOUN`: the same commands, found the other way round."""

    wants = "noun"

    def __init__(self, name: str) -> None:
        super().__init__(name, f"{name.capitalize()} a resource: `firectl {name} NOUN` is `firectl NOUN {name}`.")
        self.hidden = True

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in COMMANDS if self.name in entry.verbs]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _BY_NAME.get(cmd_name)
        if entry is None:
            return _not_here(cmd_name) if cmd_name in NOT_HERE else None
        return self._find(ctx, entry)

    def _find(self, ctx: click.Context, entry: Entry) -> click.Command | None:
        noun = load(entry) if self.name in entry.verbs else None
        return noun.get_command(ctx, str(self.name)) if isinstance(noun, NounGroup) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        entry = _BY_NAME.get(args[0]) if args else None
        if entry is not None and self._find(ctx, entry) is None:
            raise UnknownWord(args[0], self.list_commands(ctx), ctx)
        return super().resolve_command(ctx, args)


def _is_resource(word: str) -> bool:
    """Whether a word is a noun that the older grammar knows, singular or plural."""
    entry = _BY_NAME.get(word)
    return entry is not None and bool(entry.verbs)


def _not_here(name: str) -> Verb:
    def refuse(words: tuple[str, ...]) -> None:
        raise InputError(f"firectl has no {name!r}", hint=f"use {NOT_HERE[name]}")

    words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
    settings = {"ignore_unknown_options": True, "help_option_names": []}
    return Verb(name, callback=refuse, params=[words], hidden=True, context_settings=settings)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"firectl {__version__}")
        ctx.exit()


root = Root(
    "firectl",
    "Deploy fine-tuned language models, on the hosted service or on this machine.",
    params=[
        click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."
        )
    ],
)


def completion_source(shell: str) -> str:
    """The shell code that asks this program for completions."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, "the shells are those that click knows"
    complete = found(root, {}, "firectl", "_FIRECTL_COMPLETE")
    return complete.source_template % complete.source_vars()
