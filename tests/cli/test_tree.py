"""The table of commands: both grammars find the same verbs, and a command is imported only to run it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from firectl._version import __version__
from firectl.cli.tree import COMMANDS, NOT_HERE, VERBS, load
from tests.cli.conftest import Cli
from tests.cli.hosted import Api

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
def test_a_command_without_a_request_imports_nothing_heavy(cli: Cli, argv: list[str]) -> None:
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
        # A valid string needs neither settings nor explanations.
        assert ours == START | ROUTE_CHECK
        assert not {"dataclasses", "pathlib", "urllib.parse", "ssl"} & loaded


@pytest.mark.parametrize(
    ("argv", "method", "path"),
    [
        ("create deployment m --deployment-id d", "POST", "/v1/accounts/acme/deployments?deploymentId=d"),
        ("delete deployment d", "DELETE", "/v1/accounts/acme/deployments/d"),
        ("undelete deployment d", "POST", "/v1/accounts/acme/deployments/d:undelete"),
        ("scale d --replica-count 0", "PATCH", "/v1/accounts/acme/deployments/d:scale"),
        ("scale deployment d --replica-count 0", "PATCH", "/v1/accounts/acme/deployments/d:scale"),
        ("delete models m", "DELETE", "/v1/accounts/acme/models/m"),
        ("update deployed-model x --default", "PATCH", "/v1/accounts/acme/deployedModels/x?updateMask=default"),
        ("model load-lora m --deployment d", "POST", "/v1/accounts/acme/deployedModels"),
        ("load-lora m --deployment d", "POST", "/v1/accounts/acme/deployedModels"),
        ("prepare-model m --precision FP8", "POST", "/v1/accounts/acme/models/m:prepare"),
    ],
)
def test_old_commands_and_top_level_ones_reach_the_same_verbs(
    cli: Cli, api: Api, argv: str, method: str, path: str
) -> None:
    ran = cli(*argv.split(), "--dry-run")
    assert ran.code == 0, ran.err
    assert (ran.json["method"], ran.json["path"]) == (method, path)
    assert ran.err.endswith("Nothing was sent.\n")
    assert api.changes == []


@pytest.mark.parametrize(
    ("word", "use"),
    [
        ("undeploy", "firectl unload-lora MODEL --deployment DEPLOYMENT, or firectl deployment delete DEPLOYMENT"),
        ("up", "firectl local up"),
        ("logs", "firectl local logs"),
        ("login", "firectl set-api-key - < FILE"),
        ("quota", "the service's web console or its REST API, https://docs.fireworks.ai"),
        ("sftj", "the service's web console or its REST API, https://docs.fireworks.ai"),
    ],
)
def test_a_command_of_the_official_tool_that_is_missing_names_what_to_use(cli: Cli, word: str, use: str) -> None:
    ran = cli(word, "list", "--whatever", "x")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"Error: firectl has no {word!r} (code = InvalidArgument)\nHint: use {use}\n"


def test_help_is_a_word_too(cli: Cli) -> None:
    for words in ("", "deployment", "deployment create", "create deployment", "load-lora"):
        ran = cli("help", *words.split())
        assert (ran.code, ran.err, ran.out) == (0, "", cli(*words.split(), "--help").out)
    assert cli("help", "nonsense").code == 2
