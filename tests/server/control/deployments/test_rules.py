"""Which fields a deployment may have, and their defaults: the rules alone, without a platform."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from firectl.errors import ApiError, Code
from firectl.schemas.deployment import Deployment
from firectl.schemas.words import ACCELERATORS, PRECISIONS, ModelKind
from firectl.server.control.deployments import rules
from tests.server.store.rows import MODEL

QUANTIZED = "addons cannot be enabled with quantized precisions (FP8/FP4)"
BASE = replace(MODEL, resource=MODEL.resource.model_copy(update={"context_length": 512}))
LORA = replace(BASE, name="accounts/a/models/lora", kind=ModelKind.ADDON, base=BASE.name)


def completed(**fields: Any) -> Deployment:
    return rules.complete(Deployment.model_validate(fields))


def test_every_default_is_filled_in_and_nothing_else_changes() -> None:
    made = completed(description="d", autoscalingPolicy={"scaleUpWindow": "0s"})
    assert (made.description, made.min_replica_count, made.max_replica_count) == ("d", 0, 1)
    policy = made.autoscaling_policy
    assert policy is not None
    assert (policy.scale_up_window, policy.scale_down_window) == (timedelta(0), timedelta(minutes=10))
    assert (policy.scale_to_zero_window, policy.load_targets) == (timedelta(hours=1), {"default": 0.8})
    assert rules.complete(made) == made


@pytest.mark.parametrize(
    ("asked", "low", "high", "first"),
    [
        ({}, 0, 1, 1),
        ({"minReplicaCount": 3}, 3, 3, 3),
        ({"maxReplicaCount": 4}, 0, 4, 1),
        ({"minReplicaCount": 2, "maxReplicaCount": 4}, 2, 4, 2),
        ({"maxReplicaCount": 0}, 0, 0, 0),
    ],
)
def test_bounds_say_how_many_replicas_start(asked: dict[str, int], low: int, high: int, first: int) -> None:
    made = completed(**asked)
    assert (made.min_replica_count, made.max_replica_count, rules.first_replicas(made)) == (low, high, first)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"minReplicaCount": 3, "maxReplicaCount": 2},
            "min_replica_count (3) must not be greater than max_replica_count (2)",
        ),
        (
            {"minReplicaCount": 1, "maxReplicaCount": 0},
            "min_replica_count (1) must not be greater than max_replica_count (0)",
        ),
        ({"minReplicaCount": -1}, "min_replica_count must be between 0 and 2147483647, it is -1"),
        ({"acceleratorCount": 2**40}, f"accelerator_count must be between 0 and 2147483647, it is {2**40}"),
        (
            {"maxReplicaCount": 3, "maxWithRevocableReplicaCount": 2},
            "max_with_revocable_replica_count (2) must not be less than max_replica_count (3)",
        ),
        ({"displayName": "x" * 64}, "display_name must be fewer than 64 characters long"),
        (
            {"autoscalingPolicy": {"scaleUpWindow": "3601s"}},
            "autoscaling_policy.scale_up_window must be at most 1h, it is 3601s",
        ),
        (
            {"autoscalingPolicy": {"scaleDownWindow": "7200s"}},
            "autoscaling_policy.scale_down_window must be at most 1h, it is 7200s",
        ),
        (
            {"autoscalingPolicy": {"scaleToZeroWindow": "299s"}},
            "autoscaling_policy.scale_to_zero_window must be at least 5m, it is 299s",
        ),
        (
            {"autoscalingPolicy": {"loadTargets": {"default": 0}}},
            "autoscaling_policy.load_targets.default must be greater than 0, it is 0.0",
        ),
        ({"enableAddons": True, "precision": "FP8"}, QUANTIZED),
        ({"enableAddons": True, "precision": "FP8_MM_KV_ATTN_V2"}, QUANTIZED),
        ({"enableAddons": True, "precision": "FP4_MX_MOE"}, QUANTIZED),
        ({"enableHotReloadLatestAddon": True, "precision": "NF4"}, QUANTIZED),
        (
            {"enableAddons": True, "enableHotReloadLatestAddon": True},
            "enable_addons and enable_hot_reload_latest_addon exclude each other: several addons, or one merged",
        ),
        ({"acceleratorType": "h100 please"}, "accelerator_type: 'h100 please' is not the name of an enum value"),
        ({"placement": {"region": "iowa"}}, "placement.region: 'iowa' is not the name of an enum value"),
        ({"placement": {"regions": ["US", "iowa"]}}, "placement.regions: 'iowa' is not the name of an enum value"),
        ({"maxContextLength": 513}, "max_context_length is 513, the model's own is 512"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as raised:
        rules.check(completed(**body), BASE)
    assert (raised.value.code, raised.value.message) == (Code.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    "body",
    [
        {"acceleratorType": "NVIDIA_Z9", "precision": "INT3", "placement": {"region": "MARS_1"}},
        {"enableAddons": True, "precision": "BF16", "maxContextLength": 512},
        {"autoscalingPolicy": {"scaleUpWindow": "3600s", "scaleToZeroWindow": "300s"}},
    ],
)
def test_what_is_spelled_right_and_within_the_limits_is_accepted(body: dict[str, Any]) -> None:
    rules.check(completed(**body), BASE)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"acceleratorType": "H100"}, f"accelerator_type 'H100' is not one of {', '.join(ACCELERATORS)}"),
        ({"precision": "INT3"}, f"precision 'INT3' is not one of {', '.join(PRECISIONS)}"),
    ],
)
def test_hardware_that_does_not_exist_is_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as raised:
        rules.check_hardware(completed(**body))
    assert raised.value.message == message
    rules.check_hardware(completed(acceleratorType="ACCELERATOR_TYPE_UNSPECIFIED"))


@pytest.mark.parametrize("field", ["enable_addons", "enable_hot_reload_latest_addon"])
def test_addons_are_not_for_a_lora(field: str) -> None:
    with pytest.raises(ApiError) as raised:
        rules.check(completed(**{field: True}), LORA)
    assert raised.value.message == (
        f"{field} is for base models: {LORA.name} is a LoRA, its deployment serves it alone, merged"
    )
    assert raised.value.hint == f"deploy {BASE.name} with addons and load the LoRA onto it, or leave {field} out"
