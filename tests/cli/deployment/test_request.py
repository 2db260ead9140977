"""What create and update ask for, `cli/deployment/request.py`: what is refused, completed, and warned about."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli
from tests.cli.deployment.one_deployment import ALL, NAME, PATH, TEXT, WIRE
from tests.cli.deployment.shapes_api import BASE, MODEL, offer_shapes
from tests.cli.hosted import Api


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--enable-addons --precision FP8", "addons cannot be enabled with quantized precisions (FP8/FP4)"),
        ("--enable-addons --precision fp4_mx_moe", "addons cannot be enabled with quantized precisions (FP8/FP4)"),
        ("--enable-addons --precision NF4", "addons cannot be enabled with quantized precisions (FP8/FP4)"),
        ("--min-replica-count 3 --max-replica-count 2", "the minimum of 3 replicas is above the maximum of 2"),
        (f"--display-name {'x' * 64}",
         "invalid value for '--display-name': 64 characters, and fewer than 64 are allowed"),
        ("--deployment-id No", "'No' is not a valid deployment ID: a capital letter: IDs are lower case (character 0)"),
        ("--scale-to-zero-window 1m",
         "invalid value for '--scale-to-zero-window': '1m' is too short: at least 5 minutes"),
        ("--region mars",
         "invalid value for '--region': 'mars' is not global, us, europe, apac or a region such as us-iowa-1"),
        ("--deployment-shape s --accelerator-type NVIDIA_H100_80GB",
         "a deployment shape sets the accelerator: leave out --accelerator-type or --deployment-shape"),
        ("--expire-time soon", "expire_time: "),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_sent(cli: Cli, api: Api, flags: str, message: str) -> None:
    ran = cli("deployment", "create", "m", *flags.split())
    assert (ran.code, ran.out) == (2, "")
    assert f"Error: {message}" in ran.err
    assert api.asked == []


def test_addons_on_a_lora_are_refused_after_a_look_at_the_model(cli: Cli, api: Api) -> None:
    lora = {"name": MODEL, "kind": "HF_PEFT_ADDON", "peftDetails": {"baseModel": BASE}}
    api.on("GET", f"/v1/{MODEL}", lora)
    for extra in ([], ["--dry-run"]):
        ran = cli("deployment", "create", "m", "--enable-addons", *extra)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == (
            f"Error: {MODEL} is a LoRA, and --enable-addons needs a base model (code = InvalidArgument)\n"
            f"Hint: firectl deployment create {BASE} --enable-addons --deployment-id my-deployment, "
            f"then firectl load-lora {MODEL} --deployment my-deployment; "
            "or leave --enable-addons out to merge it\n"
        )
    assert api.changes == []


def test_addons_on_a_model_that_is_not_there_are_not_found(cli: Cli, api: Api) -> None:
    assert cli("deployment", "create", "m", "--enable-addons").code == 3


def test_addons_on_a_quantized_shape_are_refused_and_the_plain_one_is_named(cli: Cli, api: Api) -> None:
    offer_shapes(api)
    ran = cli("deployment", "create", BASE, "--enable-addons", "--deployment-shape", "fast")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "Error: addons cannot be enabled with quantized precisions (FP8/FP4): "
        "the shape accounts/fireworks/deploymentShapes/quick has FP8 (code = InvalidArgument)\n"
        "Hint: --deployment-shape accounts/fireworks/deploymentShapes/plain\n"
    )
    assert api.changes == []


@pytest.mark.parametrize(
    ("flags", "shape"),
    [("fast", "fireworks/deploymentShapes/quick"), ("minimal", "fireworks/deploymentShapes/plain"),
     ("s", "acme/deploymentShapes/s")],
)  # fmt: skip
def test_an_update_takes_the_presets_of_what_is_deployed(cli: Cli, api: Api, flags: str, shape: str) -> None:
    offer_shapes(api)
    api.on("GET", PATH, {"name": NAME, "state": "READY", "baseModel": MODEL})
    ran = cli("deployment", "update", "d1", "--deployment-shape", flags, "--dry-run")
    assert ran.code == 0, ran.err
    assert ran.json["path"] == f"{PATH}?updateMask=deployment_shape"
    assert ran.json["body"] == {"deploymentShape": f"accounts/{shape}"}


def test_an_update_to_a_preset_that_no_shape_has_sends_nothing(cli: Cli, api: Api) -> None:
    offer_shapes(api)
    api.on("GET", PATH, {"name": NAME, "state": "READY", "baseModel": MODEL})
    ran = cli("deployment", "update", "d1", "--deployment-shape", "throughput")
    assert (ran.code, api.changes) == (2, [])
    assert ran.err.endswith(f"Hint: firectl deployment-shape-version match --model {MODEL}\n")
    api.on("GET", PATH, {"name": NAME, "state": "READY"})
    ran = cli("deployment", "update", "d1", "--deployment-shape", "fast")
    assert (ran.code, api.changes) == (2, [])
    assert ran.err == (
        "Error: no shape can be chosen for 'fast', because the deployment has no model (code = InvalidArgument)\n"
        "Hint: firectl deployment-shape list, then --deployment-shape NAME\n"
    )


@pytest.mark.parametrize(("has", "flags", "code"), [(True, [], 2), (True, ["--enable-addons=false"], 0),
                                                    (False, ["--enable-addons"], 2), (False, [], 0)])  # fmt: skip
def test_an_update_to_a_quantized_shape_is_refused_where_addons_are_loaded(
    cli: Cli, api: Api, has: bool, flags: list[str], code: int
) -> None:
    offer_shapes(api)
    api.on("GET", PATH, {"name": NAME, "state": "READY", "baseModel": BASE, "enableAddons": has})
    ran = cli("deployment", "update", "d1", "--deployment-shape", "fast", *flags, "--dry-run")
    assert ran.code == code, ran.err
    if code:
        assert ran.err == (
            "Error: addons cannot be enabled with quantized precisions (FP8/FP4): "
            "the shape accounts/fireworks/deploymentShapes/quick has FP8 (code = InvalidArgument)\n"
            "Hint: --deployment-shape accounts/fireworks/deploymentShapes/plain\n"
        )


def test_what_came_back_other_than_asked_is_a_warning_that_names_both(cli: Cli, api: Api) -> None:
    made = {
        "name": NAME,
        "baseModel": MODEL,
        "precision": "FP8",
        "deploymentShape": "accounts/acme/deploymentShapes/s/versions/7",
    }
    api.on("POST", ALL, made)
    flags = "--precision BF16 --deployment-shape s --max-replica-count 0 --display-name n"
    ran = cli("deployment", "create", "m", *flags.split())
    assert [line for line in ran.err.splitlines() if line.startswith("Warning")] == [
        "Warning: --display-name n was asked for, and the deployment has none",
        "Warning: --precision BF16 was asked for, and the deployment has FP8",
    ]


def test_expire_time_warns_that_it_deletes_nothing(cli: Cli, api: Api) -> None:
    ran = cli("deployment", "create", "m", "--expire-time", "2030-01-01T00:00:00Z", "--dry-run")
    assert ran.json["body"]["expireTime"] == "2030-01-01T00:00:00Z"
    assert ran.err.startswith("Warning: expire_time is deprecated by the API and deletes nothing: use --scale-to-zero")


def test_flags_without_a_field_are_refused_hosted_and_without_effect_here(cli: Cli, api: Api) -> None:
    ran = cli("deployment", "create", "m", "-c", "mine", "--preemptible", "--dry-run")
    assert ran.err == (
        "Warning: --cluster-id has no effect here and is not sent\n"
        "Warning: --preemptible has no effect here and is not sent\n"
        "Nothing was sent.\n"
    )
    api.hosted()
    for flags in (["-c", "mine"], ["--preemptible"]):
        ran = cli("deployment", "create", "m", *flags)
        assert (ran.code, ran.out) == (2, "")
        assert "is not supported: the API has no field for it" in ran.err


def test_an_update_that_came_to_something_else_is_a_warning_that_names_both(cli: Cli, api: Api) -> None:
    api.on("PATCH", PATH, WIRE)
    ran = cli("deployment", "update", "d1", "--max-replica-count", "3", "--scale-down-window", "10m")
    assert (ran.code, ran.out) == (0, TEXT)
    assert ran.err == "Warning: --max-replica-count 3 was asked for, and the deployment has 2\n"
