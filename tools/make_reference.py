"""Writes docs/commands.md from the commands themselves: every noun, verb, flag and example, and the exit codes.

    python tools/make_reference.py

A test fails while the page says something else than the commands do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from firectl.cli.app import App
from firectl.cli.grammar.syntax import GlobalOption, NounGroup, Verb, split_help
from firectl.cli.output.formats import FORMATS
from firectl.cli.tree import COMMANDS, VERBS, CommandEntry, load, root

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "commands.md"

INTRODUCTION = """\
# Commands

Every command, from its own `--help`. This page is generated: `python tools/make_reference.py`.

`firectl NOUN VERB [ARGS] [flags]`. Flags may come before or after the arguments. A resource is written as an ID
(`my-model`, in your account) or as a full name (`accounts/ACCOUNT/models/my-model`). A flag that is shown without
a value is a boolean: `--public`, `--public=true`, `--public=false`. A duration is written `30s`, `10m` or `1h30m`. The
older form, `firectl VERB NOUN`, is understood too, and named below."""


def reference() -> str:
    """The whole page."""
    return "\n\n".join([INTRODUCTION, *_contents(), *_global_flags(), *_exit_codes(), *_commands()]) + "\n"


def _contents() -> Iterator[str]:
    rows = []
    for entry in _shown():
        anchor = f"firectl-{entry.name}"
        rows.append(f"| {entry.section} | [`{entry.name}`](#{anchor}) | {entry.help} |")
    yield _table(("", "command", "what it does"), rows)


def _global_flags() -> Iterator[str]:
    yield "## Flags that every command takes"
    yield _flags(root, shared=True)
    yield f"`-o` is one of {_words(tuple(FORMATS))}; a command that can write only some of them says so below."


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes"
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    lines = page.partition("\n## Exit codes\n")[2].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    end = next(number for number, line in enumerate(lines) if number > start and not line.startswith("|"))
    yield "\n".join(lines[start:end])
    yield "[Errors and exit codes](errors.md) says which code of the API gives which."


def _commands() -> Iterator[str]:
    seen: dict[int, str] = {}
    section = ""
    for entry in _shown():
        if entry.section != section:
            section = entry.section
            yield f"## {section}"
        yield from _command(f"firectl {entry.name}", load(entry), entry.aliases, seen)


def _command(path: str, command: click.Command, aliases: tuple[str, ...], seen: dict[int, str]) -> Iterator[str]:
    depth = min(len(path.split()) + 1, 6)
    yield f"{'#' * depth} {path}"
    if id(command) in seen:
        known = seen[id(command)]
        yield f"The same as [`{known}`](#{known.replace(' ', '-')})."
        return
    seen[id(command)] = path
    if isinstance(command, NounGroup):
        prose, _ = split_help(command.help or "")
        yield f"{prose} Also: {_words(aliases)}." if aliases else prose
        for name, verb in command.visible(_context(path, command)):
            older = path.removeprefix("firectl ") if aliases and name in VERBS else ""
            yield from _verb(f"{path} {name}", verb, older and f"firectl {name} {older}", seen)
        return
    yield from _leaf(path, command)


def _verb(path: str, command: click.Command, older: str, seen: dict[int, str]) -> Iterator[str]:
    told = list(_command(path, command, (), seen))
    yield from told
    if older and not told[1].startswith("The same as"):
        yield f"The older form: `{older}`."


def _leaf(path: str, command: click.Command) -> Iterator[str]:
    context = _context(path, command)
    prose, examples = split_help(command.help or "")
    yield f"```\n{path} {' '.join(command.collect_usage_pieces(context))}\n```"
    yield prose
    flags = _flags(command, shared=False)
    if flags:
        yield flags
    if isinstance(command, Verb) and set(command.formats) != set(FORMATS):
        yield f"`-o`: {_words(name for name in FORMATS if name in command.formats)}."
    if examples:
        yield "```sh\n" + "\n".join(examples) + "\n```"


def _flags(command: click.Command, *, shared: bool) -> str:
    context = _context("firectl", command)
    rows = []
    for param in command.get_params(context):
        record = None if isinstance(param, click.Argument) or "--help" in param.opts else param.get_help_record(context)
        if record is not None and isinstance(param, GlobalOption) is shared:
            names, text = record
            rows.append(f"| `{_cell(names.replace(' BOOLEAN', ''))}` | {_cell(text)} |")
    return _table(("flag", "what it does"), rows) if rows else ""


def _table(header: tuple[str, ...], rows: list[str]) -> str:
    return "\n".join([f"| {' | '.join(header)} |", "|---" * len(header) + "|", *rows])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _words(words: Iterator[str] | tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _shown() -> list[CommandEntry]:
    return [entry for entry in COMMANDS if not entry.hidden]


def _context(path: str, command: click.Command) -> click.Context:
    # With its settings: click keeps the help flag that the first context asks for.
    return click.Context(command, info_name=path, obj=App(), **command.context_settings)


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
