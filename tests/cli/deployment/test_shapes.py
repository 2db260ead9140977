"""`cli/deployment/shapes.py`: which shape a preset means, and which one a create without any takes."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.cli.deployment.shapes_api import BASE, MODEL, offer_shapes
from tests.cli.hosted import Api

ALL = "/v1/accounts/acme/deployments"
SHAPES = "accounts/fireworks/deploymentShapes"
LIST = f"/v1/{SHAPES}/-/versions"
MATCH = "firectl deployment-shape-version match --model"


def version(shape: str, precision: str, **more: Any) -> dict[str, Any]:
    snapshot = {
        "name": f"{SHAPES}/{shape}", "baseModel": BASE, "precision": precision, "acceleratorCount": 2,
        "acceleratorType": "NVIDIA_H100_80GB", **more.pop("snapshot", {}),
    }  # fmt: skip
    name = f"{SHAPES}/{shape}/versions/1"
    return {"name": name, "snapshot": snapshot, "validated": True, "latestValidated": True, **more}


QUICK, PLAIN, LORA = (
    version("quick", "FP8"),
    version("plain", "BF16", snapshot={"enableAddons": False}),
    version("lora", "BF16", snapshot={"enableAddons": True}),
)
OLD = version("old", "FP8", latestValidated=False)
SOMEBODY = version("somebody", "BF16", snapshot={"baseModel": "accounts/fireworks/models/other"})


@pytest.fixture
def service(api: Api) -> Api:
    """The hosted service with a base, a LoRA of it, and four shapes that were validated for the base."""
    api.hosted()
    api.on("GET", f"/v1/{BASE}", {"name": BASE, "kind": "HF_BASE_MODEL"})
    api.on("GET", f"/v1/{MODEL}", {"name": MODEL, "kind": "HF_PEFT_ADDON", "peftDetails": {"baseModel": BASE}})
    api.on("GET", LIST, {"deploymentShapeVersions": [OLD, SOMEBODY, QUICK, PLAIN, LORA]})
    api.on("GET", "/v1/accounts/acme/deploymentShapes/-/versions", {})
    return api


@pytest.mark.parametrize("dry", [True, False])
def test_without_a_terminal_the_first_that_match_gives_is_taken_and_named(cli: Cli, service: Api, dry: bool) -> None:
    service.on("POST", ALL, {"name": f"{ALL[4:]}/d", "baseModel": MODEL, "deploymentShape": QUICK["name"]})
    ran = cli("deployment", "create", "m", "--deployment-id", "d", *["--dry-run"] * dry)
    assert ran.code == 0
    assert ran.err.splitlines()[0] == (
        f"Shape: {QUICK['name']} (2 x NVIDIA_H100_80GB, FP8). "
        f"To choose another: --deployment-shape, from {MATCH} {MODEL}"
    )
    body = ran.json["body"] if dry else service.changes[-1].json
    assert body == {"baseModel": MODEL, "deploymentShape": QUICK["name"]}
    assert len(service.changes) == (not dry)
    assert "Warning" not in ran.err


def test_for_addons_it_is_the_first_in_bf16_that_takes_them(cli: Cli, service: Api) -> None:
    ran = cli("deployment", "create", BASE, "--enable-addons", "--dry-run")
    assert ran.json["body"] == {"baseModel": BASE, "enableAddons": True, "deploymentShape": LORA["name"]}


def test_a_precision_that_is_asked_for_is_kept(cli: Cli, service: Api) -> None:
    ran = cli("deployment", "create", "m", "--precision", "BF16", "--dry-run")
    assert ran.json["body"] == {"baseModel": MODEL, "precision": "BF16", "deploymentShape": PLAIN["name"]}


@pytest.mark.parametrize("flags", ["--enable-addons", "--precision FP4", ""])
def test_where_none_fits_nothing_is_sent_and_both_ways_out_are_named(cli: Cli, service: Api, flags: str) -> None:
    service.on("GET", LIST, {"deploymentShapeVersions": [SOMEBODY] if flags == "" else [QUICK]})
    ran = cli("deployment", "create", BASE, *flags.split())
    assert (ran.code, ran.out) == (2, "")
    wanted = {"--enable-addons": " with BF16 that takes addons", "--precision FP4": " with FP4", "": ""}[flags]
    assert ran.err == (
        f"Error: {BASE} has no validated shape{wanted}, and neither --deployment-shape nor --accelerator-type is given "
        f"(code = InvalidArgument)\n"
        f"Hint: {MATCH} {BASE}, or give --accelerator-type and --accelerator-count\n"
    )
    assert service.changes == []


@pytest.mark.parametrize("flags", ["--accelerator-type NVIDIA_H100_80GB", "--deployment-template t"])
def test_who_says_what_to_run_on_is_not_helped(cli: Cli, service: Api, flags: str) -> None:
    ran = cli("deployment", "create", "m", *flags.split(), "--dry-run")
    assert "deploymentShape" not in ran.json["body"]
    assert (ran.err, service.asked) == ("Nothing was sent.\n", [])


def test_a_platform_of_ones_own_chooses_by_itself(cli: Cli, api: Api) -> None:
    ran = cli("deployment", "create", "m", "--dry-run")
    assert (ran.json["body"], ran.err) == ({"baseModel": MODEL}, "Nothing was sent.\n")
    assert api.asked == [("GET", "/v1/local")]


def test_the_version_that_latest_means_is_what_was_asked_for(cli: Cli, service: Api) -> None:
    service.on("POST", ALL, {"name": f"{ALL[4:]}/d", "baseModel": MODEL, "deploymentShape": PLAIN["name"]})
    for shape in (f"{SHAPES}/plain", f"{SHAPES}/plain/versions/latest", PLAIN["name"]):
        assert "Warning" not in cli("deployment", "create", "m", "--deployment-shape", shape).err
    ran = cli("deployment", "create", "m", "--deployment-shape", QUICK["name"])
    assert ran.err.splitlines()[0] == (
        f"Warning: --deployment-shape {QUICK['name']} was asked for, and the deployment has {PLAIN['name']}"
    )


def test_ctrl_c_while_waiting_on_the_service_says_that_it_bills_and_how_to_stop_it(cli: Cli, service: Api) -> None:
    name = f"{ALL[4:]}/d"
    made = {"name": name, "baseModel": MODEL, "state": "CREATING", "deploymentShape": QUICK["name"]}
    service.on("POST", ALL, made)
    service.on("GET", f"{ALL}/d", made)
    argv = ["deployment", "create", "m", "--deployment-id", "d", "--wait"]
    process = cli.begin(*argv)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Shape: ")
    assert "CREATING" in process.stderr.readline()
    interrupted = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=5)
    assert time.monotonic() - interrupted < 1
    assert (process.returncode, out) == (130, "")
    assert err == (
        f"{name} keeps running, and bills. To stop it: firectl deployment delete {name}\n"
        "Error: interrupted (code = Cancelled)\n"
    )


@pytest.mark.parametrize(
    ("preset", "shape"), [("fast", "quick"), ("cost", "plain"), ("minimal", "plain"), ("default", "plain")]
)
def test_a_preset_is_the_shape_that_fits_the_model(cli: Cli, api: Api, preset: str, shape: str) -> None:
    offer_shapes(api)
    for model in (MODEL, BASE):
        ran = cli("deployment", "create", model, "--deployment-shape", preset, "--dry-run")
        assert ran.json["body"]["deploymentShape"] == f"accounts/fireworks/deploymentShapes/{shape}"


def test_a_preset_that_no_shape_has_says_how_to_list_those_that_there_are(cli: Cli, api: Api) -> None:
    offer_shapes(api)
    ran = cli("deployment", "create", "m", "--deployment-shape", "throughput")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"Error: no validated shape of {MODEL} has the preset 'throughput' (code = InvalidArgument)\n"
        f"Hint: firectl deployment-shape-version match --model {MODEL}\n"
    )
