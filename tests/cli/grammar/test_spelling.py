"""Go-style booleans and short flags in the form that click reads."""

from __future__ import annotations

import click
import pytest

from firectl.cli.grammar.spelling import spell_out
from firectl.cli.grammar.types import Boolean

PARAMS = [
    click.Option(["--public"], type=Boolean()),
    click.Option(["-q", "--quiet"], type=Boolean()),
    click.Option(["-v", "--verbose"], type=Boolean()),
    click.Option(["-o", "--output"]),
    click.Option(["-h", "--wait"], is_flag=True),
]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("--public x", "--public=true x"),
        ("--public=false x", "--public=false x"),
        ("--output --public", "--output --public"),
        ("-o --public --public", "-o --public --public=true"),
        ("-qv", "-qtrue -vtrue"),
        ("-q=false", "-qfalse"),
        ("-qo json -v", "-qtrue -o json -vtrue"),
        ("-o=json", "-ojson"),
        ("-ojson -q", "-ojson -qtrue"),
        ("-- --public", "-- --public"),
        ("--wait --public", "--wait --public=true"),
        ("--wait=true x", "--wait x"),
        ("--wait=False x", "x"),
        ("-h=1 x", "-h x"),
        ("-o --wait=true", "-o --wait=true"),
        ("--unknown --public", "--unknown --public=true"),
    ],
)
def test_booleans_are_given_their_value_and_other_words_are_left_alone(typed: str, read: str) -> None:
    assert " ".join(spell_out(typed.split(), PARAMS, True)) == read


def test_what_follows_a_word_is_the_verbs_to_read() -> None:
    assert list(spell_out(["-q", "get", "--public"], PARAMS, False)) == ["-qtrue", "get", "--public"]
