"""A deployment from JSON, `cli/deployment/file.py`: what a file may say, and how a mistake in it is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.hosted import Api

NAME = "accounts/acme/deployments/d1"
MODEL = "accounts/acme/models/m"
DOCUMENT = {
    "name": NAME,
    "display_name": "Two words",
    "base_model": MODEL,
    "state": "READY",
    "status": {"code": "OK", "message": ""},
    "create_time": "2026-01-02T03:04:05Z",
    "max_replica_count": 2,
    "replica_stats": {"ready_replica_count": 1},
    "autoscaling_policy": {"scale_down_window": "600s", "load_targets": {"default": 0.8}},
    "enable_addons": False,
    "placement": {"region": "US_IOWA_1"},
}


def test_a_file_gives_what_flags_do_not(cli: Cli, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    saved = {**DOCUMENT, "autoscalingPolicy": {"scaleUpWindow": "60s", "loadTargets": {"default": 0.5}}}
    del saved["autoscaling_policy"]
    file.write_text(json.dumps(saved))
    flags = ["--file", str(file), "--max-replica-count", "5", "--scale-up-window", "1m30s"]
    ran = cli("deployment", "create", "m2", *flags, "--dry-run")
    assert ran.json["body"] == {
        "baseModel": "accounts/acme/models/m2",
        "displayName": "Two words",
        "maxReplicaCount": 5,
        "autoscalingPolicy": {"scaleUpWindow": "90s", "loadTargets": {"default": 0.5}},
        "enableAddons": False,
        "placement": {"region": "US_IOWA_1"},
    }
    assert ran.err == (
        f"{file}: left out fields that only the server sets: create_time, name, replica_stats, state, status\n"
        "Nothing was sent.\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON: "),
        ("[]", "must hold a JSON object"),
        ('{"maxReplicas": 1}', "d.json: unknown field 'maxReplicas' (code = InvalidArgument)\nHint: did you mean "),
        ('{"autoscalingPolicy": {"scaleUp": "9s"}}', "d.json: autoscalingPolicy: unknown field 'scaleUp'"),
        ('{"maxReplicaCount": "many"}', "d.json: maxReplicaCount: Input should be a valid integer"),
        ('{"autoscalingPolicy": {"scaleUpWindow": "10m"}}', "'10m' is not a duration such as 600s"),
        ('{"autoscalingPolicy": 3}', "d.json: autoscalingPolicy: Input should be"),
        ('{"autoscalingPolicy": {"scaleToZeroWindow": "60s"}}',
         "d.json: autoscaling_policy.scale_to_zero_window: '60s' is too short: at least 5 minutes"),
        ('{"autoscaling_policy": {"scale_up_window": "7200s"}}', "scale_up_window: '7200s' is too long: at most 60"),
        ('{"autoscalingPolicy": {"loadTargets": {"default": -1}}}', "d.json: autoscaling_policy.load_targets: '-1"),
        ('{"minReplicaCount": -1}', "d.json: min_replica_count: -1 is below 0"),
        ('{"acceleratorCount": 0}', "d.json: accelerator_count: 0 is below 1"),
        ('{"precision": "?"}', "d.json: precision: '?' is not one of FP8, "),
        ('{"placement": {"region": "mars"}}', "d.json: placement: 'mars' is not global, us, europe, apac or a region"),
        (json.dumps({"displayName": "x" * 64}), "d.json: display_name: 64 characters, and fewer than 64 are allowed"),
        ('{"minReplicaCount": 2, "maxReplicaCount": 1}', "the minimum of 2 replicas is above the maximum of 1"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_by_name(
    cli: Cli, api: Api, tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "d.json"
    file.write_text(content)
    ran = cli("deployment", "create", "m", "--file", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert api.asked == []


def test_a_file_may_spell_an_enum_as_its_flag_does(cli: Cli, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    file.write_text('{"precision": "bf16", "autoscalingPolicy": {"scaleToZeroWindow": "300s"}, "directRouteType": "X"}')
    ran = cli("deployment", "create", "m", "--file", str(file), "--dry-run")
    assert ran.json["body"] == {
        "baseModel": MODEL,
        "precision": "BF16",
        "autoscalingPolicy": {"scaleToZeroWindow": "300s"},
        "directRouteType": "X",
    }
    assert ran.err == "Warning: X is not a value that this version knows, and is sent as it is\nNothing was sent.\n"
