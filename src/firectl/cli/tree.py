"""Define the table of all commands, and the root command, which imports a command's module only when it is used.

`firectl --help` needs only the table. This module must not depend on a command's flags.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import click

from firectl._version import __version__
from firectl.cli.grammar.syntax import NounGroup, Verb
from firectl.cli.grammar.typed import words_after
from firectl.errors import InputError
from firectl.names.nouns import HOSTED, NOUNS


class CommandEntry(NamedTuple):
    """Describe a word after `firectl`. `module`: its module in cli/commands. `attribute`: the click command there."""

    name: str
    module: str
    attribute: str
    help: str
    aliases: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    """The verbs of a noun. A verb missing in the noun's module (`scale`) is loaded from its own entry in the table."""
    hidden: bool = False

    @property
    def section(self) -> str:
        """Return the section of the help that lists the command. The folder of its module decides."""
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
        CommandEntry(it.word, f"{it.group}.{it.page}", it.page, it.help, (it.plural, *it.aliases), it.verbs)
        for it in NOUNS
        if it.group
    ),
    CommandEntry("load-lora", "deploy.lora_loading", "load_lora", "Load a LoRA onto a deployment that takes addons."),
    CommandEntry("unload-lora", "deploy.lora_loading", "unload_lora", "Take a LoRA off a deployment."),
    CommandEntry("scale", "deploy.deployment", "scale", "Set how many replicas a deployment has."),
    CommandEntry("deployment-metrics", "deploy.deployment_metrics", "deployment_metrics",
                 "Tokens and requests over time.", aliases=("deployment-metric",), verbs=("list",)),
    CommandEntry("prepare-model", "models.model", "prepare", "Prepare a model for deployment in a precision."),
    CommandEntry("lora", "models.lora", "lora", "An adapter's folder: check it, merge it, compare it."),
    CommandEntry("chat", "talk.chat", "chat", "Send one message to a route."),
    CommandEntry("bench", "talk.bench", "bench", "Send a load to routes and measure them side by side."),
    CommandEntry("route", "talk.route", "route", "Check the string that goes into `model`."),
    CommandEntry("local", "machine.local", "local", "The platform on this machine."),
    CommandEntry("quickstart", "machine.quickstart", "quickstart", "The whole tutorial, here, with sample weights."),
    CommandEntry("whoami", "settings.whoami", "whoami", "Which account and server commands go to, and why."),
    CommandEntry("set-api-key", "settings.set_api_key", "set_api_key", "Keep an API key in the profile."),
    CommandEntry("completion", "settings.completion", "completion", "Shell completion for bash, zsh and fish."),
    CommandEntry("version", "settings.version", "version", "Print the version."),
    CommandEntry("signin", "settings.elsewhere", "signin", "Sign in.", hidden=True),
    CommandEntry("upgrade", "settings.elsewhere", "upgrade", "Upgrade this tool.", hidden=True),
)  # fmt: skip
COMMANDS = [entry for section in SECTIONS.values() for entry in _IN_ANY_ORDER if entry.section == section]
"""All commands in the order of the help: by section, and nouns first in each section."""

VERBS = frozenset((
    "create", "get", "list", "update", "delete", "undelete", "scale", "upload", "download", "prepare", "match",
))  # fmt: skip
"""The first words of the older grammar, `firectl VERB NOUN`."""

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
"""Words of the official tool that are missing here or have another name, and what to use instead."""

_BY_NAME = {name: entry for entry in COMMANDS for name in (entry.name, *entry.aliases)}


def entry_of(word: str) -> CommandEntry | None:
    """Return the table entry of a command's name or alias, or None."""
    return _BY_NAME.get(word)


def load(entry: CommandEntry) -> click.Command:
    """Import the command's module and return the command, with its verbs if it is a noun."""
    module = importlib.import_module(f"firectl.cli.commands.{entry.module}")
    command: click.Command = getattr(module, entry.attribute)
    if isinstance(command, NounGroup):
        for name in entry.verbs:
            if name not in command.commands:
                command.add_command(load(_BY_NAME[name]))
    return command


class Root(NounGroup):
    """The command `firectl`. Its help and `--version` need only the table, so they import no command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in COMMANDS if not entry.hidden]

    def words(self, ctx: click.Context) -> list[str]:
        return [*self.list_commands(ctx), *sorted(VERBS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (entry := entry_of(cmd_name)) is not None:
            return load(entry)
        return VerbFirst(cmd_name) if cmd_name in VERBS else _not_here(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args == ["help"]:
            click.echo(ctx.get_help())
            ctx.exit()
        elif args[0] == "help":
            args = [*args[1:], "--help"]
        noun = entry_of(args[1]) if len(args) > 1 and args[0] in VERBS else None
        if noun is not None and noun.verbs:
            # `scale` is also a command of its own. In `scale deployment D` it is the verb of the older grammar.
            return args[0], VerbFirst(args[0]), args[1:]
        name, command, rest = super().resolve_command(ctx, args)
        # Usage lines and errors show the name of the command, not the alias typed.
        entry = entry_of(name or "")
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
    """Support the older grammar: `firectl VERB NOUN` runs `firectl NOUN VERB`."""

    wants = "noun"

    def __init__(self, name: str) -> None:
        super().__init__(name, f"{name.capitalize()} a resource: `firectl {name} NOUN` is `firectl NOUN {name}`.")
        self.hidden = True

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in COMMANDS if self.name in entry.verbs]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = entry_of(cmd_name)
        if entry is None:
            return _not_here(cmd_name)
        noun = load(entry) if self.name in entry.verbs else None
        return noun.get_command(ctx, str(self.name)) if isinstance(noun, NounGroup) else None


def _not_here(name: str) -> Verb | None:
    """Return a command that raises an error with the replacement of a word in NOT_HERE. None for any other word."""
    if name not in NOT_HERE:
        return None

    def refuse(app: object, words: tuple[str, ...]) -> None:
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
    """Return the shell code that makes a shell ask firectl for completions."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, "the shells are those that click knows"
    complete = found(root, {}, "firectl", "_FIRECTL_COMPLETE")
    return complete.source_template % complete.source_vars()
