"""docs/ci.md: its workflows are YAML, their steps run as they stand, and every recipe answers."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from firectl.errors import Exit
from firectl.samples import sample_path
from tests.e2e.conftest import BASE
from tests.e2e.shell import Shell

PAGE = (Path(__file__).parents[2] / "docs" / "ci.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


WORKFLOWS: list[dict[str | bool, Any]] = [yaml.safe_load(text) for text in blocks("yaml workflow")]
JOBS: dict[str, dict[str, Any]] = {name: job for flow in WORKFLOWS for name, job in flow["jobs"].items()}

needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="no jq here")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a job finds after its checkout: a base and an adapter."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "adapter").symlink_to(sample_path("pirate"))
    (folder / "base").symlink_to(sample_path("base"))
    return folder


def run_step(shell: Shell, checkout: Path, script: str) -> None:
    """A step as a runner has it: in the checkout, stopped by the first failure, handing variables on in a file."""
    handed_on = checkout / "github_env"
    handed_on.write_text("")
    ran = shell.sh(f"cd '{checkout}'\n{script}", GITHUB_ENV=str(handed_on))
    assert ran.code == 0, f"{script}\n{ran.out}\n{ran.err}"
    for line in handed_on.read_text().splitlines():
        name, value = line.split("=", 1)
        shell.env[name] = value


def steps_of(job: str) -> list[dict[str, Any]]:
    return [step for step in JOBS[job]["steps"] if "run" in step and "pip install" not in step["run"]]


def test_the_workflows_have_a_time_limit_and_clean_up_whatever_happened() -> None:
    assert set(JOBS) == {"hosted", "here"}
    for flow in WORKFLOWS:
        # YAML 1.1 reads the key `on` as true.
        assert flow[True]
    for job in JOBS.values():
        assert job["timeout-minutes"] <= 60
        assert job["steps"][-1]["if"] == "always()"
        assert all("--api-key" not in str(step) for step in job["steps"])


def test_the_table_of_exit_codes_is_whole() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert told == {int(code) for code in Exit}


@needs_jq
def test_the_hosted_job_and_every_recipe_run_and_leave_nothing(platform: Shell, checkout: Path) -> None:
    shell = platform
    shell.env.update(BASE=BASE, NAME="ci-1-1")
    *steps, last = steps_of("hosted")
    for step in steps:
        run_step(shell, checkout, step["run"])
    for recipe in blocks("sh recipe"):
        ran = shell.sh(f"cd '{checkout}'\n{recipe}")
        assert ran.code == 0, f"{recipe}\n{ran.out}\n{ran.err}"
        assert ran.out.strip() or "-q" in recipe or "code=" in recipe, recipe
    assert shell.ok("deployment", "list", "--filter", 'display_name = "ci"', "-o", "name").out.split() == [
        "accounts/local/deployments/ci-1-1"
    ]
    (cleanup,) = blocks("sh cleanup")
    run_step(shell, checkout, cleanup)
    run_step(shell, checkout, last["run"])
    run_step(shell, checkout, last["run"])
    assert shell.ok("deployment", "list", "--show-deleted", "-o", "json").json == []
    assert shell.firectl("model", "get", "ci-1-1").code == Exit.NOT_FOUND


@needs_jq
def test_the_job_without_an_account_runs_as_it_stands(tmp_path: Path, checkout: Path) -> None:
    shell = Shell(tmp_path / "home")
    try:
        for step in steps_of("here"):
            run_step(shell, checkout, step["run"])
    finally:
        shell.firectl("local", "down")
