"""No command line, however odd, ends in a traceback, a hang or a prompt."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firectl.cli.tree import COMMANDS, VERBS
from tests.cli.conftest import KEY
from tests.cli.inside import run_inside
from tests.client.script_server import ScriptServer, answer
from tests.ran import Ran

NOT_TRIED = {"local", "quickstart", "bench"}
"""Commands that start processes or send a load: tested with a flag that is always refused."""
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
STARTING = [
    "--port", "0", "70000", "80", "--max-replicas", "--threads", "--lines", "-f", "--follow=maybe", "--question", "Hi!",
    "--teardown", "--teardown=no", "--concurrency", "1,0", "--rate", "--requests", "--mix", "zipf:x", "--compare",
    "live-merge", "--csv", "--plot", "--max-errors", "200%", "--prompts", "--keep", "up", "down", "serve", "status",
    "logs", "env",
]  # fmt: skip
KEPT_BACK = ["--no-such-flag", "--no-such=1", "--concurrency=0", "--port=0", "--rate=x"]
"""Each is refused by every command that starts something. Given twice, since the first may be a flag's value."""
HELD = st.builds(
    lambda words, last: [*words, last, last],
    st.lists(st.sampled_from([*STARTING, *FLAGS, *WORDS, "m#d"]).filter(lambda word: word != "--"), max_size=6),
    st.sampled_from(KEPT_BACK),
)
EXITS = {0, 1, 2, 3, 4, 5, 6, 7, 8}


SENDS_AWAY = ("-s", "--s", "-p", "--p")
"""The beginnings of flags that name another server. With one of them no key is set, so nothing can be sent."""


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nowhere]:
    place = Nowhere(tmp_path_factory.mktemp("any-argv"))
    with contextlib.chdir(place.folder):
        yield place
    place.close()


class Nowhere:
    """An API that answers `{}` to everything, and an empty folder that is both the home and the current folder.

    An audit hook sees every connection made while `watching`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api = ScriptServer(lambda _: answer(200, {}))
        self.watching = False
        self.connected: set[object] = set()
        self.started: list[tuple[object, ...]] = []
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.watching and event in ("socket.connect", "socket.getaddrinfo"):
            self.connected.add(arguments[1] if event == "socket.connect" else arguments[0])
        if self.watching and event in ("subprocess.Popen", "os.fork", "os.exec", "os.posix_spawn"):
            self.started.append(arguments)

    def run(self, argv: list[str]) -> Ran:
        environ = {"FIREWORKS_HOME": str(self.folder), "HOME": str(self.folder), "PATH": os.environ["PATH"]}
        if not any(word.startswith(SENDS_AWAY) for word in argv):
            environ |= {"FIREWORKS_API_KEY": KEY, "FIREWORKS_ACCOUNT_ID": "a", "FIREWORKS_BASE_URL": self.api.url}
        self.watching = True
        try:
            return run_inside(argv, environ)
        finally:
            self.watching = False

    def close(self) -> None:
        self.api.close()


@given(ARGV)
@settings(max_examples=400, deadline=None)
def test_every_command_line_ends_in_a_documented_way(nowhere: Nowhere, argv: list[str]) -> None:
    ends_as_documented(nowhere, argv)


@pytest.mark.slow
@given(ARGV)
@settings(max_examples=2000, deadline=None)
def test_two_thousand_command_lines_end_in_a_documented_way(nowhere: Nowhere, argv: list[str]) -> None:
    ends_as_documented(nowhere, argv)


@given(st.sampled_from(["local", "quickstart", "bench", "local up", "local serve", "up local"]), HELD)
@settings(max_examples=200, deadline=None)
def test_what_starts_something_starts_nothing_when_a_word_of_it_is_wrong(
    nowhere: Nowhere, command: str, argv: list[str]
) -> None:
    asked = len(nowhere.api.received)
    ran = ends_as_documented(nowhere, [*command.split(), *argv])
    assert ran.code == 2 or (ran.code == 0 and ran.out)  # 0: --help and --version win over what is wrong
    assert nowhere.started == []
    assert len(nowhere.api.received) == asked
    assert not (nowhere.folder / "local").exists()


def ends_as_documented(nowhere: Nowhere, argv: list[str]) -> Ran:
    ran = nowhere.run(argv)
    assert ran.code in EXITS
    assert "Traceback" not in ran.err
    assert "internal error" not in ran.err
    if ran.code:
        # Only a check has a result and a failing code: the report of what is wrong.
        if ran.out:
            assert {"check", "lora"} & set(argv), f"half a result: {ran.out}"
            assert not ran.err.startswith("Error: ")
            if ran.out.startswith(("{", "[")):
                json.loads(ran.out)
        else:
            assert ran.err.splitlines()[-1].startswith(("Error: ", "Hint: ", '{"error": '))
    here = {"127.0.0.1", ("127.0.0.1", int(nowhere.api.url.rpartition(":")[2]))}
    assert nowhere.connected <= here, "nothing was asked of anyone else"
    return ran
