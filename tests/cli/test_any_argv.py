"""No command line, however odd, ends in a traceback, a hang or a prompt."""

from __future__ import annotations

import io
import os
import sys
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firectl.cli.main import main
from firectl.cli.tree import COMMANDS, VERBS

NOT_TRIED = {"local", "quickstart"}
"""What would start something."""
NOUNS = [name for entry in COMMANDS if entry.name not in NOT_TRIED for name in (entry.name, *entry.aliases)]
FLAGS = [
    "-o", "-ojson", "--output", "-q", "-qv", "--quiet=maybe", "-a", "--account-id=", "-p", "-s", "--timeout",
    "--dry-run", "--help", "-h", "--version", "--wait", "--wait-timeout", "--filter", "--page-size", "--load-targets",
    "--region", "--public=false", "--deployment", "--", "-", "--=", "---", "-=", "--file", "--request", "--live",
    "--precision", "--replica-count",
]  # fmt: skip
WORDS = [
    *VERBS, "check", "match", "json", "text", "1h", "10x", "-5", "m#d", "accounts/a/models/m", "a=1", "https://",
    "127.0.0.1:1", "é", "\u200b", "", " ", "$(x)", "%s%n", "../..", "\x1b[0m", "a" * 300,
]  # fmt: skip
ARGV = st.lists(st.sampled_from([*NOUNS, *FLAGS, *WORDS]) | st.text(max_size=6), max_size=7)
EXITS = {0, 1, 2, 3, 4, 5, 6, 7, 8}


@given(ARGV)
@settings(max_examples=300, deadline=None)
def test_every_command_line_ends_in_a_documented_way(tmp_path_factory: pytest.TempPathFactory, argv: list[str]) -> None:
    home = tmp_path_factory.getbasetemp() / "any-argv"
    settings_of_mine = {"FIREWORKS_HOME": str(home), "HOME": str(home), "PATH": os.environ["PATH"]}
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, settings_of_mine, clear=True),
        mock.patch.object(sys, "stdout", out),
        mock.patch.object(sys, "stderr", err),
        mock.patch.object(sys, "stdin", io.StringIO()),
    ):
        try:
            main(argv)
        except SystemExit as ended:
            code = ended.code
    assert code in EXITS
    assert "Traceback" not in err.getvalue()
    assert "internal error" not in err.getvalue()
    if code and not out.getvalue():
        last = err.getvalue().splitlines()[-1]
        assert last.startswith(("Error: ", "Hint: ", '{"error": '))
