"""The words of the wire, and where the schemas use them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import firectl
from firectl.schemas import words
from firectl.schemas.base import Wire
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import Deployment
from firectl.schemas.model import Model
from firectl.schemas.words import OUTPUT_ONLY, PRECISIONS, DeploymentState, LoadState, ModelState, is_quantized

SRC = Path(firectl.__file__).parent
CLASSES = (
    words.AccountState, words.DeploymentState, words.LoadState, words.Metric, words.ModelKind, words.ModelState,
    words.Reason,
)  # fmt: skip
ELSEWHERE = {
    "cli/bench/report.py": {"FAILED"},  # the title of a column: requests that failed
    "cli/route/check.py": {"FAILED"},  # a line for people: a check that failed
    "names/nouns.py": {"READY"},  # the title of a column: replicas that are ready
    # The dtype of a tensor in a safetensors file. `lora` imports no schema.
    "lora/check/values.py": {"BF16"},
    "lora/merge/arithmetic.py": {"BF16"},
    "lora/read/adapter.py": {"BF16"},
    "lora/read/safetensors.py": {"BF16"},
    "lora/weights.py": {"BF16"},
    "server/control/models/validation.py": {"BF16"},  # likewise: the key of the table from dtype to precision
}
"""File → strings that only look like a word of the wire."""
SCHEMAS: dict[str, type[Wire]] = {"models": Model, "deployments": Deployment, "deployedModels": DeployedModel}


@pytest.mark.parametrize("collection", SCHEMAS)
def test_the_fields_that_only_the_server_sets_are_fields(collection: str) -> None:
    assert SCHEMAS.keys() == OUTPUT_ONLY.keys()
    assert {"name", "state", "status"} <= OUTPUT_ONLY[collection] <= SCHEMAS[collection].model_fields.keys()


def test_the_states_of_a_resource_are_said_by_its_schema_and_do_not_travel() -> None:
    assert Model.states == ModelState.ALL
    assert Deployment.states == DeploymentState.ALL
    assert DeployedModel.states == LoadState.ALL
    assert "states" not in Model.model_fields
    assert Model(state="READY").to_wire() == {"state": "READY"}


def test_eight_and_four_bits_are_quantized_and_sixteen_are_not() -> None:
    assert {precision for precision in PRECISIONS if not is_quantized(precision)} == {"FP16", "BF16"}
    assert not is_quantized(None)


def spelled(path: Path) -> Iterator[str]:
    """The words of the wire that a file spells as a string of its own. Docstrings are longer than a word."""
    of_classes = {value for each in CLASSES for value in vars(each).values() if isinstance(value, str)}
    wire = of_classes.union(words.METRICS, words.ACCELERATORS, words.PRECISIONS)
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in wire:
            yield node.value


def test_each_word_of_the_wire_is_spelled_in_one_place() -> None:
    files = {path.relative_to(SRC).as_posix(): path for path in SRC.rglob("*.py")}
    found = {name: set(spelled(path)) for name, path in files.items() if path != Path(words.__file__)}
    assert {name: spellings for name, spellings in found.items() if spellings} == ELSEWHERE
