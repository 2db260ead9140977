"""Rewrite the arguments of a command line: Go-style booleans and short flags get the form that click reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import click

from firectl.cli.grammar.types import Boolean


def spell_out(args: Iterable[str], params: Sequence[click.Parameter], interspersed: bool) -> Iterator[str]:
    """Yield the arguments with a value for every boolean flag: `--public` becomes `--public=true`.

    click's own flags take no value: `--help=true` becomes `--help`, and `--help=false` is dropped. Values of other
    options and everything after `--` do not change. If `interspersed` is false, as for a noun, nothing changes from the
    first word that is not a flag.
    """
    booleans: set[str] = set()
    others: set[str] = set()
    bare: dict[str, click.Parameter] = {}
    for param in params:
        if isinstance(param, click.Option) and param.is_flag:
            bare.update(dict.fromkeys(param.opts, param))
        elif isinstance(param, click.Option):
            (booleans if isinstance(param.type, Boolean) else others).update(param.opts)
    rest = iter(args)
    for arg in rest:
        if arg == "--" or (not interspersed and not arg.startswith("-")):
            yield arg
            break
        name, equals, value = arg.partition("=")
        if equals and name in bare:
            if Boolean().convert(value, bare[name], None):
                yield name
        elif arg in booleans and arg.startswith("--"):
            yield f"{arg}=true"
        elif arg in others:
            yield arg
            yield from islice(rest, 1)
        elif arg[:1] == "-" and arg[:2] != "--" and len(arg) > 1:
            yield from _short(arg, rest, booleans, others)
        else:
            yield arg
    yield from rest


def _short(arg: str, rest: Iterator[str], booleans: set[str], others: set[str]) -> Iterator[str]:
    """Rewrite short flags: `-qv` as `-qtrue -vtrue`, `-q=false` as `-qfalse`, `-o=json` as `-ojson`."""
    letters = arg[1:]
    while letters:
        flag, letters = f"-{letters[0]}", letters[1:]
        if flag in booleans and letters.startswith("="):
            yield f"{flag}{letters[1:]}"
            return
        if flag in booleans:
            yield f"{flag}true"
            continue
        yield flag + letters.removeprefix("=")
        if flag in others and not letters:
            yield from islice(rest, 1)
        return
