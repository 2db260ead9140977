"""Help: every command says what it does and shows a line to run, and asking for it costs next to nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest

from firectl.cli.app import App
from firectl.cli.grammar.syntax import Verb, split_help
from firectl.cli.grammar.typed import words_after
from firectl.cli.tree import COMMANDS, load, root
from tests.cli.conftest import Cli


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


def test_a_noun_says_of_each_verb_what_it_does_without_cutting_it_short(cli: Cli) -> None:
    for entry in COMMANDS:
        if isinstance(noun := load(entry), click.Group):
            shown = " ".join(cli(entry.name, "--help").out.split())
            for name, verb in noun.commands.items():
                first = split_help(verb.help or "")[0].splitlines()[0]
                assert verb.hidden or f"{name} {first}" in shown
