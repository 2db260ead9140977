"""Every verb's text and JSON equal the pages in tests/cli/golden, and no verb is missing there."""

from __future__ import annotations

import difflib
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from firectl.cli.app import App
from firectl.cli.grammar.typed import words_after
from firectl.cli.tree import root
from firectl.schemas.account import Account, ApiKey
from firectl.schemas.base import Wire
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import Deployment
from firectl.schemas.metrics import DeploymentMetrics
from firectl.schemas.model import Model
from firectl.schemas.shape import DeploymentShape, DeploymentShapeVersion
from tests.cli.test_help import LEAVES
from tests.cli.transcripts import PAGES, Stage, cases, stage
from tests.ran import Ran

FILES = sorted(PAGES.glob("*.txt"))
REWRITE = "python -m tests.cli.transcripts"

NO_PAGE = {
    "local serve": "runs until Ctrl-C: tests/cli/machine/test_platform.py",
    "local down": "ends the platform that the pages run on: tests/cli/machine/test_platform.py",
    "quickstart": "has a platform of its own: tests/e2e/test_quickstart.py",
}
"""Verbs that no page shows, and where they are shown instead."""

SCHEMAS: dict[str, type[Wire]] = {
    "account": Account,
    "api-key": ApiKey,
    "deployed-model": DeployedModel,
    "deployment": Deployment,
    "deployment-metrics": DeploymentMetrics,
    "deployment-shape": DeploymentShape,
    "deployment-shape-version": DeploymentShapeVersion,
    "load-lora": DeployedModel,
    "model": Model,
    "model load-lora": DeployedModel,
    "prepare-model": Model,
    "scale": Deployment,
}
"""The schema that the JSON of a verb, or of all verbs of a noun, must match exactly."""

DATA_KEYS = ("load_targets", "default_sampling_params", "files", "deltas")
"""Fields whose keys are data."""


class Shown(NamedTuple):
    """What a command line of a page runs."""

    verb: str
    format: str
    dry: bool


def shown_by(command: str) -> Iterator[Shown]:
    """Each firectl in a line: the verb's name in the tree, for any alias and both grammars."""
    line = re.sub(r"'[^']*'", "quoted", command)
    lines = [*re.findall(r"\$\(([^)]*)\)", line), re.sub(r"\$\([^)]*\)", "found", line)]
    for part in re.findall(r"\bfirectl ([^|;&\n]*)", "\n".join(lines)):
        words = [word for word in shlex.split(part) if not re.match(r"[0-9]?>", word)]
        if words == ["--version"]:
            continue
        app = App()
        context = root.make_context("firectl", words, obj=app)
        name, found, rest = root.resolve_command(context, words_after(context))
        path = [str(name)]
        while isinstance(found, click.Group):
            inner = found.make_context(path[-1], list(rest), parent=context)
            name, found, rest = found.resolve_command(inner, words_after(inner))
            path.append(str(name))
        assert found is not None
        named = [leaf for leaf, verb in LEAVES.items() if verb is found]
        if named:  # a word that is not ours is a command too, one that refuses
            found.make_context(path[-1], list(rest), parent=context)
            shown = " ".join(path)
            yield Shown(shown if shown in named else named[0], app.flags.get("output", "text"), app.dry_run)


EVERY = [(path.stem, case) for path in FILES for case in cases(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("name", [name for name in LEAVES if name not in NO_PAGE])
def test_every_verb_has_its_text_and_its_json_on_a_page(name: str) -> None:
    formats = {shown.format for _, case in EVERY for shown in shown_by(case.command) if shown.verb == name}
    wanted = {"text", "json"} & LEAVES[name].formats
    assert wanted <= formats, f"add `$ firectl {name} ...` to a page of {PAGES.name}/, then: {REWRITE}"


def test_what_no_page_shows_is_a_verb() -> None:
    assert NO_PAGE.keys() <= LEAVES.keys()


@pytest.fixture(scope="module")
def here() -> Iterator[Stage]:
    with stage() as started:
        yield started


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_page_is_what_the_commands_say(here: Stage, path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    if "jq " in page and not shutil.which("jq"):
        pytest.skip("no jq here")
    here.begin(page)
    before = here.inventory()
    for case in cases(page):
        ran = here.run(case.command)
        said = here.said(ran)
        difference = "\n".join(
            difflib.unified_diff(case.said.splitlines(), said.splitlines(), "page", "now", lineterm="")
        )
        assert not difference, f"$ {case.command}\n{difference}\n\nIf that is meant: {REWRITE} {path.stem}"
        [*asked] = shown_by(case.command)
        if len(asked) == 1 and asked[0].format == "json" and not re.search(r"[|>]", case.command):
            check_json(asked[0], ran)
    assert here.inventory() == before, "a page leaves the platform as it found it"


def check_json(shown: Shown, ran: Ran) -> None:
    """An error is the last line of stderr; a list is an array, anything else one object, and both are the schema's."""
    if ran.code:
        assert ran.out == "" or shown.verb in ("route check", "lora check", "lora parity")
        if not ran.out:
            assert json.loads(ran.err.splitlines()[-1]).keys() == {"error"}
        return
    document = ran.json
    # Series over time are one object, as the wire has them.
    is_list = shown.verb.split()[-1] in ("list", "match") and shown.verb != "deployment-metrics list"
    assert isinstance(document, list) is is_list
    rows = document if is_list else [document]
    schema = SCHEMAS.get(shown.verb) or SCHEMAS.get(shown.verb.split()[0])
    for row in rows if not shown.dry else []:
        if shown.verb != "local env":
            assert [key for key in keys(row) if not re.fullmatch(r"[a-z][a-z0-9_]*", key)] == []
        if schema is not None:
            assert schema.model_validate(row).to_document() == row


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from keys(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            if key not in DATA_KEYS:
                yield from keys(item)
