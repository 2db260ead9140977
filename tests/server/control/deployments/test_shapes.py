"""`server/control/deployments/shapes.py`: two shapes for every base, and which one a deployment gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from firectl.names import is_id
from tests.server.folders import write_base
from tests.server.process import Api, Refusal

ANYWHERE = "deploymentShapes/-/versions"


@pytest.fixture
def public(api: Api, base: str) -> Api:
    return api.at("fireworks")


def test_a_base_has_two_shapes(public: Api, base: str) -> None:
    shapes = public.ok("GET", "deploymentShapes", filter=f'base_model = "{base}"')["deploymentShapes"]
    seen = [(s["name"], s["precision"], s["enableAddons"], s["presetType"], s["acceleratorType"]) for s in shapes]
    assert seen == [
        ("accounts/fireworks/deploymentShapes/tiny-bf16", "BF16", True, "MINIMAL", "NVIDIA_A100_80GB"),
        ("accounts/fireworks/deploymentShapes/tiny-fp8", "FP8", False, "FAST", "NVIDIA_A100_80GB"),
    ]
    assert public.ok("GET", "deploymentShapes/tiny-bf16") == shapes[0]
    assert (shapes[0]["modelType"], shapes[0]["parameterCount"], shapes[0]["maxContextLength"]) == (
        "llama",
        "10800",
        512,
    )


def test_a_shape_has_one_version_which_is_the_latest_and_validated(public: Api) -> None:
    versions = public.ok("GET", "deploymentShapes/tiny-bf16/versions")["deploymentShapeVersions"]
    assert [(v["validated"], v["latestValidated"], v["public"]) for v in versions] == [(True, True, True)]
    assert versions[0]["snapshot"] == public.ok("GET", "deploymentShapes/tiny-bf16")
    short = versions[0]["name"].rsplit("/", 1)[1]
    assert versions[0]["name"] == f"accounts/fireworks/deploymentShapes/tiny-bf16/versions/{short}"
    for version in (short, "latest"):
        assert public.ok("GET", f"deploymentShapes/tiny-bf16/versions/{version}") == versions[0]


def test_an_account_s_own_shapes_come_with_the_public_ones_where_all_are_asked_for(
    api: Api, public: Api, tmp_path: Path
) -> None:
    own = api.ready_model(write_base(tmp_path / "b"))
    names = [v["name"] for v in api.ok("GET", ANYWHERE, pageSize=200)["deploymentShapeVersions"]]
    accounts = {name.split("/")[1] for name in names}
    assert accounts == {"acme", "fireworks"}
    assert any(own.rsplit("/", 1)[1] in name for name in names)
    shapes = [s["name"] for s in api.ok("GET", "deploymentShapes", pageSize=200)["deploymentShapes"]]
    assert {name.partition("/versions/")[0] for name in names} == set(shapes)
    theirs = public.ok("GET", ANYWHERE, pageSize=200)["deploymentShapeVersions"]
    assert {v["name"].split("/")[1] for v in theirs} == {"fireworks"}


def test_shapes_for_a_target_are_those_of_its_base(api: Api, base: str, adapter: str) -> None:
    for target in (base, adapter, adapter.rsplit("/", 1)[1]):
        shapes = api.ok("GET", "deploymentShapes", targetModel=target)["deploymentShapes"]
        assert [shape["baseModel"] for shape in shapes] == [base, base]


@pytest.mark.parametrize(("addons", "precisions"), [(False, ["BF16", "FP8"]), (True, ["BF16"])])
def test_match_finds_what_can_serve_a_model(api: Api, adapter: str, addons: bool, precisions: list[str]) -> None:
    body = {
        "createDeploymentRequest": {
            "parent": "accounts/acme",
            "deployment": {"baseModel": adapter, "enableAddons": addons},
        }
    }
    found = api.ok("POST", "deploymentShapeVersions:match", body)
    assert [version["snapshot"]["precision"] for version in found["deploymentShapeVersions"]] == precisions


def test_a_model_that_is_not_ready_has_no_shapes(api: Api) -> None:
    api.create_model("shapeless")
    assert api.refused("GET", "deploymentShapes", targetModel="shapeless") == Refusal(
        400, 9, "the base model accounts/acme/models/shapeless is not READY on this platform", None
    )
    assert api.call("GET", "deploymentShapes/shapeless-bf16").status_code == 404


def test_a_long_model_id_makes_shape_ids_that_are_valid_and_differ(api: Api, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "b")
    ids = []
    for last in "xy":
        name = api.ready_model(folder, model_id="long-" * 12 + last)
        shapes = api.ok("GET", "deploymentShapes", targetModel=name)["deploymentShapes"]
        ids += [shape["name"].rsplit("/", 1)[1] for shape in shapes]
    assert all(map(is_id, ids))
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    "asked",
    [
        "default",
        "tiny-bf16",
        "accounts/fireworks/deploymentShapes/tiny-bf16",
        "accounts/fireworks/deploymentShapes/tiny-bf16/versions/latest",
    ],
)
def test_a_deployment_gets_the_version_of_the_shape_it_asks_for(api: Api, public: Api, base: str, asked: str) -> None:
    version = public.ok("GET", "deploymentShapes/tiny-bf16/versions/latest")["name"]
    body = {"baseModel": base, "deploymentShape": asked, "enableAddons": True}
    made = api.ok("POST", "deployments", body, validateOnly=True)
    assert made["deploymentShape"] == version
    assert (made["precision"], made["acceleratorType"], made["acceleratorCount"]) == ("BF16", "NVIDIA_A100_80GB", 1)


def test_a_shape_asked_for_again_is_no_change(api: Api, base: str) -> None:
    deployment = api.parked(base, deploymentShape="tiny-bf16")
    for asked in ("tiny-bf16", "accounts/fireworks/deploymentShapes/tiny-bf16"):
        api.ok("PATCH", f"deployments/{deployment}", {"deploymentShape": asked})
    said = api.refused("PATCH", f"deployments/{deployment}", {"deploymentShape": "tiny-fp8"})
    assert said == Refusal(400, 3, "deployment_shape cannot be changed", None)


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        (
            {"deploymentShape": "tiny-fp8", "enableAddons": True},
            400,
            "addons cannot be enabled with quantized precisions (FP8/FP4)",
        ),
        (
            {"deploymentShape": "tiny-bf16", "acceleratorType": "NVIDIA_H100_80GB"},
            400,
            "deployment_shape and accelerator_type exclude each other",
        ),
        (
            {"deploymentShape": "tiny-bf16", "precision": "FP8"},
            400,
            "precision FP8 is not that of the deployment_shape, BF16",
        ),
        ({"deploymentShape": "none"}, 404, "deployment shape accounts/acme/deploymentShapes/none not found"),
        (
            {"deploymentShape": "accounts/fireworks/deploymentShapes/tiny-bf16/versions/0"},
            404,
            "deployment shape version accounts/fireworks/deploymentShapes/tiny-bf16/versions/0 not found",
        ),
        (
            {"deploymentShape": "accounts/fireworks/models/tiny"},
            400,
            "deployment_shape: expected the name of a deployment shape, got accounts/fireworks/models/tiny",
        ),
        ({"deploymentShape": "accounts/umbrella/deploymentShapes/x"}, 404, "account accounts/umbrella not found"),
    ],
)
def test_a_shape_that_does_not_go_is_refused(
    api: Api, base: str, fields: dict[str, object], status: int, message: str
) -> None:
    said = api.refused("POST", "deployments", {"baseModel": base, **fields}, validateOnly=True)
    assert (said.status, said.message) == (status, message)


def test_a_shape_of_another_base_is_not_validated_for_this_one(api: Api, base: str, tmp_path: Path) -> None:
    other = api.ready_model(write_base(tmp_path / "b"))
    body = {"baseModel": other, "deploymentShape": "accounts/fireworks/deploymentShapes/tiny-bf16"}
    said = api.refused("POST", "deployments", body, validateOnly=True)
    assert said.message == (
        f"deployment_shape accounts/fireworks/deploymentShapes/tiny-bf16 is for {base}, not validated for {other}"
    )
    made = api.ok("POST", "deployments", body, validateOnly=True, skipShapeValidation=True)
    assert made["precision"] == "BF16"
