"""The official SDK's typed methods parse what the platform answers, and every field that we send is one it knows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.server.folders import write_base
from tests.server.process import Api, PlatformProcess, bare

if TYPE_CHECKING:
    from fireworks import Fireworks
    from fireworks.types import PeftDetailsParam


@pytest.fixture
def sdk(platform: PlatformProcess) -> Iterator[Fireworks]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the SDK imports is not ours to mend
        from fireworks import Fireworks
    client = Fireworks(api_key=platform.key, base_url=platform.url, account_id="acme", max_retries=0)
    yield client
    client.close()


def strictly(parsed: Any) -> Any:
    """The same object, once its type takes the whole answer as valid: the SDK itself never checks."""
    document = parsed.model_dump(mode="json", by_alias=True, exclude_unset=True)
    type(parsed).model_validate(document)
    unknown = set(parsed.model_extra or {}) - set(document)
    assert not unknown
    declared = {field.alias or name for name, field in type(parsed).model_fields.items()}
    assert set(document) - declared == set(), "fields that the SDK does not know"
    return parsed


def test_accounts_and_users(sdk: Fireworks) -> None:
    accounts = list(sdk.accounts.list())
    assert [strictly(account).name for account in accounts] == ["accounts/acme"]
    assert strictly(sdk.accounts.get()).state == "READY"
    users = list(sdk.users.list())
    assert [strictly(user).name for user in users] == ["accounts/acme/users/owner"]
    assert strictly(sdk.users.get("owner")).role == "admin"


def test_api_keys(sdk: Fireworks) -> None:
    made = strictly(sdk.api_keys.create("owner", api_key={"display_name": "sdk"}))
    assert made.key.startswith("fw_")
    assert made.key_id in [strictly(key).key_id for key in sdk.api_keys.list("owner")]
    sdk.api_keys.delete("owner", key_id=made.key_id)
    assert made.key_id not in [key.key_id for key in sdk.api_keys.list("owner")]


def test_a_model_from_its_creation_to_its_deletion(sdk: Fireworks, base: str, adapter_folder: Path) -> None:
    details: PeftDetailsParam = {"base_model": base, "r": 4, "target_modules": ["q_proj"]}
    made = strictly(sdk.models.create(model_id="by-sdk", model={"kind": "HF_PEFT_ADDON", "peft_details": details}))
    assert (made.state, made.peft_details.base_model) == ("UPLOADING", base)
    sizes = {path.name: str(path.stat().st_size) for path in adapter_folder.iterdir()}
    for resumable in (True, False):
        endpoint = sdk.models.get_upload_endpoint("by-sdk", filename_to_size=sizes, enable_resumable_upload=resumable)
        urls = endpoint.filename_to_signed_urls or {}
        assert set(urls) == set(sizes)
    for name, url in urls.items():
        assert bare.put(url, content=(adapter_folder / name).read_bytes()).status_code == 200
    assert sdk.models.validate_upload("by-sdk").warnings == []
    got = strictly(sdk.models.get("by-sdk"))
    assert (got.state, got.peft_details.r, got.deployed_model_refs) == ("READY", 4, [])
    assert strictly(sdk.models.update("by-sdk", display_name="Renamed")).display_name == "Renamed"
    downloads = sdk.models.get_download_endpoint("by-sdk").filename_to_signed_urls
    assert downloads is not None
    assert set(downloads) == set(sizes)
    sdk.models.prepare("by-sdk", precision="BF16")
    listed = [strictly(model).name for model in sdk.models.list(page_size=1, filter="name:by-sdk")]
    assert listed == ["accounts/acme/models/by-sdk"]
    sdk.models.delete("by-sdk")
    from fireworks import NotFoundError

    with pytest.raises(NotFoundError):
        sdk.models.get("by-sdk")


def test_a_base_of_the_public_account(sdk: Fireworks, base: str) -> None:
    got = strictly(sdk.models.get("tiny", account_id="fireworks"))
    assert got.base_model_details.parameter_count == "10800"
    assert got.base_model_details.api_model_type == "llama"


def test_a_deployment_from_its_creation_to_its_deletion(sdk: Fireworks, api: Api, base: str) -> None:
    made = strictly(
        sdk.deployments.create(base_model=base, deployment_id="by-sdk", max_replica_count=0, deployment_shape="default")
    )
    assert (made.name, made.min_replica_count, made.replica_stats.ready_replica_count) == (
        "accounts/acme/deployments/by-sdk", 0, 0,
    )  # fmt: skip
    assert made.autoscaling_policy.scale_to_zero_window == "3600s"
    changed = strictly(sdk.deployments.update("by-sdk", base_model=base, display_name="Renamed"))
    assert (changed.display_name, changed.deployment_shape) == ("Renamed", made.deployment_shape)
    assert strictly(sdk.deployments.get("by-sdk")).display_name == "Renamed"
    sdk.deployments.scale("by-sdk", replica_count=0)
    listed = [strictly(found).name for found in sdk.deployments.list(filter="name=*by-sdk", order_by="create_time")]
    assert listed == ["accounts/acme/deployments/by-sdk"]
    sdk.deployments.delete("by-sdk")
    api.until_deleted("by-sdk")
    assert strictly(sdk.deployments.get("by-sdk")).purge_time > made.create_time
    assert strictly(sdk.deployments.undelete("by-sdk", body={})).state in ("CREATING", "READY")
    sdk.deployments.delete("by-sdk", hard=True, ignore_checks=True)
    api.until_gone("deployments/by-sdk")


def test_a_lora_from_its_load_to_its_unload(sdk: Fireworks, api: Api, base: str, adapter: str) -> None:
    deployment = f"accounts/acme/deployments/{api.parked(base, enableAddons=True)}"
    loaded = strictly(sdk.lora.load(model=adapter, deployment=deployment))
    assert (loaded.state, loaded.default, loaded.deployment) == ("DEPLOYING", True, deployment)
    short = loaded.name.rsplit("/", 1)[1]
    assert strictly(sdk.lora.get(short)).model == adapter
    assert strictly(sdk.lora.update(short, description="d")).description == "d"
    listed = [strictly(row).name for row in sdk.lora.list(filter=f'model = "{adapter}"')]
    assert listed == [loaded.name]
    assert strictly(sdk.models.get(adapter.rsplit("/", 1)[1])).deployed_model_refs[0].name == loaded.name
    sdk.lora.unload(short)
    api.until_gone(f"deployedModels/{short}")


def test_pages_are_followed_to_the_end(sdk: Fireworks, api: Api) -> None:
    for number in range(5):
        api.create_model(f"sdk-page-{number}")
    found = [model.name for model in sdk.models.list(page_size=2, filter="name:sdk-page-")]
    assert found == [f"accounts/acme/models/sdk-page-{number}" for number in range(5)]


def test_shapes(sdk: Fireworks, api: Api, base: str, tmp_path: Path) -> None:
    own = api.ready_model(write_base(tmp_path / "b"))
    shapes = [strictly(shape) for shape in sdk.deployment_shapes.list(target_model=own)]
    assert [shape.precision for shape in shapes] == ["BF16", "FP8"]
    short = shapes[0].name.rsplit("/", 1)[1]
    assert strictly(sdk.deployment_shapes.get(short)).base_model == own
    versions = [strictly(version) for version in sdk.deployment_shape_versions.list(short)]
    assert [version.latest_validated for version in versions] == [True]
    latest = strictly(sdk.deployment_shape_versions.get("latest", deployment_shape_id=short))
    assert latest.name == versions[0].name
    match = sdk.deployment_shape_versions.match_for_model(own, enable_addons=True)
    assert [version.name for version in match.deployment_shape_versions or []] == [latest.name]


def test_errors_are_the_sdk_s_own(sdk: Fireworks, base: str) -> None:
    from fireworks import BadRequestError, ConflictError, NotFoundError

    with pytest.raises(NotFoundError, match="deployment accounts/acme/deployments/none not found"):
        sdk.deployments.get("none")
    with pytest.raises(BadRequestError, match="addons cannot be enabled with quantized precisions"):
        sdk.deployments.create(base_model=base, enable_addons=True, precision="FP8")
    sdk.models.create(model_id="sdk-twice", model={"kind": "HF_BASE_MODEL", "base_model_details": {}})
    with pytest.raises(ConflictError, match="already exists"):
        sdk.models.create(model_id="sdk-twice", model={"kind": "HF_BASE_MODEL", "base_model_details": {}})
