"""Help: every command says what it does and shows a line to run, and asking for it costs next to nothing."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from firectl._version import __version__
from firectl.cli.app import App
from firectl.cli.grammar.syntax import Verb, split_help
from firectl.cli.grammar.typed import words_after
from firectl.cli.tree import COMMANDS, NOT_HERE, VERBS, load, root
from tests.cli.conftest import Cli

HEAVY = {"httpx", "pydantic", "rich", "torch", "transformers", "sqlalchemy", "starlette", "numpy"}
START = {
    "firectl._version", "firectl.cli", "firectl.cli.app", "firectl.cli.grammar", "firectl.cli.grammar.durations",
    "firectl.cli.grammar.spelling", "firectl.cli.grammar.syntax", "firectl.cli.grammar.typed",
    "firectl.cli.grammar.types", "firectl.cli.interrupts", "firectl.cli.main",
    "firectl.cli.output", "firectl.cli.output.formats", "firectl.cli.output.output", "firectl.cli.output.render",
    "firectl.cli.tree", "firectl.errors", "firectl.names", "firectl.names.nouns", "firectl.schemas",
    "firectl.schemas.words",
}  # fmt: skip
ROUTE_CHECK = {
    "firectl.cli.commands", "firectl.cli.commands.talk", "firectl.cli.commands.talk.route",
    "firectl.cli.grammar.params", "firectl.cli.route", "firectl.cli.route.check", "firectl.names.ids",
    "firectl.names.routes",
}  # fmt: skip


def leaves() -> Iterator[tuple[str, Verb]]:
    context = click.Context(root, info_name="firectl", obj=App())
    for entry in COMMANDS:
        command = load(entry)
        if isinstance(command, Verb):
            yield entry.name, command
        elif isinstance(command, click.Group):
            for name in command.list_commands(context):
                leaf = command.get_command(context, name)
                assert isinstance(leaf, Verb)
                yield f"{entry.name} {name}", leaf


LEAVES = dict(leaves())


@pytest.mark.parametrize("name", LEAVES)
def test_a_command_says_in_its_first_line_what_it_does(name: str) -> None:
    prose, _ = split_help(LEAVES[name].help or "")
    first = prose.splitlines()[0]
    assert first.endswith((".", ":"))
    assert first[0].isupper()
    assert not first.split()[0].endswith("s"), "imperative: Show, not Shows"


@pytest.mark.parametrize("name", LEAVES)
def test_the_examples_of_a_command_are_command_lines_that_are_read(name: str) -> None:
    _, examples = split_help(LEAVES[name].help or "")
    assert examples
    own = False
    for example in examples:
        for words in _commands(example):
            context = root.make_context("firectl", words, obj=App())
            found, command, rest = root.resolve_command(context, words_after(context))
            while isinstance(command, click.Group):
                inner = command.make_context(str(found), list(rest), parent=context)
                found, command, rest = command.resolve_command(inner, words_after(inner))
            assert command is not None
            command.make_context(str(found), list(rest), parent=context)
            own = own or command is LEAVES[name] or command.name == LEAVES[name].name
    assert own or LEAVES[name].hidden, "an example runs the command that it explains"


def _commands(example: str) -> Iterator[list[str]]:
    """The firectl command lines in a line of shell."""
    inside = example.removeprefix('eval "$(').removesuffix(')"')
    for part in inside.split(" | "):
        words = shlex.split(part.split(" < ")[0])
        if words[0] == "firectl":
            yield words[1:]


@pytest.mark.parametrize("name", LEAVES)
def test_every_flag_of_a_command_is_explained_in_a_sentence(name: str) -> None:
    for param in LEAVES[name].params:
        if isinstance(param, click.Option):
            said = param.help or ""
            assert len(said.split()) >= 2, f"{param.opts[-1]}: {said!r}"
            assert said[-1] in ".?", f"{param.opts[-1]}: {said!r}"


@pytest.mark.parametrize("name", LEAVES)
def test_the_help_of_a_command_shows_its_flags_apart_from_the_global_ones(cli: Cli, name: str) -> None:
    ran = cli(*name.split(), "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"Usage: firectl {name} [flags]" in ran.out
    assert "\nGlobal flags:\n  -a, --account-id ID" in ran.out
    assert " BOOLEAN" not in ran.out
    assert ran.out.count("Show this message and exit.") == 1
    assert cli(*name.split(), "-h").out == ran.out


def test_every_flag_of_every_command_is_explained_in_a_sentence() -> None:
    for name, command in LEAVES.items():
        for param in command.params:
            if isinstance(param, click.Option):
                assert (param.help or "").endswith((".", "?")), f"{name} {param.opts[0]}"


def test_a_noun_says_of_each_verb_what_it_does_without_cutting_it_short(cli: Cli) -> None:
    for entry in COMMANDS:
        if isinstance(noun := load(entry), click.Group):
            shown = " ".join(cli(entry.name, "--help").out.split())
            for name, verb in noun.commands.items():
                first = split_help(verb.help or "")[0].splitlines()[0]
                assert verb.hidden or f"{name} {first}" in shown


def test_the_root_lists_every_command_that_is_not_hidden(cli: Cli) -> None:
    ran = cli("--help")
    assert (ran.code, ran.err) == (0, "")
    assert cli().out == ran.out
    for entry in COMMANDS:
        assert (f"\n  {entry.name} " in ran.out) is not entry.hidden


def test_the_one_line_of_the_table_agrees_with_the_command(cli: Cli) -> None:
    for entry in COMMANDS:
        assert entry.help.endswith(".")
        assert load(entry).name == entry.name or entry.name in ("prepare-model",)


def test_no_word_means_two_things() -> None:
    words = [word for entry in COMMANDS for word in (entry.name, *entry.aliases)]
    assert len(words) == len(set(words))
    assert not NOT_HERE.keys() & {*words, *VERBS}


def test_version_is_one_line_and_a_document(cli: Cli) -> None:
    assert cli("--version").out == f"firectl {__version__}\n"
    assert cli("version").out == f"firectl {__version__}\n"
    assert cli("version", "-o", "json").json == {"version": __version__}
    assert cli("version", "-o", "yaml").out == f"version: {__version__}\n"


def test_version_and_help_take_a_value_as_every_boolean_flag_does(cli: Cli) -> None:
    assert cli("--version=true").out == cli("--version").out
    assert cli("deployment", "get", "--help=true").out == cli("deployment", "get", "-h").out
    assert cli("--version=false", "version", "--help=false").out == cli("version").out
    ran = cli("--version=maybe")
    assert (ran.code, ran.out) == (2, "")
    assert "'maybe' is neither true nor false" in ran.err


@pytest.mark.parametrize(
    "argv",
    [
        ["--version"],
        ["--help"],
        ["version"],
        ["deployment", "create", "--help"],
        ["route", "check", "accounts/a/models/m#accounts/a/deployments/d"],
        ["route", "check", "m#d", "-o", "json"],
        ["route", "check", "no such thing"],
        ["completion", "bash"],
    ],
    ids=" ".join,
)
def test_what_asks_nobody_loads_nothing_heavy(cli: Cli, argv: list[str]) -> None:
    script = (
        "import sys, json, atexit\n"
        "sys.argv[0] = 'firectl'\n"
        "before = set(sys.modules)\n"
        "atexit.register(lambda: sys.stderr.write(json.dumps(sorted(set(sys.modules) - before))))\n"
        "from firectl.cli.main import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True)
    loaded = set(json.loads(done.stderr))
    assert done.stdout
    assert not HEAVY & loaded
    ours = {name for name in loaded if name.startswith("firectl.")}
    if argv[0] in ("--version", "--help"):
        assert ours == START
    if argv[:2] == ["route", "check"] and "a/" in argv[2]:
        # Neither settings nor explanations: the string is right, and nobody asked about the rest.
        assert ours == START | ROUTE_CHECK
        assert not {"dataclasses", "pathlib", "urllib.parse", "ssl"} & loaded
