"""A command line that cannot be parsed: the error, and what to type instead. It is about `cli/mistakes/usage.py`."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        ("deploymnt list", "firectl has no command 'deploymnt'", "did you mean deployment? See: firectl --help"),
        (
            "deployment lst",
            "firectl deployment has no command 'lst'",
            "did you mean list? See: firectl deployment --help",
        ),
        (
            "deployment",
            "firectl deployment needs a verb: create, get, list, update, scale, delete, undelete",
            "firectl deployment --help",
        ),
        (
            "deployment get",
            "missing argument 'DEPLOYMENT'",
            "firectl deployment list shows what there is; firectl deployment get my-deployment; "
            "more: firectl deployment get --help",
        ),
        (
            "get deployments",
            "missing argument 'DEPLOYMENT'",
            "firectl deployment list shows what there is; firectl deployment get my-deployment; "
            "more: firectl get deployments --help",
        ),
        ("lits deployments", "firectl has no command 'lits'", "did you mean list? See: firectl --help"),
        (
            "deployment lits",
            "firectl deployment has no command 'lits'",
            "did you mean list? See: firectl deployment --help",
        ),
        (
            "delete",
            "firectl delete needs a noun: deployment, model, api-key",
            "firectl delete --help",
        ),
        (
            "completion",
            "missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish",
            'eval "$(firectl completion bash)"; more: firectl completion --help',
        ),
        (
            "load-lora m",
            "missing option '--deployment'",
            "firectl load-lora my-lora --deployment my-deployment --wait; more: firectl load-lora --help",
        ),
        (
            "deployment get a b",
            "got unexpected extra argument (b)",
            "firectl deployment get my-deployment; more: firectl deployment get --help",
        ),
        ("local restart", "firectl local has no command 'restart'", "firectl local --help"),
        (
            "deployment list --fliter x",
            "firectl deployment list has no flag '--fliter'",
            "did you mean --filter? See: firectl deployment list --help",
        ),
        (
            "deployment list --page-size 0",
            "invalid value for '--page-size': '0' is below 1",
            "firectl deployment list --help",
        ),
        (
            "deployment scale d --replica-count x",
            "invalid value for '--replica-count': 'x' is not a whole number",
            "firectl deployment scale --help",
        ),
        (
            "model update m --public=maybe",
            "invalid value for '--public': 'maybe' is neither true nor false",
            "firectl model update --help",
        ),
        ("create account", "firectl create has no command 'account'", "firectl create --help"),
        ("chat x -o name", "firectl chat cannot write 'name', only text, json, yaml", "firectl chat --help"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong_and_what_to_type(cli: Cli, argv: str, message: str, hint: str) -> None:
    ran = cli(*argv.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"Error: {message} (code = InvalidArgument)\nHint: {hint}\n"


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        ("load-lora m --deployment", "firectl load-lora --help"),
        ("deployment create m --deployment-name x",
         "did you mean --deployment-id or --display-name? See: firectl deployment create --help"),
        ("deployment ls", "did you mean list? See: firectl deployment --help"),
        ("remove deployment shared", "did you mean delete? See: firectl --help"),
        ("model rm m", "did you mean delete? See: firectl model --help"),
        ("lora load m", "did you mean firectl load-lora? See: firectl load-lora --help"),
        ("scale shared 2", "firectl scale shared --replica-count 2; more: firectl scale --help"),
        ("load-lora m shared", "firectl load-lora m --deployment shared; more: firectl load-lora --help"),
        ("get shared", "add the noun: firectl get NOUN shared, where NOUN is one of deployment, deployed-model, "
         "deployment-shape, deployment-shape-version, model, account"),
    ],
)  # fmt: skip
def test_a_command_line_of_another_tool_gets_the_one_of_this_as_a_hint(cli: Cli, argv: str, hint: str) -> None:
    ran = cli(*argv.split())
    assert (ran.code, ran.out, ran.err.splitlines()[-1]) == (2, "", f"Hint: {hint}")
