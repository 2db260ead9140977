"""The words of the wire, and where the schemas use them."""

from __future__ import annotations

import pytest

from firectl.schemas.base import Wire
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import Deployment
from firectl.schemas.model import Model
from firectl.schemas.words import OUTPUT_ONLY, PRECISIONS, DeploymentState, LoadState, ModelState, is_quantized

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
