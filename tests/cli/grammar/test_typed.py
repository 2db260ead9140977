"""The words typed after a command, from the context of click."""

from __future__ import annotations

from firectl.cli.app import App
from firectl.cli.grammar.typed import typed_words, words_after
from firectl.cli.tree import root


def test_the_words_after_the_root_are_kept_as_typed_and_as_read() -> None:
    context = root.make_context("firectl", ["-q", "deployment", "get", "--public"], obj=App({}))
    assert typed_words(context) == ("-q", "deployment", "get", "--public")
    assert words_after(context) == ["deployment", "get", "--public"]


def test_a_command_line_without_a_word_has_none() -> None:
    assert words_after(root.make_context("firectl", ["-q"], obj=App({}))) == []
