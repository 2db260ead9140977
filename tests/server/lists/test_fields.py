"""Paths in either case find fields of any kind; values are read and picked through them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from firectl.errors import ApiError, Code
from firectl.schemas.deployment import Deployment
from firectl.schemas.model import Model
from firectl.server.lists import fields

DEPLOYMENT = Deployment.model_validate(
    {
        "displayName": "D",
        "minReplicaCount": 0,
        "autoscalingPolicy": {"scaleUpWindow": "30s", "loadTargets": {"requests_per_second": 2}},
    }
)
MODEL = Model.model_validate(
    {"baseModelDetails": {"parameterCount": "9"}, "deployedModelRefs": [{"state": "DEPLOYED"}, {"default": True}]}
)


@pytest.mark.parametrize(
    ("path", "kind", "found"),
    [
        ("displayName", fields.TEXT, "D"),
        ("display_name", fields.TEXT, "D"),
        ("min_replica_count", fields.NUMBER, 0),
        ("enableAddons", fields.BOOLEAN, None),
        ("create_time", fields.TIME, None),
        ("autoscaling_policy.scaleUpWindow", fields.DURATION, timedelta(seconds=30)),
        ("autoscalingPolicy.load_targets", fields.MAP, {"requests_per_second": 2.0}),
        ("autoscaling_policy.load_targets.requests_per_second", fields.ANY, 2.0),
        ("directRouteApiKeys", fields.LIST, None),
        ("status", fields.MESSAGE, None),
        ("status.code", fields.TEXT, None),
    ],
)
def test_a_path_finds_a_field_its_kind_and_its_value(path: str, kind: str, found: object) -> None:
    field = fields.find(Deployment, path)
    assert field.kind == kind
    assert fields.read(DEPLOYMENT, field) == found


def test_an_int64_is_a_number_though_it_travels_as_text() -> None:
    assert fields.find(Model, "base_model_details.parameter_count").kind == fields.NUMBER


def test_a_path_through_a_list_reads_the_value_of_each_item() -> None:
    assert fields.read(MODEL, fields.find(Model, "deployedModelRefs.state")) == ["DEPLOYED", None]


@pytest.mark.parametrize("path", ["frobs", "display_name.x", "status.frobs", "autoscaling_policy.load_targets.a.b", ""])
def test_an_unknown_field_is_refused_with_its_path(path: str) -> None:
    with pytest.raises(ApiError) as raised:
        fields.find(Deployment, path)
    assert (raised.value.code, raised.value.message) == (
        Code.INVALID_ARGUMENT,
        f"Deployment has no field {path!r}",
    )


def test_a_body_carries_fields_of_messages_but_neither_null_nor_unknown_ones() -> None:
    body = {
        "displayName": "",
        "min_replica_count": 0,
        "description": None,
        "autoscalingPolicy": {"scaleUpWindow": "1s", "loadTargets": {"default": 1}},
        "frobs": 1,
    }
    assert list(fields.present(Deployment, body)) == [
        "display_name",
        "min_replica_count",
        "autoscaling_policy.scale_up_window",
        "autoscaling_policy.load_targets",
    ]


def test_only_the_named_fields_are_picked() -> None:
    paths = ["autoscaling_policy.load_targets.requests_per_second", "minReplicaCount", "description"]
    assert fields.pick(DEPLOYMENT, [fields.find(Deployment, path) for path in paths]) == {
        "minReplicaCount": 0,
        "autoscalingPolicy": {"loadTargets": {"requests_per_second": 2.0}},
    }
